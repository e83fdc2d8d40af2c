//! `wrpc:keyvalue/eventual-batch@0.1.0`.

use crate::delete_many::delete_many;
use crate::hints::lattice_error_message;
use crate::wire_values;
use crate::wrpc::Request;
use crate::wrpc::bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::{Error, Value};
use crate::wrpc::{Endpoint, EndpointContext, endpoint};
use eventual_batch_engine::{Kind, ReadNode};
use eventual_batch_links::CallError;

const INTERFACE: &str = "wrpc:keyvalue/eventual-batch@0.1.0";

pub(crate) type CallResult<T> = (Result<T, Error>,);

pub(crate) async fn endpoints(context: &EndpointContext) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(context, INTERFACE, "open-bucket", open_bucket).await?,
        endpoint(context, INTERFACE, "get-many", get_many).await?,
        endpoint(context, INTERFACE, "keys", keys).await?,
        endpoint(context, INTERFACE, "set-many", set_many).await?,
        endpoint(context, INTERFACE, "delete-many", delete_many::<Error>).await?,
        endpoint(context, INTERFACE, "get", get).await?,
        endpoint(context, INTERFACE, "exists", exists).await?,
    ])
}

async fn open_bucket(request: Request<(String,)>) -> CallResult<()> {
    request
        .respond(|call, (name,)| async move {
            call.run(&name, None, |bucket, deadline| async move {
                Ok(bucket.open(deadline).await?)
            })
            .await
        })
        .await
}

async fn get_many(request: Request<(String, Vec<String>)>) -> CallResult<Vec<Option<Value>>> {
    request
        .respond_budgeted(|call, (name, keys), reads| async move {
            call.run(&name, Some(keys.len()), |bucket, deadline| async move {
                let values = reads.get_many(&bucket, &keys, deadline).await?;
                Ok(wire_values::encode(values).await)
            })
            .await
        })
        .await
}

async fn keys(request: Request<(String,)>) -> CallResult<Vec<String>> {
    request
        .respond_budgeted(|call, (name,), reads| async move {
            call.run_listing(&name, Vec::len, |bucket, deadline| async move {
                reads.keys(&bucket, deadline).await
            })
            .await
        })
        .await
}

async fn set_many(request: Request<(String, Vec<(String, Value)>)>) -> CallResult<()> {
    request
        .respond(|call, (name, entries)| async move {
            call.run(&name, Some(entries.len()), |bucket, deadline| async move {
                let entries = wire_values::decode(entries).await?;
                Ok(bucket.set_many(entries, deadline).await?)
            })
            .await
        })
        .await
}

async fn get(request: Request<(String, String)>) -> CallResult<Option<Value>> {
    request
        .respond_budgeted(|call, (name, key), reads| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                let value = reads.get(&bucket, ReadNode::Leader, &key, deadline).await?;
                Ok(value.map(wire_values::encode_one))
            })
            .await
        })
        .await
}

async fn exists(request: Request<(String, String)>) -> CallResult<bool> {
    request
        .respond(|call, (name, key)| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                Ok(bucket.exists(&key, deadline).await?)
            })
            .await
        })
        .await
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let text = lattice_error_message(&error);
        match error.kind() {
            Kind::NoSuchBucket => Self::NoSuchBucket(text),
            Kind::AccessDenied => Self::AccessDenied(text),
            Kind::InvalidArgument => Self::InvalidArgument(text),
            Kind::TooLarge => Self::TooLarge(text),
            Kind::Unavailable => Self::Unavailable(text),
            Kind::Other => Self::Other(text),
        }
    }
}
