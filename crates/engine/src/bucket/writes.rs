//! Writing keys, and counting.

use bytes::Bytes;

use super::Bucket;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::{counter, write};

impl Bucket {
    /// Sets each key to the last value given for it.
    ///
    /// When this returns, each write is acknowledged, failed, or unclear. Unclear means that it was
    /// sent, and that no acknowledgement came in time. So it may be stored, now or later. A write
    /// whose acknowledgement is lost is sent again with the same `Nats-Msg-Id`, so that the server
    /// drops the second copy.
    ///
    /// # Errors
    ///
    /// [`Error::Partial`] if not every write is acknowledged. The acknowledged writes stay: nothing
    /// is rolled back. The cause is [`Error::UnclearWrite`] if the write that failed first is
    /// unclear.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-set-many").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// let entries = vec![("color".into(), "red".into()), ("size".into(), "9".into())];
    /// bucket.set_many(entries, within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_many(
        &self,
        entries: Vec<(String, Bytes)>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let server_asked = !entries.is_empty();
        let set = write::set_many(&self.state, entries, &deadline).await;
        self.note_answer_if_ok(server_asked, set)
    }

    /// Sets one key.
    ///
    /// # Errors
    ///
    /// Why the key could not be set.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-set").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set("color".into(), "red".into(), within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set(&self, key: String, value: Bytes, deadline: Deadline) -> Result<(), Error> {
        self.note_answer_if_ok(true, write::set(&self.state, key, value, &deadline).await)
    }

    /// Deletes one key, by a delete marker (ADR-8). A key that does not exist is no error.
    ///
    /// # Errors
    ///
    /// Why the key could not be deleted.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-delete").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.delete("color".into(), within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, key: String, deadline: Deadline) -> Result<(), Error> {
        self.note_answer_if_ok(true, write::delete(&self.state, key, &deadline).await)
    }

    /// Deletes each key, by a delete marker (ADR-8). A key that does not exist is no error.
    ///
    /// # Errors
    ///
    /// As [`Bucket::set_many`].
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-delete-many").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.delete_many(vec!["color".into(), "no-such-key".into()], within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_many(&self, keys: Vec<String>, deadline: Deadline) -> Result<(), Error> {
        let server_asked = !keys.is_empty();
        let deleted = write::delete_many(&self.state, keys, &deadline).await;
        self.note_answer_if_ok(server_asked, deleted)
    }

    /// Adds `delta` to the number that is the key's value, and returns the sum. The value is
    /// decimal text. A key without a value counts as 0. Each increment is counted exactly once,
    /// even if several processes count.
    ///
    /// # Errors
    ///
    /// [`Error::NotANumber`] or [`Error::Overflow`], after which the value is as before. Or why the
    /// key could not be read or written.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-increment").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.delete_many(vec!["visits".into()], within()).await?;
    /// assert_eq!(bucket.increment("visits", 1, within()).await?, 1);
    /// assert_eq!(bucket.increment("visits", 2, within()).await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn increment(&self, key: &str, delta: u64, deadline: Deadline) -> Result<u64, Error> {
        let sum = counter::increment(&self.state, &self.counters, key, delta, &deadline).await;
        self.note_answer_if_ok(true, sum)
    }

    /// Sets the number that is the key's value to `new` if it is `old`, and returns whether it was.
    /// A key without a value counts as 0.
    ///
    /// # Errors
    ///
    /// [`Error::NotANumber`], or why the key could not be read or written.
    pub async fn compare_and_swap(
        &self,
        key: &str,
        old: u64,
        new: u64,
        deadline: Deadline,
    ) -> Result<bool, Error> {
        let counters = &self.counters;
        let swapped =
            counter::compare_and_swap(&self.state, counters, key, old, new, &deadline).await;
        self.note_answer_if_ok(true, swapped)
    }
}
