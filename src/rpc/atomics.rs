//! `wrpc:keyvalue/atomics@0.2.0-draft`.

use std::sync::Arc;

use super::call::{Call, Params, answer};
use super::function::{Function, Lattice, function};
use super::store::Answer;
use crate::links::Links;

const INSTANCE: &str = "wrpc:keyvalue/atomics@0.2.0-draft";

pub(super) async fn functions(
    lattice: &Lattice,
    links: &Arc<Links>,
) -> anyhow::Result<Vec<Function>> {
    Ok(vec![
        function(lattice, links, INSTANCE, "increment", increment).await?,
    ])
}

async fn increment(call: Call, params: Params<(String, String, u64)>) -> Answer<u64> {
    answer(call, params, |call, (name, key, delta)| async move {
        call.run(&name, Some(1), |bucket, deadline| async move {
            Ok(bucket.increment(&key, delta, deadline).await?)
        })
        .await
    })
    .await
}
