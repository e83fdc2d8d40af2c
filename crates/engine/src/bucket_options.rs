//! The settings of a bucket that have defaults.

use std::sync::Arc;

use super::connection::Connection;
use super::read_settings::ReadNode;
use super::replica::{ReplicaSettings, Replicas};
use super::write_settings::WriteSettings;

/// The options of a [`Bucket`](crate::Bucket).
///
/// # Examples
///
/// ```
/// use eventual_batch_engine::{BucketOptions, ReadNode};
///
/// let options = BucketOptions {
///     single_reads: ReadNode::Nearest,
///     ..BucketOptions::default()
/// };
/// ```
#[derive(Debug, Default)]
pub struct BucketOptions<'a> {
    /// How writes are made.
    pub writes: WriteSettings,
    /// The answer of [`Bucket::single_reads`](crate::Bucket::single_reads). `Bucket::get` and
    /// `Bucket::exists` ignore it: a front end passes it to
    /// [`Bucket::get_from`](crate::Bucket::get_from) and
    /// [`Bucket::exists_from`](crate::Bucket::exists_from).
    pub single_reads: ReadNode,
    /// Reads are spread over these connections and the bucket's own. They have to be of the same
    /// server and login.
    ///
    /// A server takes the requests of one connection one by one. So a batch of many keys is read
    /// faster over two. Listing keys and writing use the bucket's own connection.
    pub further_connections: Vec<Arc<Connection>>,
    /// Reads may be answered from the bucket's replica: the copy of the bucket in this process's
    /// memory, and not a node of the stream's cluster. `None`: never.
    ///
    /// [`Bucket::get_many`](crate::Bucket::get_many) and [`Bucket::keys`](crate::Bucket::keys) may.
    /// Single keys and counters are read from the stream's leader. Later reads see what is written
    /// through a bucket of the same `Replicas`, connection and name. So a bucket whose own reads
    /// never use a copy ([`ReplicaMode::Off`](crate::ReplicaMode::Off)) should have this too.
    ///
    /// The first read starts a task that loads the copy, in the `tokio` runtime of that read.
    pub replica: Option<(&'a Replicas, ReplicaSettings)>,
}
