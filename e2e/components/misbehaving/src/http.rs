//! HTTP without a wrapper around it, so that answers can be given in part.

use wasi::clocks::monotonic_clock;
use wasi::exports::http::incoming_handler::Guest;
use wasi::http::outgoing_handler;
use wasi::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam,
};
use wasi::io::streams::{OutputStream, StreamError};

struct Misbehaving;

wasi::http::proxy::export!(Misbehaving);

impl Guest for Misbehaving {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        crate::handle(Request(request), Answer(out));
    }
}

pub struct Request(IncomingRequest);

impl Request {
    pub fn path(&self) -> String {
        self.0.path_with_query().unwrap_or_default()
    }
}

pub struct Answer(ResponseOutparam);

impl Answer {
    fn begin(self) -> (OutgoingBody, OutputStream) {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(self.0, Ok(response));
        let stream = body.write().unwrap();
        (body, stream)
    }

    pub fn send(self, text: &str) {
        let (body, stream) = self.begin();
        stream.blocking_write_and_flush(text.as_bytes()).unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }

    pub fn half(self) {
        let (_body, stream) = self.begin();
        stream.blocking_write_and_flush(b"half of an ").unwrap();
        panic!("in the middle of an answer");
    }

    pub fn half_and_loop(self) {
        let (_body, stream) = self.begin();
        stream.blocking_write_and_flush(b"half of an ").unwrap();
        crate::endless_loop();
    }

    /// Half of an answer, after all of another one that nobody gets.
    pub fn half_of_two(self) {
        let (_body, stream) = self.begin();
        stream.blocking_write_and_flush(b"half of an ").unwrap();
        let other = OutgoingResponse::new(Fields::new());
        OutgoingBody::finish(other.body().unwrap(), None).unwrap();
        panic!("in the middle of an answer");
    }

    pub fn error(self, text: &str) {
        let error = ErrorCode::InternalError(Some(text.to_owned()));
        ResponseOutparam::set(self.0, Err(error));
    }

    /// Until the client has gone away.
    pub fn endless(self) {
        let (_body, stream) = self.begin();
        let piece = [b'x'; 4096];
        let ended = loop {
            if let Err(error) = stream.blocking_write_and_flush(&piece) {
                break error;
            }
        };
        assert!(matches!(ended, StreamError::Closed), "{ended:?}");
    }
}

pub fn wait() -> String {
    eprintln!("begun");
    monotonic_clock::subscribe_duration(u64::MAX / 4).block();
    "waited".to_owned()
}

pub fn pause() {
    monotonic_clock::subscribe_duration(20_000_000).block();
}

/// Bodies of answers, each without its answer.
pub fn bodies() -> String {
    let mut bodies = Vec::new();
    loop {
        bodies.push(OutgoingResponse::new(Fields::new()).body().unwrap());
    }
}

pub fn outgoing_requests() -> String {
    let mut requests = Vec::new();
    loop {
        requests.push(OutgoingRequest::new(Fields::new()));
    }
}

pub fn headers() -> String {
    let (name, value) = ("name".to_owned(), vec![b'x'; 60_000]);
    let mut all = Vec::new();
    loop {
        let headers = Fields::new();
        if let Err(error) = headers.append(&name, &value) {
            return format!("after {}: {error}", all.len());
        }
        all.push(headers);
    }
}

pub fn send() -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_authority(Some("127.0.0.1:1")).unwrap();
    request.set_path_with_query(Some("/")).unwrap();
    let response = match outgoing_handler::handle(request, None) {
        Ok(response) => response,
        Err(error) => return error.to_string(),
    };
    response.subscribe().block();
    match response.get() {
        Some(Ok(Err(error))) => error.to_string(),
        other => format!("{other:?}"),
    }
}
