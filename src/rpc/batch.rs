//! `wrpc:keyvalue/batch@0.2.0-draft`.

use std::sync::Arc;

use bytes::Bytes;

use super::call::{Call, Params, answer, delete_many};
use super::function::{Function, Lattice, function};
use super::store::{Answer, Error};
use crate::links::Links;

const INSTANCE: &str = "wrpc:keyvalue/batch@0.2.0-draft";

pub(super) async fn functions(
    lattice: &Lattice,
    links: &Arc<Links>,
) -> anyhow::Result<Vec<Function>> {
    Ok(vec![
        function(lattice, links, INSTANCE, "get-many", get_many).await?,
        function(lattice, links, INSTANCE, "set-many", set_many).await?,
        function(
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
