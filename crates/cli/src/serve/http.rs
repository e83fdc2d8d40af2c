//! The HTTP server: connections, and the requests on each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, debug_span, warn};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::runner::Runner;
use super::telemetry;

/// Connections at once. Further clients wait until one of them ends.
const MAX_CONNECTIONS: usize = 4096;

/// How long a connection stays open on which no request begins, nor one is carried out.
const IDLE: Duration = Duration::from_mins(1);

/// The buffer of a connection, in which its request's headers have to fit.
const MAX_HEADER_BYTES: usize = 128 * 1024;

/// Accepts connections until `stop`, and serves each on a task of `connections`.
pub(super) async fn serve(
    listener: TcpListener,
    runner: Arc<Runner>,
    connections: &TaskTracker,
    stop: &CancellationToken,
    request_timeout: Duration,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
                // Too many open files, for instance: not to be asked again at once.
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = HttpConnection {
            runner: Arc::clone(&runner),
            gone: CancellationToken::new(),
            idle_at: Arc::new(Mutex::new(Instant::now() + IDLE)),
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
    /// That the client has gone away before it got all of an answer.
    gone: CancellationToken,
    /// When to close it unless something happens.
    idle_at: Arc<Mutex<Instant>>,
    request_timeout: Duration,
}

impl HttpConnection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, stop: &CancellationToken) {
        // Answers are written in few pieces, and somebody waits for each.
        let _ = stream.set_nodelay(true);
        let gone = self.gone.clone();
        // Whatever ends this function early ends the instances too.
        let abandon = gone.clone().drop_guard();
        let idle_at = Arc::clone(&self.idle_at);
        let service = service_fn(move |request| {
            let connection = self.clone();
            async { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .max_buf_size(MAX_HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), service)
        );
        let mut stopping = false;
        let outcome = loop {
            let idle = *idle_at.lock().unwrap_or_else(PoisonError::into_inner);
            tokio::select! {
                outcome = &mut connection => break outcome,
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = sleep_until(idle) => {
                    let now = *idle_at.lock().unwrap_or_else(PoisonError::into_inner);
                    if now <= Instant::now() {
                        debug!(%peer, "closing an idle connection");
                        return;
                    }
                }
            }
        };
        match outcome {
            // The client has all of its answers. Instances may go on after theirs.
            Ok(()) => drop(abandon.disarm()),
            Err(error) => debug!(%peer, %error, "the connection has ended"),
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<WatchedBody> {
        let begun = Instant::now();
        self.stay_open(self.request_timeout + IDLE);
        let exported = telemetry::request_span(&request);
        // A path may hold keys, so it is in the log at debug only.
        let span = debug_span!("request", method = %request.method(), path = request.uri().path());
        let gone = self.gone.child_token();
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
                connection: self,
            })
        };
        let answer = answer.instrument(span).instrument(exported.clone());
        let response = answer.await;
        telemetry::note_status(&exported, response.status());
        response
    }

    fn stay_open(&self, time: Duration) {
        *self.idle_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + time;
    }
}

/// The body of an answer. When the connection has taken it all, the connection is idle.
struct WatchedBody {
    inner: HyperOutgoingBody,
    connection: HttpConnection,
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.connection.stay_open(IDLE);
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
