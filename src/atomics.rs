//! `wrpc:keyvalue/atomics@0.2.0-draft`.

use eventual_batch_links::CallError;

use crate::store::Error;
use crate::wrpc::Request;
use crate::wrpc::{Endpoint, EndpointContext, endpoint};

const INTERFACE: &str = "wrpc:keyvalue/atomics@0.2.0-draft";

pub(crate) async fn endpoints(context: &EndpointContext) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(context, INTERFACE, "increment", increment::<Error>).await?,
    ])
}

/// `increment`, which is the same in `atomic` but for the type of its error.
pub(crate) async fn increment<E: From<CallError>>(
    request: Request<(String, String, u64)>,
) -> (Result<u64, E>,) {
    request
        .respond(|call, (name, key, delta)| async move {
            call.run(&name, Some(1), |bucket, deadline| async move {
                Ok(bucket.increment(&key, delta, deadline).await?)
            })
            .await
        })
        .await
}
