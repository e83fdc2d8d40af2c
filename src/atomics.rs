//! `wrpc:keyvalue/atomics@0.2.0-draft`.

use std::sync::Arc;

use crate::store::Answer;
use crate::wrpc::{Endpoint, Lattice, endpoint};
use crate::wrpc::{Params, answer};
use eventual_batch_links::Call;
use eventual_batch_links::Links;

const INSTANCE: &str = "wrpc:keyvalue/atomics@0.2.0-draft";

pub(crate) async fn endpoints(
    lattice: &Lattice,
    links: &Arc<Links>,
) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(lattice, links, INSTANCE, "increment", increment).await?,
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
