//! Spans as they were exported.

use std::fmt::Write as _;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::metric::attributes;

/// A span.
#[derive(Clone, Debug)]
pub struct ExportedSpan {
    /// Its name.
    pub name: String,
    /// Whether it is a client's span.
    pub is_client: bool,
    /// Whether its status is an error.
    pub is_error: bool,
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// The trace that it belongs to, in hexadecimal digits.
    pub trace: String,
    /// Its parent, in hexadecimal digits. Empty: it has none.
    pub parent: String,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
}

impl ExportedSpan {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let (_, value) = attributes.find(|(attribute, _)| attribute == name)?;
        Some(value)
    }
}

pub(super) fn exported(export: ExportTraceServiceRequest) -> Vec<ExportedSpan> {
    let scopes = export.resource_spans.into_iter();
    let scopes = scopes.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(span).collect()
}

fn span(span: Span) -> ExportedSpan {
    let status = span.status.unwrap_or_default();
    ExportedSpan {
        is_client: span.kind == SpanKind::Client as i32,
        is_error: status.code == StatusCode::Error as i32,
        id: hex(&span.span_id),
        trace: hex(&span.trace_id),
        parent: hex(&span.parent_span_id),
        attributes: attributes(&span.attributes),
        name: span.name,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
