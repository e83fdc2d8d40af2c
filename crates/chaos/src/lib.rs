//! Checks the calls, and the writes that were answered `ok`, on a cluster whose nodes fail.
//!
//! Writers and readers call the real provider without pause, whose bucket has a replica on each of
//! three real nodes, and keep a ledger. Meanwhile nodes are killed, frozen, restarted and cut off, at
//! random from a seed. After each round the bucket is compared with the ledger, revision by revision.
//!
//! Each check is described where it is done: [`ledger`] for values, [`counts`] for calls,
//! [`recovery`] for the time until calls succeed again, [`watching`] for changes that are told,
//! [`replica`] for answers from a copy in memory.

pub mod batches;
pub mod check;
pub mod counts;
pub mod fault;
pub mod ledger;
pub mod load;
pub mod metrics;
pub mod recovery;
pub mod replica;
pub mod rounds;
pub mod setup;
pub mod singles;
pub mod soak;
pub mod watching;
