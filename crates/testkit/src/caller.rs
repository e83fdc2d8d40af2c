mod single;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use lattice_nats::{ConnectOptions, HeaderMap};
use tokio::time::timeout;
use wrpc_transport_nats::Client;

use crate::bindings::wrpc::keyvalue0_1_0::eventual_batch;
use crate::bindings::wrpc::keyvalue0_2_0_draft::batch;
use crate::value::{BatchError, EventualBatchError, Value};

pub use single::{AtomicCaller, AtomicsCaller, StoreCaller};

/// How long a [`LatticeCaller`] waits for an answer unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const SOURCE_ID: &str = "source-id";
const LINK_NAME: &str = "link-name";

/// A component's calls, as its host sends them to the provider.
///
/// Every call returns two results. The outer error is the lattice's: no provider there, no answer
/// in time, an answer that does not decode. The inner one is the provider's answer.
///
/// Clones share one connection and may call at the same time.
#[derive(Clone, Debug)]
pub struct LatticeCaller {
    wrpc: Client,
    /// `None`, and not an empty map, where there is no header.
    headers: Option<HeaderMap>,
    timeout: Duration,
}

impl LatticeCaller {
    /// A caller without headers, on a new connection to the lattice's NATS.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn connect(lattice_url: &str, lattice: &str, provider_key: &str) -> Result<Self> {
        let nats = ConnectOptions::new()
            .name("testkit-caller")
            .connect(lattice_url)
            .await
            .with_context(|| format!("cannot connect to {lattice_url}"))?;
        let wrpc = Client::new(nats, format!("{lattice}.{provider_key}"), None).await?;
        Ok(Self {
            wrpc,
            headers: None,
            timeout: DEFAULT_TIMEOUT,
        })
    }

    /// The same caller with this `source-id`: the component that calls.
    #[must_use]
    pub fn with_source(self, component: &str) -> Self {
        self.with_header(SOURCE_ID, component)
    }

    /// The same caller with this `link-name`; without it the provider takes `default`.
    #[must_use]
    pub fn with_link(self, link: &str) -> Self {
        self.with_header(LINK_NAME, link)
    }

    /// The same caller with one more header, or another value for it.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers
            .get_or_insert_with(HeaderMap::new)
            .insert(name, value);
        self
    }

    /// The same caller without any header.
    #[must_use]
    pub fn without_headers(mut self) -> Self {
        self.headers = None;
        self
    }

    /// The same caller with another time to wait for an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// `eventual-batch.open-bucket`
    pub async fn open_bucket(&self, name: &str) -> Result<Result<(), EventualBatchError>> {
        let call = eventual_batch::open_bucket(&self.wrpc, self.headers.clone(), name);
        self.in_time(call).await
    }

    /// `eventual-batch.get-many`, values as bytes.
    pub async fn get_many<K: AsRef<str>>(
        &self,
        bucket: &str,
        keys: &[K],
    ) -> Result<Result<Vec<Option<Vec<u8>>>, EventualBatchError>> {
        let values = match self.get_many_raw(bucket, &texts(keys)).await? {
            Ok(values) => values,
            Err(error) => return Ok(Err(error)),
        };
        let values = values
            .into_iter()
            .map(|value| value.map(Value::into_bytes).transpose())
            .collect::<Result<_>>()?;
        Ok(Ok(values))
    }

    /// `eventual-batch.get-many` as it crosses the lattice.
    pub async fn get_many_raw(
        &self,
        bucket: &str,
        keys: &[&str],
    ) -> Result<Result<Vec<Option<Value>>, EventualBatchError>> {
        let call = eventual_batch::get_many(&self.wrpc, self.headers.clone(), bucket, keys);
        self.in_time(call).await
    }

    /// `eventual-batch.keys`
    pub async fn keys(&self, bucket: &str) -> Result<Result<Vec<String>, EventualBatchError>> {
        let call = eventual_batch::keys(&self.wrpc, self.headers.clone(), bucket);
        self.in_time(call).await
    }

    /// `eventual-batch.set-many`; each value goes as text where it is valid UTF-8, else as base64.
    pub async fn set_many<K: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        bucket: &str,
        pairs: &[(K, V)],
    ) -> Result<Result<(), EventualBatchError>> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| (key.as_ref(), Value::from_bytes(value.as_ref())))
            .collect();
        self.set_many_raw(bucket, &pairs).await
    }

    /// `eventual-batch.set-many` as it crosses the lattice.
    pub async fn set_many_raw(
        &self,
        bucket: &str,
        pairs: &[(&str, Value)],
    ) -> Result<Result<(), EventualBatchError>> {
        let call = eventual_batch::set_many(&self.wrpc, self.headers.clone(), bucket, pairs);
        self.in_time(call).await
    }

    /// `eventual-batch.delete-many`
    pub async fn delete_many<K: AsRef<str>>(
        &self,
        bucket: &str,
        keys: &[K],
    ) -> Result<Result<(), EventualBatchError>> {
        let keys = texts(keys);
        let call = eventual_batch::delete_many(&self.wrpc, self.headers.clone(), bucket, &keys);
        self.in_time(call).await
    }

    /// The same calls through `wrpc:keyvalue/batch@0.2.0-draft`.
    #[must_use]
    pub fn batch(&self) -> BatchCaller<'_> {
        BatchCaller(self)
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.timeout, call)
            .await
            .with_context(|| format!("no answer in {:?}", self.timeout))?
    }
}

/// The calls of `wrpc:keyvalue/batch@0.2.0-draft`. See [`LatticeCaller::batch`].
#[derive(Clone, Copy, Debug)]
pub struct BatchCaller<'a>(&'a LatticeCaller);

impl BatchCaller<'_> {
    /// `batch.get-many`
    pub async fn get_many<K: AsRef<str>>(
        &self,
        bucket: &str,
        keys: &[K],
    ) -> Result<Result<Vec<Option<(String, Bytes)>>, BatchError>> {
        let Self(caller) = self;
        let keys = texts(keys);
        let call = batch::get_many(&caller.wrpc, caller.headers.clone(), bucket, &keys);
        caller.in_time(call).await
    }

    /// `batch.set-many`
    pub async fn set_many<K: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        bucket: &str,
        pairs: &[(K, V)],
    ) -> Result<Result<(), BatchError>> {
        let values: Vec<_> = pairs
            .iter()
            .map(|(_, value)| Bytes::copy_from_slice(value.as_ref()))
            .collect();
        let pairs: Vec<_> = pairs
            .iter()
            .zip(&values)
            .map(|((key, _), value)| (key.as_ref(), value))
            .collect();
        self.set_many_raw(bucket, &pairs).await
    }

    /// `batch.set-many`, without a copy of the values.
    pub async fn set_many_raw(
        &self,
        bucket: &str,
        pairs: &[(&str, &Bytes)],
    ) -> Result<Result<(), BatchError>> {
        let Self(caller) = self;
        let call = batch::set_many(&caller.wrpc, caller.headers.clone(), bucket, pairs);
        caller.in_time(call).await
    }

    /// `batch.delete-many`
    pub async fn delete_many<K: AsRef<str>>(
        &self,
        bucket: &str,
        keys: &[K],
    ) -> Result<Result<(), BatchError>> {
        let Self(caller) = self;
        let keys = texts(keys);
        let call = batch::delete_many(&caller.wrpc, caller.headers.clone(), bucket, &keys);
        caller.in_time(call).await
    }
}

fn texts<K: AsRef<str>>(keys: &[K]) -> Vec<&str> {
    keys.iter().map(AsRef::as_ref).collect()
}
