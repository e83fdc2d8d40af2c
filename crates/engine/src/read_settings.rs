//! How keys are read.

/// Which node of a cluster answers a read of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadNode {
    /// The stream's leader. It has every write that was acknowledged before.
    #[default]
    Leader,
    /// Any node that has the bucket, by a direct get (ADR-31). A follower or a mirror that lags may
    /// answer with an older value. A bucket without `allow_direct` is read from its leader.
    Nearest,
}
