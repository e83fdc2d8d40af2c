//! `wrpc:keyvalue/store@0.2.0-draft`, and the error that it shares with `batch` and `atomics`.

use std::sync::Arc;

use bytes::Bytes;

use crate::hints::call_text;
pub(crate) use crate::wrpc::bindings::exports::wrpc::keyvalue0_2_0_draft::store::Error;
use crate::wrpc::bindings::exports::wrpc::keyvalue0_2_0_draft::store::KeyResponse;
use crate::wrpc::{Endpoint, Lattice, endpoint};
use crate::wrpc::{Params, answer};
use eventual_batch_engine::Kind;
use eventual_batch_links::Links;
use eventual_batch_links::{Call, CallError};

const INSTANCE: &str = "wrpc:keyvalue/store@0.2.0-draft";

pub(crate) type Answer<T> = (Result<T, Error>,);

pub(crate) async fn endpoints(
    lattice: &Lattice,
    links: &Arc<Links>,
) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(lattice, links, INSTANCE, "get", get).await?,
        endpoint(lattice, links, INSTANCE, "set", set).await?,
        endpoint(lattice, links, INSTANCE, "delete", delete).await?,
        endpoint(lattice, links, INSTANCE, "exists", exists).await?,
        endpoint(lattice, links, INSTANCE, "list-keys", list_keys).await?,
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
            Ok(bucket.set(key, value, deadline).await?)
        })
        .await
    })
    .await
}

async fn delete(call: Call, params: Params<(String, String)>) -> Answer<()> {
    answer(call, params, |call, (name, key)| async move {
        call.run(&name, Some(1), |bucket, deadline| async move {
            Ok(bucket.delete(key, deadline).await?)
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
                Self::Other(call_text(&error))
            }
        }
    }
}
