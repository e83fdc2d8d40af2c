//! Spans: which are exported, and those of requests.

use http::header::HeaderName;
use http::{HeaderMap, Method, Request, StatusCode};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Level, Metadata, Span, field, info_span};

/// The target of spans that are made for the export, and are not in the log.
pub(in crate::serve) const EXPORTED_SPANS: &str = "exported_spans";

/// Whether a span, or an event as a part of its span, is exported.
///
/// Only those at info: the others may hold keys. Of the events only those of the libraries. What a
/// component writes to its output is an event too, and may hold anything.
pub(super) fn is_exported(metadata: &Metadata<'_>) -> bool {
    let is_of_a_library = metadata.target().starts_with("eventual_batch_");
    *metadata.level() <= Level::INFO && (metadata.is_span() || is_of_a_library)
}

/// The span of a request to the component. It belongs to the trace of the client, if the client names
/// one (<https://www.w3.org/TR/trace-context/>). It has no path, which may hold keys.
pub(in crate::serve) fn request_span<B>(request: &Request<B>) -> Span {
    let headers = RequestHeaders(request.headers());
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    // A span's parent is what is attached when the span is made.
    let _attached = parent.attach();
    let method = known_method(request.method());
    info_span!(
        target: EXPORTED_SPANS,
        "request",
        otel.name = method.unwrap_or("HTTP"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method.unwrap_or("_OTHER"),
        http.response.status_code = field::Empty,
        error.type = field::Empty,
    )
}

/// Shows in the span of a request how it was answered.
pub(in crate::serve) fn note_status(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "error");
    }
}

/// The methods that the conventions name. Others could be of any number.
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// Where a client's trace is read from.
struct RequestHeaders<'a>(&'a HeaderMap);

impl Extractor for RequestHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let Self(headers) = self;
        headers.get(name)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        let Self(headers) = self;
        headers.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_knows_is_not_named() {
        assert_eq!(known_method(&Method::GET), Some("GET"));
        let made_up = Method::from_bytes(b"KEY-17").unwrap();
        assert_eq!(known_method(&made_up), None);
    }
}
