//! `wrpc:keyvalue/batch@0.2.0-draft`.

use bytes::Bytes;

use crate::delete_many::delete_many;
use crate::store::{Answer, Error};
use crate::wrpc::Request;
use crate::wrpc::{Endpoint, EndpointContext, endpoint};

const INSTANCE: &str = "wrpc:keyvalue/batch@0.2.0-draft";

pub(crate) async fn endpoints(context: &EndpointContext) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(context, INSTANCE, "get-many", get_many).await?,
        endpoint(context, INSTANCE, "set-many", set_many).await?,
        endpoint(context, INSTANCE, "delete-many", delete_many::<Error>).await?,
    ])
}

async fn get_many(request: Request<(String, Vec<String>)>) -> Answer<Vec<Option<(String, Bytes)>>> {
    request
        .answer_budgeted(|call, (name, keys), reads| async move {
            call.run(&name, Some(keys.len()), |bucket, deadline| async move {
                let values = reads.get_many(&bucket, &keys, deadline).await?;
                let beside_its_key = |(key, value): (String, Option<Bytes>)| Some((key, value?));
                Ok(keys.into_iter().zip(values).map(beside_its_key).collect())
            })
            .await
        })
        .await
}

async fn set_many(request: Request<(String, Vec<(String, Bytes)>)>) -> Answer<()> {
    request
        .answer(|call, (name, entries)| async move {
            call.run(&name, Some(entries.len()), |bucket, deadline| async move {
                Ok(bucket.set_many(entries, deadline).await?)
            })
            .await
        })
        .await
}
