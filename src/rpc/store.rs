//! `wrpc:keyvalue/store@0.2.0-draft`, and the error that it shares with `batch` and `atomics`.

use std::sync::Arc;

use bytes::Bytes;

pub(super) use super::bindings::exports::wrpc::keyvalue0_2_0_draft::store::Error;
use super::bindings::exports::wrpc::keyvalue0_2_0_draft::store::KeyResponse;
use super::call::{Call, CallError, Params, answer};
use super::function::{Function, Lattice, function};
use crate::engine::Kind;
use crate::links::Links;

const INSTANCE: &str = "wrpc:keyvalue/store@0.2.0-draft";

pub(super) type Answer<T> = (Result<T, Error>,);

pub(super) async fn functions(
    lattice: &Lattice,
    links: &Arc<Links>,
) -> anyhow::Result<Vec<Function>> {
    Ok(vec![
        function(lattice, links, INSTANCE, "get", get).await?,
        function(lattice, links, INSTANCE, "set", set).await?,
        function(lattice, links, INSTANCE, "delete", delete).await?,
        function(lattice, links, INSTANCE, "exists", exists).await?,
        function(lattice, links, INSTANCE, "list-keys", list_keys).await?,
    ])
}

async fn get(call: Call, params: Params<(String, String)>) -> Answer<Option<Bytes>> {
    answer(call, params, |call, (name, key)| async move {
        call.run(&name, Some(1), |bucket, deadline| async move {
            Ok(bucket.get(&key, deadline).await?)
        })
        .await
    })
    .await
}

async fn set(call: Call, params: Params<(String, String, Bytes)>) -> Answer<()> {
    answer(call, params, |call, (name, key, value)| async move {
        call.run(&name, Some(1), |bucket, deadline| async move {
            Ok(bucket.set_many(vec![(key, value)], deadline).await?)
        })
        .await
    })
    .await
}

async fn delete(call: Call, params: Params<(String, String)>) -> Answer<()> {
    answer(call, params, |call, (name, key)| async move {
        call.run(&name, Some(1), |bucket, deadline| async move {
            Ok(bucket.delete_many(vec![key], deadline).await?)
        })
        .await
    })
    .await
}

async fn exists(call: Call, params: Params<(String, String)>) -> Answer<bool> {
    answer(call, params, |call, (name, key)| async move {
        call.run(&name, Some(1), |bucket, deadline| async move {
            Ok(bucket.exists(&key, deadline).await?)
        })
        .await
    })
    .await
}

async fn list_keys(call: Call, params: Params<(String, Option<u64>)>) -> Answer<KeyResponse> {
    answer(call, params, |call, (name, cursor)| async move {
        call.run(&name, None, |bucket, deadline| async move {
            let page = bucket.list_keys(cursor.unwrap_or(0), deadline).await?;
            Ok(KeyResponse {
                keys: page.keys,
                cursor: page.next,
            })
        })
        .await
    })
    .await
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error.kind() {
            Kind::NoSuchBucket => Self::NoSuchStore,
            Kind::AccessDenied => Self::AccessDenied,
            Kind::InvalidArgument | Kind::TooLarge | Kind::Unavailable | Kind::Other => {
                Self::Other(error.to_string())
            }
        }
    }
}
