//! One function of an interface: its subscription, and the future that answers an invocation of it.
//!
//! Each invocation is its own future from its first message on, with bounds on how long and how
//! much it may send, so that a caller who never sends all of its parameters holds nobody up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lattice_nats::{Client, Message, Subscriber};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wrpc_transport_nats::invocation_subject;

use super::call::{self, Params};
use super::handshake::SilentCallers;
use super::invocation::{Accepted, Invocation, Received};
use super::parameters::{ParameterError, Parameters};
use super::results::Results;
use super::unanswered::Unanswered;
use eventual_batch_links::{Call, Links};

/// How long a caller may take to send its parameters: a host's calls time out long before.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Invocations of this process whose parameters are waited for, at most. Most come whole in their
/// first message, and go past those that are opened and left.
const MAX_UNFINISHED: usize = 4096;

/// A place for each of them.
static UNFINISHED: Semaphore = Semaphore::const_new(MAX_UNFINISHED);

/// How long the lattice may take to accept an answer, and each MiB of it besides.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const SEND_TIMEOUT_PER_MIB: Duration = Duration::from_secs(1);

/// The lattice, as far as serving goes.
#[derive(Clone, Debug)]
pub struct Lattice {
    /// The connection to it.
    pub nats: Client,
    /// What invocations of this provider are addressed to, and the name of the group of its
    /// instances, of which one gets each.
    pub prefix: Arc<str>,
}

/// A function that is subscribed to.
pub(crate) struct Endpoint {
    pub(super) invocations: Subscriber,
    /// The future that answers an invocation.
    pub(super) answer:
        Box<dyn Fn(Message) -> BoxFuture<'static, Result<(), Unanswered>> + Send + Sync>,
}

/// Subscribes to a function's invocations. `answer` gets the parameters, or why they could not be
/// read.
pub(crate) async fn endpoint<P, R, F>(
    lattice: &Lattice,
    links: &Arc<Links>,
    instance: &'static str,
    name: &'static str,
    answer: fn(Call, Params<P>) -> F,
) -> anyhow::Result<Endpoint>
where
    P: Parameters + Send + 'static,
    R: Results + Send + 'static,
    R::Item: Send,
    F: Future<Output = R> + Send + 'static,
{
    let subject = invocation_subject(&lattice.prefix, instance, name);
    let invocations = lattice
        .nats
        .queue_subscribe(subject, lattice.prefix.to_string())
        .await
        .with_context(|| format!("failed to serve `{instance}.{name}`"))?;
    let (nats, links) = (lattice.nats.clone(), Arc::clone(links));
    let silent = Arc::<SilentCallers>::default();
    let answer = move |message| {
        let invocation = Invocation::new(nats.clone(), message);
        let call = call::call(&links, name, invocation.headers());
        let silent = Arc::clone(&silent);
        async move {
            let (accepted, params) = receive(&call, invocation).await?;
            let results = answer(call, params).await;
            let size = results.encoded_size();
            let mebibytes = u32::try_from(size >> 20).unwrap_or(u32::MAX);
            let time = SEND_TIMEOUT + SEND_TIMEOUT_PER_MIB.saturating_mul(mebibytes);
            let sent = accepted.send(results, size, &silent);
            timeout(time, sent)
                .await
                .map_err(|_| Unanswered::ResultsLate)?
        }
        .boxed()
    };
    Ok(Endpoint {
        invocations,
        answer: Box::new(answer),
    })
}

async fn receive<P: Parameters>(
    call: &Call,
    invocation: Invocation,
) -> Result<(Accepted, Params<P>), Unanswered> {
    let decoder = P::decoder(call::max_keys(call));
    let received = invocation.receive(decoder, call::max_parameter_bytes(call), &UNFINISHED);
    let received = timeout(RECEIVE_TIMEOUT, received)
        .await
        .map_err(|_| Unanswered::ParametersLate)?;
    let (accepted, received) = received?;
    let params = match received {
        Received::Params(params) => Ok(params),
        Received::TooLarge => Err(call::too_many_bytes(call)),
        Received::NoRoom => Err(call::no_memory()),
        Received::Refused(ParameterError::TooMany(keys)) => Err(call::too_many_keys(call, keys)),
        Received::Refused(ParameterError::Malformed) => return Err(Unanswered::Malformed),
    };
    Ok((accepted, params))
}
