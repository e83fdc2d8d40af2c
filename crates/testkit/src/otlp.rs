//! A collector of OpenTelemetry: it takes what a process exports by OTLP over HTTP, and keeps it.

mod metric;
mod span;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

pub use metric::{ExportedMetric, ExportedPoint};
pub use span::ExportedSpan;

/// A collector. It ends when it is dropped.
#[derive(Debug)]
pub struct OtlpCollector {
    url: String,
    received: Arc<Mutex<Exports>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Exports {
    /// The bodies of all requests, one after the other.
    bytes: Vec<u8>,
    metrics: Vec<ExportedMetric>,
    /// How many exports of metrics there were.
    metrics_received: u64,
    spans: Vec<ExportedSpan>,
    resource: Vec<(String, String)>,
    /// What was sent that is not OTLP in protobuf, if anything was.
    problem: Option<String>,
}

impl OtlpCollector {
    /// Starts a collector on a port of the loopback interface.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start() -> Result<Self> {
        Self::start_on(0).await
    }

    /// The same on this port.
    ///
    /// # Errors
    /// If the port is taken.
    pub async fn start_on(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let received = Arc::<Mutex<Exports>>::default();
        let accepting = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Ok(Self {
            url,
            received,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Its URL, without a path.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The metrics of the last export.
    ///
    /// # Errors
    /// If anything was sent that is not OTLP.
    pub fn metrics(&self) -> Result<Vec<ExportedMetric>> {
        Ok(self.received()?.metrics.clone())
    }

    /// This metric, as the last export had it.
    ///
    /// # Errors
    /// If anything was sent that is not OTLP.
    pub fn metric(&self, name: &str) -> Result<Option<ExportedMetric>> {
        let received = self.received()?;
        let mut metrics = received.metrics.iter();
        Ok(metrics.find(|metric| metric.name == name).cloned())
    }

    /// How many times metrics were exported so far.
    #[must_use]
    pub fn exports(&self) -> u64 {
        lock(&self.received).metrics_received
    }

    /// Forgets the bytes and the spans so far, which would grow without end.
    pub fn forget(&self) {
        let mut received = lock(&self.received);
        received.bytes.clear();
        received.spans.clear();
    }

    /// The attributes of the process that exports.
    ///
    /// # Errors
    /// If anything was sent that is not OTLP.
    pub fn resource(&self) -> Result<Vec<(String, String)>> {
        Ok(self.received()?.resource.clone())
    }

    /// All spans so far.
    ///
    /// # Errors
    /// If anything was sent that is not OTLP.
    pub fn spans(&self) -> Result<Vec<ExportedSpan>> {
        Ok(self.received()?.spans.clone())
    }

    /// Whether these bytes occur anywhere in what was sent.
    ///
    /// # Errors
    /// If anything was sent that is not OTLP.
    pub fn has_received(&self, bytes: &[u8]) -> Result<bool> {
        let received = self.received()?;
        let mut windows = received.bytes.windows(bytes.len());
        Ok(windows.any(|window| window == bytes))
    }

    fn received(&self) -> Result<MutexGuard<'_, Exports>> {
        let received = lock(&self.received);
        match &received.problem {
            Some(problem) => Err(anyhow::anyhow!("{problem}")),
            None => Ok(received),
        }
    }
}

fn lock(received: &Mutex<Exports>) -> MutexGuard<'_, Exports> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, received: Arc<Mutex<Exports>>) {
    let service = service_fn(|request| {
        let received = Arc::clone(&received);
        async move { Ok::<_, Infallible>(answer(request, &received).await) }
    });
    // A client may go at any time.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, received: &Mutex<Exports>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if let Err(problem) = take(request, received).await {
        lock(received).problem = Some(format!("{problem:#}"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
}

async fn take(request: Request<Incoming>, received: &Mutex<Exports>) -> Result<()> {
    // Compressed, what is searched for would not be found.
    let encoding = request.headers().get("content-encoding");
    anyhow::ensure!(encoding.is_none(), "sent as {encoding:?}");
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await;
    let body = body.context("a request ends early")?.to_bytes();
    let mut received = lock(received);
    received.bytes.extend_from_slice(&body);
    match path.as_str() {
        "/v1/metrics" => {
            let export = ExportMetricsServiceRequest::decode(body)?;
            if let Some(resource) = export.resource_metrics.first() {
                let resource = resource.resource.clone().unwrap_or_default();
                received.resource = metric::attributes(&resource.attributes);
            }
            received.metrics = metric::exported(export);
            received.metrics_received += 1;
        }
        "/v1/traces" => {
            let export = ExportTraceServiceRequest::decode(body)?;
            received.spans.extend(span::exported(export));
        }
        _ => anyhow::bail!("sent to {path}"),
    }
    Ok(())
}
