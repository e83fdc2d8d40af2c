//! `wrpc:keyvalue/atomic@0.1.0`.

use crate::atomics::increment;
use crate::eventual_batch::CallResult;
use crate::wrpc::Request;
use crate::wrpc::bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::Error;
use crate::wrpc::{Endpoint, EndpointContext, endpoint};

const INTERFACE: &str = "wrpc:keyvalue/atomic@0.1.0";

pub(crate) async fn endpoints(context: &EndpointContext) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(context, INTERFACE, "increment", increment::<Error>).await?,
        endpoint(context, INTERFACE, "compare-and-swap", compare_and_swap).await?,
    ])
}

async fn compare_and_swap(request: Request<(String, String, u64, u64)>) -> CallResult<bool> {
    request
        .respond(|call, (name, key, old, new)| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                Ok(bucket.compare_and_swap(&key, old, new, deadline).await?)
            })
            .await
        })
        .await
}
