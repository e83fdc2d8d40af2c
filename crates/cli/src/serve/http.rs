//! The HTTP server: connections, and the requests on each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, debug_span, warn};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::idle_clock::IdleClock;
use super::runner::Runner;
use super::telemetry;

/// How often the log says that connections cannot be accepted, at most.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// The buffer of a connection, in which its request's headers have to fit.
const MAX_HEADER_BYTES: usize = 128 * 1024;

/// Accepts connections until `stop`, so many at once, and serves each on a task of `connections`.
pub(super) async fn serve(
    listener: TcpListener,
    runner: Arc<Runner>,
    (connections, max_connections): (&TaskTracker, usize),
    stop: &CancellationToken,
    request_timeout: Duration,
) {
    let slots = Arc::new(Semaphore::new(max_connections));
    let mut warned_at: Option<Instant> = None;
    loop {
        let accept = async {
            // Nobody closes the semaphore.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if warned_at.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                    warn!(%error, "cannot accept connections");
                    warned_at = Some(Instant::now());
                }
                // The system has too many open files, for instance: not to be asked again at once.
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = HttpConnection {
            runner: Arc::clone(&runner),
            over: CancellationToken::new(),
            idle: IdleClock::new(Instant::now()),
            request_timeout,
        };
        let stop = stop.clone();
        connections.spawn(async move {
            connection.serve(stream, peer, &stop).await;
            drop(slot);
        });
    }
}

/// One connection of a client.
#[derive(Clone)]
struct HttpConnection {
    runner: Arc<Runner>,
    /// That it has ended. An answer that is still under way then does not reach the client as a whole.
    over: CancellationToken,
    idle: IdleClock,
    request_timeout: Duration,
}

impl HttpConnection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, stop: &CancellationToken) {
        // Answers are written in few pieces, and somebody waits for each.
        let _ = stream.set_nodelay(true);
        let (over, idle) = (self.over.clone(), self.idle.clone());
        let service = service_fn(move |request| {
            let connection = self.clone();
            async { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .max_buf_size(MAX_HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), service)
        );
        // However this function ends, it says so before it drops the connection, and an answer in it.
        let _over = over.drop_guard();
        let mut stopping = false;
        let outcome = loop {
            tokio::select! {
                outcome = &mut connection => break outcome,
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = sleep_until(idle.next_look(Instant::now())) => {
                    if idle.is_over(Instant::now()) {
                        debug!(%peer, "closing an idle connection");
                        return;
                    }
                }
            }
        };
        if let Err(error) = outcome {
            debug!(%peer, %error, "the connection has ended");
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<WatchedBody> {
        let begun = Instant::now();
        self.idle.use_for(self.request_timeout, begun);
        let exported = telemetry::request_span(&request);
        // A path may hold keys, so it is in the log at debug only.
        let span = debug_span!("request", method = %request.method(), path = request.uri().path());
        let gone = CancellationToken::new();
        // If the connection ends before there is an answer, this is dropped with this future.
        let abandon = gone.clone().drop_guard();
        let runner = Arc::clone(&self.runner);
        let answer = async {
            let response = runner.answer(request, gone).await;
            let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
            debug!(
                status = response.status().as_u16(),
                milliseconds, "answered"
            );
            response.map(|inner| WatchedBody {
                inner,
                has_failed: false,
                abandon: Some(abandon),
                connection: self,
            })
        };
        let answer = answer.instrument(span).instrument(exported.clone());
        let response = answer.await;
        telemetry::note_status(&exported, response.status());
        response
    }
}

/// The body of an answer. It is dropped when the connection has taken it all, which is then idle, or
/// with the connection.
struct WatchedBody {
    inner: HyperOutgoingBody,
    has_failed: bool,
    /// Ends the instance, whose answer nobody gets.
    abandon: Option<DropGuard>,
    connection: HttpConnection,
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.connection.idle.use_for(Duration::ZERO, Instant::now());
        let is_taken = !self.has_failed && !self.connection.over.is_cancelled();
        if is_taken && let Some(abandon) = self.abandon.take() {
            // The instance may go on after its answer, whatever becomes of the connection.
            abandon.disarm();
        }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        self.has_failed |= matches!(polled, Poll::Ready(Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
