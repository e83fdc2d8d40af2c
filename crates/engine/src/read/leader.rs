//! Reading single keys from the stream's leader, which has every write that was acknowledged.
//!
//! A replica that lags may answer a direct get, and so may a mirror of the bucket in the same domain. So a
//! call that must read what was written asks the leader, whatever the stream info says of replicas.

use bytes::Bytes;

use super::one_by_one::{Reader, Reads};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::BucketHandle;
use crate::message::Stored;
use crate::pipeline;
use crate::replica::ReplicaUser;
use crate::stream_info::ReadPath;

/// The key's value, as the leader has it.
pub(crate) async fn read_leader(
    bucket: &BucketHandle,
    key: &str,
    deadline: &Deadline,
) -> Result<Option<Bytes>, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let last = read_one(bucket, &encoded, ReadPath::Leader, deadline).await?;
    let value = last.and_then(Stored::into_value);
    let size = value.as_ref().map_or(0, Bytes::len);
    bucket.limits().check_bytes(key.len() + size)?;
    Ok(value)
}

/// Whether the key has a value. The server has no request for less than the whole value.
pub(crate) async fn exists(
    bucket: &BucketHandle,
    key: &str,
    deadline: &Deadline,
) -> Result<bool, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let last = read_one(bucket, &encoded, ReadPath::Leader, deadline).await?;
    Ok(last.and_then(Stored::into_value).is_some())
}

/// The last message of a key, as it stands in the bucket.
pub(crate) async fn read_one(
    bucket: &BucketHandle,
    encoded: &str,
    path: ReadPath,
    deadline: &Deadline,
) -> Result<Option<Stored>, Error> {
    let position = bucket.replica().map(ReplicaUser::position);
    let mut one = SingleKey {
        encoded,
        last: None,
    };
    let mut reads = Reads::new(&mut one, vec![0], Some(path));
    pipeline::run(bucket, &mut reads, deadline).await?;
    if let (Some(replica), Some(position)) = (bucket.replica(), position) {
        replica.read_at_leader(encoded, one.last.as_ref(), position);
    }
    Ok(one.last)
}

struct SingleKey<'a> {
    encoded: &'a str,
    last: Option<Stored>,
}

impl Reader for SingleKey<'_> {
    fn key(&self, _index: usize) -> &str {
        self.encoded
    }

    fn take(&mut self, _index: usize, last: Option<Stored>) -> Result<(), Error> {
        self.last = last;
        Ok(())
    }
}

/// The sequence of each key's last message, 0 for a key without one, and how many bytes of values came
/// along. `encoded` are keys as they stand in the bucket. The whole
/// call asks for `total_items` keys.
pub(crate) async fn revisions(
    bucket: &BucketHandle,
    encoded: &[&str],
    total_items: usize,
    deadline: &Deadline,
) -> Result<(Vec<u64>, usize), Error> {
    let mut read = LastSequences {
        encoded,
        revisions: vec![0; encoded.len()],
        bytes: 0,
    };
    let all = (0..encoded.len()).collect();
    let mut reads = Reads::new(&mut read, all, None).total_items(total_items);
    pipeline::run(bucket, &mut reads, deadline).await?;
    Ok((read.revisions, read.bytes))
}

struct LastSequences<'a> {
    encoded: &'a [&'a str],
    revisions: Vec<u64>,
    bytes: usize,
}

impl Reader for LastSequences<'_> {
    fn key(&self, index: usize) -> &str {
        self.encoded[index]
    }

    fn take(&mut self, index: usize, last: Option<Stored>) -> Result<(), Error> {
        if let Some(last) = last {
            self.revisions[index] = last.revision();
            self.bytes += last.size();
        }
        Ok(())
    }
}
