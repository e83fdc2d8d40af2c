//! What becomes of calls, and of what was answered `ok`, on a cluster whose nodes fail.
//!
//! Writers and readers call the real provider without pause, whose bucket has a replica on each of
//! three real nodes, and keep books. Meanwhile nodes are killed, frozen, restarted and cut off, at
//! random from a seed. After each round the bucket is compared with the books, revision by revision.
//!
//! What is checked is said where it is checked: [`books`] for values, [`tally`] for calls,
//! [`recovery`] for the time until calls succeed again.

pub mod books;
pub mod check;
pub mod fault;
pub mod gauges;
pub mod load;
pub mod recovery;
pub mod rounds;
pub mod singles;
pub mod soak;
pub mod stage;
pub mod tally;
