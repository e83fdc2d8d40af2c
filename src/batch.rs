//! `wrpc:keyvalue/batch@0.2.0-draft`.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::{Answer, Error};
use crate::wrpc::{Endpoint, Lattice, endpoint};
use crate::wrpc::{Params, answer, delete_many};
use eventual_batch_links::Call;
use eventual_batch_links::Links;

const INSTANCE: &str = "wrpc:keyvalue/batch@0.2.0-draft";

pub(crate) async fn endpoints(
    lattice: &Lattice,
    links: &Arc<Links>,
) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(lattice, links, INSTANCE, "get-many", get_many).await?,
        endpoint(lattice, links, INSTANCE, "set-many", set_many).await?,
        endpoint(
            lattice,
            links,
            INSTANCE,
            "delete-many",
            delete_many::<Error>,
        )
        .await?,
    ])
}

async fn get_many(
    call: Call,
    params: Params<(String, Vec<String>)>,
) -> Answer<Vec<Option<(String, Bytes)>>> {
    answer(call, params, |call, (name, keys)| async move {
        call.run(&name, Some(keys.len()), |bucket, deadline| async move {
            let values = bucket.get_many(&keys, deadline).await?;
            let beside_its_key = |(key, value): (String, Option<Bytes>)| Some((key, value?));
            Ok(keys.into_iter().zip(values).map(beside_its_key).collect())
        })
        .await
    })
    .await
}

async fn set_many(call: Call, params: Params<(String, Vec<(String, Bytes)>)>) -> Answer<()> {
    answer(call, params, |call, (name, entries)| async move {
        call.run(&name, Some(entries.len()), |bucket, deadline| async move {
            Ok(bucket.set_many(entries, deadline).await?)
        })
        .await
    })
    .await
}
