//! Requests to the component: an instance for each, within limits.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use opentelemetry::context::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, warn};
use wasmtime::component::Resource;
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use super::answers::{GuestBody, HasReturned, sentence};
use super::error_code::ShownCode;
use super::guest::GuestState;
use super::instances::{InstanceSettings, log_failure};
use super::limits::RequestLimits;
use super::shed_requests::ShedRequests;

/// Runs the component for requests.
pub(super) struct Runner {
    /// `None`: the component answers no requests.
    proxy: Option<ProxyPre<GuestState>>,
    settings: InstanceSettings,
    limits: RequestLimits,
    slots: Arc<Semaphore>,
    shed: ShedRequests,
    instances: TaskTracker,
}

/// How an instance ended.
enum InstanceEnd {
    Returned,
    /// It trapped, or could not begin.
    Failed(wasmtime::Error),
    TimeOver,
    /// Nobody waits for its answer any more.
    Abandoned,
}

type Answer = Result<Response<HyperOutgoingBody>, ErrorCode>;

impl Runner {
    pub(super) fn new(
        proxy: Option<ProxyPre<GuestState>>,
        settings: InstanceSettings,
        limits: RequestLimits,
        shed: ShedRequests,
    ) -> Self {
        Self {
            proxy,
            settings,
            limits,
            slots: Arc::new(Semaphore::new(limits.requests as usize)),
            shed,
            instances: TaskTracker::new(),
        }
    }

    /// The instances that run, of which some may have answered already.
    pub(super) fn instances(&self) -> &TaskTracker {
        &self.instances
    }

    /// The answer to one request. The instance ends early if `gone` says that the client has gone
    /// away.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        gone: CancellationToken,
    ) -> Response<HyperOutgoingBody> {
        let Some(proxy) = self.proxy.clone() else {
            return sentence(
                StatusCode::NOT_FOUND,
                "The component answers no requests: it exports no HTTP handler.",
            );
        };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.shed.note("--max-requests");
            return sentence(
                StatusCode::SERVICE_UNAVAILABLE,
                "As many requests run as this server allows at once. Try again in a second.",
            );
        };
        let slot = Arc::new(slot);
        let mut store = self.settings.store(slot.clone());
        let mut http = store.data_mut().http();
        let Ok(request) = http.new_incoming_request(Scheme::Http, request) else {
            return sentence(
                StatusCode::BAD_REQUEST,
                "The request names no host: it has no Host header that can be read.",
            );
        };
        let (sender, answer) = oneshot::channel();
        let Ok(out) = http.new_response_outparam(sender) else {
            // A new table always has room.
            return failed();
        };
        let returned = HasReturned::default();
        let instance = self.spawn(proxy, store, (request, out), slot, gone, returned.clone());
        self.respond(answer.await, instance, returned).await
    }

    fn spawn(
        &self,
        proxy: ProxyPre<GuestState>,
        mut store: Store<GuestState>,
        (request, out): (
            Resource<HostIncomingRequest>,
            Resource<HostResponseOutparam>,
        ),
        slot: Arc<OwnedSemaphorePermit>,
        gone: CancellationToken,
        returned: HasReturned,
    ) -> JoinHandle<InstanceEnd> {
        let turns = self.settings.turns.clone();
        let limit = self.limits.timeout;
        let run = async move {
            let handle = async {
                let proxy = proxy.instantiate_async(&mut store).await?;
                let handler = proxy.wasi_http_incoming_handler();
                handler.call_handle(&mut store, request, out).await
            };
            let ended = tokio::select! {
                biased;
                () = gone.cancelled() => InstanceEnd::Abandoned,
                ended = timeout(limit, turns.share(handle)) => match ended {
                    Ok(Ok(())) => InstanceEnd::Returned,
                    Ok(Err(error)) => InstanceEnd::Failed(error),
                    Err(_) => InstanceEnd::TimeOver,
                },
            };
            if matches!(ended, InstanceEnd::Returned) {
                returned.set();
            }
            log(&ended, &store);
            drop(store);
            drop(slot);
            ended
        };
        // The span of the log need not be that of the export.
        let run = run.in_current_span().with_current_context();
        self.instances.spawn(run)
    }

    async fn respond(
        &self,
        answer: Result<Answer, oneshot::error::RecvError>,
        instance: JoinHandle<InstanceEnd>,
        returned: HasReturned,
    ) -> Response<HyperOutgoingBody> {
        match answer {
            Ok(Ok(response)) => response.map(|body| GuestBody::new(body, returned).boxed_unsync()),
            Ok(Err(code)) => {
                let code = ShownCode::new(&code);
                warn!(code = code.case(), "the component answered with an error");
                // The rest may be the component's own words.
                debug!(%code, "the error that it answered with");
                failed()
            }
            Err(_) => match instance.await {
                Ok(InstanceEnd::TimeOver) => sentence(
                    StatusCode::GATEWAY_TIMEOUT,
                    "The component did not answer within the time that this server allows.",
                ),
                Ok(InstanceEnd::Failed(error)) if error.is::<PoolConcurrencyLimitError>() => {
                    self.shed.note("the room for instances");
                    sentence(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "There is no room for another instance of the component. Try again in a second.",
                    )
                }
                Ok(InstanceEnd::Returned) => {
                    warn!("the component returned without an answer");
                    failed()
                }
                Ok(InstanceEnd::Failed(_) | InstanceEnd::Abandoned) | Err(_) => failed(),
            },
        }
    }
}

fn failed() -> Response<HyperOutgoingBody> {
    sentence(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The component failed to answer. The server's log says why.",
    )
}

fn log(ended: &InstanceEnd, store: &Store<GuestState>) {
    match ended {
        InstanceEnd::Returned => {}
        InstanceEnd::Failed(error) => log_failure(error, store),
        InstanceEnd::TimeOver => {
            warn!("the component was ended: its time was over (--request-timeout)");
        }
        InstanceEnd::Abandoned => debug!("the client has gone away"),
    }
}
