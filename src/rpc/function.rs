//! One function of an interface on the wire: receive parameters, answer, send the results.
//!
//! The server that wRPC generates reads the parameters of one invocation after another, so that a caller
//! who never sends them all would hold up everybody else. Here each invocation is its own future
//! from its first message on, with bounds on how long and how much it may send.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::codec::{Encoder, FramedRead, FramedWrite};
use wrpc_transport::{Serve as _, TupleDecode, TupleEncode};
use wrpc_transport_nats::{Client, Reader, SubjectWriter};

use super::call::{Call, Params};
use super::guard::{Guarded, Parameters, Refusal};
use crate::links::Links;

/// How long a caller may take to send its parameters: a host's calls time out long before.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the lattice may take to accept an answer.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The invocations of a function, each a future that ends when it is answered.
pub(super) type Invocations =
    BoxStream<'static, anyhow::Result<BoxFuture<'static, anyhow::Result<()>>>>;

/// Subscribes to a function's invocations. `answer` gets the parameters, or why they could not be
/// read.
pub(super) async fn function<P, R, F>(
    wrpc: &Client,
    links: &Arc<Links>,
    instance: &'static str,
    name: &'static str,
    answer: fn(Call, Params<P>) -> F,
) -> anyhow::Result<Invocations>
where
    P: Parameters + TupleDecode<Reader> + Send + 'static,
    P::Decoder: Send,
    R: TupleEncode<SubjectWriter> + Send + 'static,
    R::Encoder: Send,
    <R::Encoder as Encoder<R>>::Error: std::error::Error + Send + Sync + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let invocations = wrpc
        .serve(instance, name, [])
        .await
        .with_context(|| format!("failed to serve `{instance}.{name}`"))?;
    let links = Arc::clone(links);
    let invocations = invocations.map(move |invocation| {
        let (headers, outgoing, incoming) = invocation?;
        let call = Call::new(&links, name, headers.as_ref());
        let invocation = async move {
            let params = receive(&call, incoming).await?;
            let results = answer(call, params).await;
            timeout(SEND_TIMEOUT, send(outgoing, results))
                .await
                .context("the lattice did not take the answer in time")?
        };
        Ok(invocation.boxed())
    });
    Ok(invocations.boxed())
}

async fn receive<P>(call: &Call, incoming: Reader) -> anyhow::Result<Params<P>>
where
    P: Parameters + TupleDecode<Reader>,
{
    let decoder = Guarded::<P::Decoder>::new::<P>(call.max_keys());
    let mut frames = FramedRead::new(incoming.take(call.max_parameter_bytes()), decoder);
    let received = timeout(RECEIVE_TIMEOUT, frames.next())
        .await
        .context("the caller did not send its parameters in time")?;
    match received {
        Some(Ok(params)) => Ok(Ok(params)),
        _ if frames.get_ref().limit() == 0 => Ok(Err(call.too_many_bytes())),
        Some(Err(Refusal::TooMany(keys))) => Ok(Err(call.too_many_keys(keys))),
        Some(Err(Refusal::Malformed)) => {
            anyhow::bail!("the parameters are not of the function's types")
        }
        None => anyhow::bail!("the parameters end too early"),
    }
}

async fn send<R>(outgoing: SubjectWriter, results: R) -> anyhow::Result<()>
where
    R: TupleEncode<SubjectWriter>,
    <R::Encoder as Encoder<R>>::Error: std::error::Error + Send + Sync + 'static,
{
    let mut frames = FramedWrite::new(outgoing, R::Encoder::default());
    frames
        .send(results)
        .await
        .context("failed to send the results")?;
    frames
        .into_inner()
        .shutdown()
        .await
        .context("failed to end the results")
}
