//! `wrpc:keyvalue/batch@0.2.0-draft`.

use bytes::Bytes;

use crate::delete_many::delete_many;
use crate::store::{CallResult, Error};
use crate::wrpc::Request;
use crate::wrpc::{Endpoint, EndpointContext, endpoint};

const INTERFACE: &str = "wrpc:keyvalue/batch@0.2.0-draft";

pub(crate) async fn endpoints(context: &EndpointContext) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(context, INTERFACE, "get-many", get_many).await?,
        endpoint(context, INTERFACE, "set-many", set_many).await?,
        endpoint(context, INTERFACE, "delete-many", delete_many::<Error>).await?,
    ])
}

async fn get_many(
    request: Request<(String, Vec<String>)>,
) -> CallResult<Vec<Option<(String, Bytes)>>> {
    request
        .respond_budgeted(|call, (name, keys), reads| async move {
            call.run(&name, Some(keys.len()), |bucket, deadline| async move {
                let values = reads.get_many(&bucket, &keys, deadline).await?;
                let beside_its_key = |(key, value): (String, Option<Bytes>)| Some((key, value?));
                Ok(keys.into_iter().zip(values).map(beside_its_key).collect())
            })
            .await
        })
        .await
}

async fn set_many(request: Request<(String, Vec<(String, Bytes)>)>) -> CallResult<()> {
    request
        .respond(|call, (name, entries)| async move {
            call.run(&name, Some(entries.len()), |bucket, deadline| async move {
                Ok(bucket.set_many(entries, deadline).await?)
            })
            .await
        })
        .await
}
