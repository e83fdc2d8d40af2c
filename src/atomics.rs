//! `wrpc:keyvalue/atomics@0.2.0-draft`.

use crate::store::Answer;
use crate::wrpc::Request;
use crate::wrpc::{Endpoint, Lattice, endpoint};

const INSTANCE: &str = "wrpc:keyvalue/atomics@0.2.0-draft";

pub(crate) async fn endpoints(lattice: &Lattice) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(lattice, INSTANCE, "increment", increment).await?,
    ])
}

async fn increment(request: Request<(String, String, u64)>) -> Answer<u64> {
    request
        .answer(|call, (name, key, delta)| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                Ok(bucket.increment(&key, delta, deadline).await?)
            })
            .await
        })
        .await
}
