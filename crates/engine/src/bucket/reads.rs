//! Reading and listing keys.

use bytes::Bytes;

use super::Bucket;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::list::{self, Page};
use crate::read;
use crate::read_settings::ReadNode;
use crate::replicated_reads;
use crate::response_budget::{ResponseBudget, Unbounded};

impl Bucket {
    /// The value of each key, in the order given. `None`: the key has no value. An empty value is
    /// `Some`. A key that is given twice has its value twice in the answer.
    ///
    /// The answer may be out of date. With `allow_direct` (ADR-31) any node that has the bucket
    /// answers, which may lag behind the stream's leader. On server ≥ 2.11 one request reads up to
    /// 128 keys.
    ///
    /// # Errors
    ///
    /// The whole call fails if any key cannot be read. [`Error::TooLarge`] if the keys or the
    /// values are over the [`Limits`](crate::Limits).
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-get-many").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
    ///
    /// let keys = ["color", "size"].map(String::from);
    /// let values = bucket.get_many(&keys, within()).await?;
    /// assert_eq!(values, [Some("red".into()), None]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many(
        &self,
        keys: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        self.get_many_budgeted(keys, &Unbounded, deadline).await
    }

    /// As [`Bucket::get_many`], if `budget` has room for the answer.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get_many`], and [`Error::NoMemory`] as soon as `budget` refuses to grow.
    pub async fn get_many_budgeted(
        &self,
        keys: &[String],
        budget: &dyn ResponseBudget,
        deadline: Deadline,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        self.state
            .limits()
            .check_entries(keys.iter().map(String::len))?;
        match self
            .state
            .replica()
            .filter(|replica| replica.is_read_enabled())
        {
            Some(replica) => {
                replicated_reads::get_many(&self.state, replica, keys, budget, &deadline).await
            }
            None => {
                let server_asked = !keys.is_empty();
                let values = read::get_many(&self.state, keys, None, budget, &deadline).await;
                self.note_answer_if_ok(server_asked, values)
            }
        }
    }

    /// The key's value, if it has one. The stream's leader answers, which has every acknowledged
    /// write.
    ///
    /// # Errors
    ///
    /// Why the key could not be read.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-get").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
    /// assert_eq!(bucket.get("color", within()).await?, Some("red".into()));
    /// assert_eq!(bucket.get("size", within()).await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: &str, deadline: Deadline) -> Result<Option<Bytes>, Error> {
        self.get_from(ReadNode::Leader, key, deadline).await
    }

    /// As [`Bucket::get`], from this node.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn get_from(
        &self,
        node: ReadNode,
        key: &str,
        deadline: Deadline,
    ) -> Result<Option<Bytes>, Error> {
        self.note_answer_if_ok(true, read::get(&self.state, node, key, &deadline).await)
    }

    /// Whether the key has a value. The stream's leader answers, as for [`Bucket::get`].
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-exists").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.delete_many(vec!["color".into()], within()).await?;
    /// assert!(!bucket.exists("color", within()).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn exists(&self, key: &str, deadline: Deadline) -> Result<bool, Error> {
        self.exists_from(ReadNode::Leader, key, deadline).await
    }

    /// As [`Bucket::exists`], from this node.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn exists_from(
        &self,
        node: ReadNode,
        key: &str,
        deadline: Deadline,
    ) -> Result<bool, Error> {
        self.note_answer_if_ok(true, read::exists(&self.state, node, key, &deadline).await)
    }

    /// One page of the keys that have a value. It has keys whose last message comes after the
    /// sequence `after` of the stream. Start with 0, and go on with [`Page::next`].
    ///
    /// All pages together have every key that had a value the whole time. A key that is written
    /// while pages are read may come twice.
    ///
    /// # Errors
    ///
    /// Why the bucket could not be listed.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-list-keys").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
    ///
    /// let mut keys = Vec::new();
    /// let mut next = Some(0);
    /// while let Some(after) = next {
    ///     let page = bucket.list_keys(after, within()).await?;
    ///     keys.extend(page.keys);
    ///     next = page.next;
    /// }
    /// assert_eq!(keys, ["color"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_keys(&self, after: u64, deadline: Deadline) -> Result<Page, Error> {
        let page = list::page(&self.state, after, &deadline).await;
        self.raise_floor_to_now_if_replicated();
        self.note_answer_if_ok(true, page)
    }

    /// Every key that has a value, each once, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the bucket has more keys than the [`Limits`](crate::Limits) allow in
    /// one answer, or why the bucket could not be listed.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-keys").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
    /// assert_eq!(bucket.keys(within()).await?, ["color"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn keys(&self, deadline: Deadline) -> Result<Vec<String>, Error> {
        self.keys_budgeted(&Unbounded, deadline).await
    }

    /// As [`Bucket::keys`], if `budget` has room for the answer.
    ///
    /// # Errors
    ///
    /// As [`Bucket::keys`], and [`Error::NoMemory`] as soon as `budget` refuses to grow.
    pub async fn keys_budgeted(
        &self,
        budget: &dyn ResponseBudget,
        deadline: Deadline,
    ) -> Result<Vec<String>, Error> {
        match self
            .state
            .replica()
            .filter(|replica| replica.is_read_enabled())
        {
            Some(replica) => replicated_reads::keys(&self.state, replica, budget, &deadline).await,
            None => {
                let keys = list::keys(&self.state, budget, &deadline).await;
                self.raise_floor_to_now_if_replicated();
                self.note_answer_if_ok(true, keys)
            }
        }
    }

    /// No later answer from the copy may be older than this listing.
    fn raise_floor_to_now_if_replicated(&self) {
        if let Some(replica) = self.state.replica() {
            replica.raise_floor_to_now();
        }
    }
}
