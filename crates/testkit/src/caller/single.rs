//! The calls about single keys.

use anyhow::Result;
use bytes::Bytes;

use super::LatticeCaller;
use crate::bindings::wrpc::keyvalue0_1_0::{atomic, eventual_batch};
use crate::bindings::wrpc::keyvalue0_2_0_draft::{atomics, store};
use crate::value::{BatchError, EventualBatchError, KeyResponse, Value};

impl LatticeCaller {
    /// `eventual-batch.get`, the value as it crosses the lattice.
    pub async fn get(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<Result<Option<Value>, EventualBatchError>> {
        let call = eventual_batch::get(&self.wrpc, self.headers.clone(), bucket, key);
        self.in_time(call).await
    }

    /// `eventual-batch.exists`
    pub async fn exists(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<Result<bool, EventualBatchError>> {
        let call = eventual_batch::exists(&self.wrpc, self.headers.clone(), bucket, key);
        self.in_time(call).await
    }

    /// Calls of `wrpc:keyvalue/atomic@0.1.0`.
    #[must_use]
    pub fn atomic(&self) -> AtomicCaller<'_> {
        AtomicCaller(self)
    }

    /// Calls of `wrpc:keyvalue/store@0.2.0-draft`.
    #[must_use]
    pub fn store(&self) -> StoreCaller<'_> {
        StoreCaller(self)
    }

    /// Calls of `wrpc:keyvalue/atomics@0.2.0-draft`.
    #[must_use]
    pub fn atomics(&self) -> AtomicsCaller<'_> {
        AtomicsCaller(self)
    }
}

/// The calls of `wrpc:keyvalue/store@0.2.0-draft`. See [`LatticeCaller::store`].
#[derive(Clone, Copy, Debug)]
pub struct StoreCaller<'a>(&'a LatticeCaller);

impl StoreCaller<'_> {
    /// `store.get`
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Result<Option<Bytes>, BatchError>> {
        let Self(caller) = self;
        let call = store::get(&caller.wrpc, caller.headers.clone(), bucket, key);
        caller.in_time(call).await
    }

    /// `store.set`
    pub async fn set(
        &self,
        bucket: &str,
        key: &str,
        value: impl Into<Bytes>,
    ) -> Result<Result<(), BatchError>> {
        let Self(caller) = self;
        let value = value.into();
        let call = store::set(&caller.wrpc, caller.headers.clone(), bucket, key, &value);
        caller.in_time(call).await
    }

    /// `store.delete`
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<Result<(), BatchError>> {
        let Self(caller) = self;
        let call = store::delete(&caller.wrpc, caller.headers.clone(), bucket, key);
        caller.in_time(call).await
    }

    /// `store.exists`
    pub async fn exists(&self, bucket: &str, key: &str) -> Result<Result<bool, BatchError>> {
        let Self(caller) = self;
        let call = store::exists(&caller.wrpc, caller.headers.clone(), bucket, key);
        caller.in_time(call).await
    }

    /// `store.list-keys`
    pub async fn list_keys(
        &self,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<Result<KeyResponse, BatchError>> {
        let Self(caller) = self;
        let call = store::list_keys(&caller.wrpc, caller.headers.clone(), bucket, cursor);
        caller.in_time(call).await
    }
}

/// The calls of `wrpc:keyvalue/atomics@0.2.0-draft`. See [`LatticeCaller::atomics`].
#[derive(Clone, Copy, Debug)]
pub struct AtomicsCaller<'a>(&'a LatticeCaller);

impl AtomicsCaller<'_> {
    /// `atomics.increment`
    pub async fn increment(
        &self,
        bucket: &str,
        key: &str,
        delta: u64,
    ) -> Result<Result<u64, BatchError>> {
        let Self(caller) = self;
        let call = atomics::increment(&caller.wrpc, caller.headers.clone(), bucket, key, delta);
        caller.in_time(call).await
    }
}

/// The calls of `wrpc:keyvalue/atomic@0.1.0`. See [`LatticeCaller::atomic`].
#[derive(Clone, Copy, Debug)]
pub struct AtomicCaller<'a>(&'a LatticeCaller);

impl AtomicCaller<'_> {
    /// `atomic.increment`
    pub async fn increment(
        &self,
        bucket: &str,
        key: &str,
        delta: u64,
    ) -> Result<Result<u64, EventualBatchError>> {
        let Self(caller) = self;
        let call = atomic::increment(&caller.wrpc, caller.headers.clone(), bucket, key, delta);
        caller.in_time(call).await
    }

    /// `atomic.compare-and-swap`
    pub async fn compare_and_swap(
        &self,
        bucket: &str,
        key: &str,
        old: u64,
        new: u64,
    ) -> Result<Result<bool, EventualBatchError>> {
        let Self(caller) = self;
        let headers = caller.headers.clone();
        let call = atomic::compare_and_swap(&caller.wrpc, headers, bucket, key, old, new);
        caller.in_time(call).await
    }
}
