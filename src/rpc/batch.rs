//! `wrpc:keyvalue/batch@0.2.0-draft`.

use std::sync::Arc;

use bytes::Bytes;

use super::bindings::wrpc::keyvalue0_2_0_draft::store::Error;
use super::call::{Call, CallError, Params, answer, delete_many};
use super::function::{Function, Lattice, function};
use crate::engine::Kind;
use crate::links::Links;

const INSTANCE: &str = "wrpc:keyvalue/batch@0.2.0-draft";

type Answer<T> = (Result<T, Error>,);

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
