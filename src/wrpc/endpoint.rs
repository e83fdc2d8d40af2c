//! An endpoint: one function of an interface, its subscription, and the future that handles an
//! invocation.
//!
//! Each invocation is a future of its own from its first message on. The caller may take only so
//! long to send its parameters, and they may have only so many bytes. So a caller that never sends
//! all of them delays no other call.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lattice_nats::{Client, Message, Subscriber};
use tokio::time::timeout;
use wrpc_transport_nats::invocation_subject;

use super::budgeted_reads::BudgetedReads;
use super::call::incoming_call;
use super::error::InvocationError;
use super::handshake::UnresponsiveClients;
use super::invocation::{AcceptedInvocation, Invocation};
use super::load_limits::LoadLimits;
use super::parameter_buffer::ParameterOutcome;
use super::parameter_limits;
use super::parameters::{ParameterError, Parameters};
use super::request::Request;
use super::results::Results;
use eventual_batch_links::{Call, CallError, Links, ShedReason};

/// How long a caller may take to send its parameters. The call of a host times out long before
/// that.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the lattice may take to accept an answer. Each MiB of the answer adds to it.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const SEND_TIMEOUT_PER_MIB: Duration = Duration::from_secs(1);

/// What all endpoints share: the connection to the lattice, the links, the limits, and what is known
/// of callers.
#[derive(Clone)]
pub(crate) struct EndpointContext {
    pub(crate) nats: Client,
    /// The prefix of the subjects of this provider's invocations. It is also the name of the queue
    /// group: each invocation goes to one of the provider's instances.
    pub(crate) prefix: Arc<str>,
    pub(crate) links: Arc<Links>,
    pub(crate) limits: LoadLimits,
    /// The clients that do not confirm the acceptance of their calls, whichever function they call.
    pub(crate) unresponsive: Arc<UnresponsiveClients>,
}

/// One function with its subscription.
pub(crate) struct Endpoint {
    pub(crate) invocations: Subscriber,
    /// Makes the future that handles an invocation.
    pub(crate) handle:
        Box<dyn Fn(Message) -> BoxFuture<'static, Result<(), InvocationError>> + Send + Sync>,
}

/// Subscribes to a function's invocations, which `handler` answers.
pub(crate) async fn endpoint<P, R, F>(
    context: &EndpointContext,
    interface: &'static str,
    name: &'static str,
    handler: fn(Request<P>) -> F,
) -> anyhow::Result<Endpoint>
where
    P: Parameters + Send + 'static,
    R: Results + Send + 'static,
    R::Item: Send,
    F: Future<Output = R> + Send + 'static,
{
    let subject = invocation_subject(&context.prefix, interface, name);
    let invocations = context
        .nats
        .queue_subscribe(subject, context.prefix.to_string())
        .await
        .with_context(|| format!("failed to serve `{interface}.{name}`"))?;
    let context = context.clone();
    let handle = move |message| {
        // At once, before the future is polled: the message's memory and the call's start count
        // from its arrival.
        let invocation = Invocation::new(context.nats.clone(), message, context.limits.clone());
        let call = incoming_call(&context.links, name, invocation.headers());
        let limits = context.limits.clone();
        let unresponsive = Arc::clone(&context.unresponsive);
        handle_invocation(invocation, call, limits, unresponsive, handler).boxed()
    };
    Ok(Endpoint {
        invocations,
        handle: Box::new(handle),
    })
}

/// The life of one call: receives its parameters, runs the handler, and sends the results.
async fn handle_invocation<P, R, F>(
    invocation: Invocation,
    call: Call,
    limits: LoadLimits,
    unresponsive: Arc<UnresponsiveClients>,
    handler: fn(Request<P>) -> F,
) -> Result<(), InvocationError>
where
    P: Parameters,
    R: Results,
    F: Future<Output = R>,
{
    let (accepted, params) = match receive(&call, invocation, &limits).await {
        Ok(received) => received,
        Err(error) => {
            if matches!(error, InvocationError::TooManyIncomplete) {
                call.abandon(ShedReason::IncompleteCalls);
            }
            return Err(error);
        }
    };
    let reads = BudgetedReads::new(limits.results.reservation());
    let request = Request {
        call,
        params,
        reads: reads.clone(),
    };
    let results = handler(request).await;
    let size = results.encoded_size();
    reads.charge_encoded_size(size);
    let sent = accepted.send(results, size, &unresponsive);
    timeout(send_timeout(size), sent)
        .await
        .map_err(|_| InvocationError::ResultsTimeout)?
}

/// How long the lattice may take to accept results of this encoded size.
fn send_timeout(size: usize) -> Duration {
    let mebibytes = u32::try_from(size >> 20).unwrap_or(u32::MAX);
    SEND_TIMEOUT + SEND_TIMEOUT_PER_MIB.saturating_mul(mebibytes)
}

/// Receives the parameters of an invocation. If they are over a limit, the call is answered with
/// that error.
async fn receive<P: Parameters>(
    call: &Call,
    invocation: Invocation,
    limits: &LoadLimits,
) -> Result<(AcceptedInvocation, Result<P, CallError>), InvocationError> {
    let receiving = invocation.receive(
        parameter_limits::max_keys(call),
        parameter_limits::max_parameter_bytes(call),
    );
    let received = timeout(RECEIVE_TIMEOUT, receiving).await;
    let (accepted, outcome) = received.map_err(|_| InvocationError::ParametersTimeout)??;
    let params = match outcome {
        ParameterOutcome::Params(params) => Ok(params),
        ParameterOutcome::TooLarge => Err(parameter_limits::too_many_bytes(call)),
        ParameterOutcome::NoMemory => Err(parameter_limits::no_memory(&limits.parameters)),
        ParameterOutcome::Undecodable(ParameterError::TooMany(keys)) => {
            Err(parameter_limits::too_many_keys(call, keys))
        }
        ParameterOutcome::Undecodable(ParameterError::Malformed) => {
            return Err(InvocationError::MalformedParameters);
        }
    };
    Ok((accepted, params))
}
