//! `wrpc:keyvalue/store@0.2.0-draft`, and the error that it shares with `batch` and `atomics`.

use bytes::Bytes;

use crate::hints::lattice_error_message;
use crate::wrpc::Request;
pub(crate) use crate::wrpc::bindings::exports::wrpc::keyvalue0_2_0_draft::store::Error;
use crate::wrpc::bindings::exports::wrpc::keyvalue0_2_0_draft::store::KeyResponse;
use crate::wrpc::{Endpoint, EndpointContext, endpoint};
use eventual_batch_engine::Kind;
use eventual_batch_links::CallError;

const INTERFACE: &str = "wrpc:keyvalue/store@0.2.0-draft";

pub(crate) type CallResult<T> = (Result<T, Error>,);

pub(crate) async fn endpoints(context: &EndpointContext) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(context, INTERFACE, "get", get).await?,
        endpoint(context, INTERFACE, "set", set).await?,
        endpoint(context, INTERFACE, "delete", delete).await?,
        endpoint(context, INTERFACE, "exists", exists).await?,
        endpoint(context, INTERFACE, "list-keys", list_keys).await?,
    ])
}

async fn get(request: Request<(String, String)>) -> CallResult<Option<Bytes>> {
    request
        .respond_budgeted(|call, (name, key), reads| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                reads
                    .get(&bucket, bucket.single_reads(), &key, deadline)
                    .await
            })
            .await
        })
        .await
}

async fn set(request: Request<(String, String, Bytes)>) -> CallResult<()> {
    request
        .respond(|call, (name, key, value)| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                Ok(bucket.set(key, value, deadline).await?)
            })
            .await
        })
        .await
}

async fn delete(request: Request<(String, String)>) -> CallResult<()> {
    request
        .respond(|call, (name, key)| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                Ok(bucket.delete(key, deadline).await?)
            })
            .await
        })
        .await
}

async fn exists(request: Request<(String, String)>) -> CallResult<bool> {
    request
        .respond(|call, (name, key)| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                let node = bucket.single_reads();
                Ok(bucket.exists_from(node, &key, deadline).await?)
            })
            .await
        })
        .await
}

async fn list_keys(request: Request<(String, Option<u64>)>) -> CallResult<KeyResponse> {
    request
        .respond_budgeted(|call, (name, cursor), reads| async move {
            let listed = |page: &KeyResponse| page.keys.len();
            call.run_listing(&name, listed, |bucket, deadline| async move {
                let after = cursor.unwrap_or(0);
                let page = reads.list_keys(&bucket, after, deadline).await?;
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
                Self::Other(lattice_error_message(&error))
            }
        }
    }
}
