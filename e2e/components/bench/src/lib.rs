//! Times batches from within a component: `GET /run?path=adapter&op=get&keys=100&size=1024`.
//!
//! | parameter | values | if absent |
//! | --- | --- | --- |
//! | `path` | `adapter`: `wasi:keyvalue/eventual-batch`; `draft`: `wasi:keyvalue/batch` | `adapter` |
//! | `op` | `get`, of what a `set` with the same parameters stored; `open`: the same with the opening of the bucket; `set`; `nothing`: a get-many of no keys | `nothing` |
//! | `keys`, `size` | how many values a batch has, and of how many bytes | 1, 64 |
//! | `kind` | `text`: ASCII; `random`: bytes that are not UTF-8 | `text` |
//! | `link` | the name of a link | `default` |
//! | `rounds` | how many batches, one after the other | 1 |
//!
//! The answer is `{"ns": [12345, …]}`, one time for each batch, or `{"error": "…"}`. But for
//! `open`, the bucket is opened before the time that counts. What came is looked at after it.

mod paths;

use std::time::Instant;

#[cfg(feature = "released")]
use paths::Adapter;
use paths::{Bytes, Draft, Path};
use serde_json::{Value as Json, json};
use wasmcloud_component::http::{self, IncomingRequest, Response};

struct Service;

http::export!(Service);

impl http::Server for Service {
    fn handle(request: IncomingRequest) -> http::Result<Response<impl http::OutgoingBody>> {
        let answer = Run::of(request.uri())
            .and_then(|run| run.nanoseconds())
            .map_or_else(|error| json!({ "error": error }), |ns| json!({ "ns": ns }));
        Ok(Response::new(answer.to_string()))
    }
}

/// What the address asks for.
struct Run {
    draft: bool,
    link: String,
    op: String,
    keys: usize,
    size: usize,
    kind: String,
    rounds: usize,
}

impl Run {
    fn of(uri: &http::Uri) -> Result<Self, String> {
        let mut run = Self {
            draft: false,
            link: "default".to_owned(),
            op: "nothing".to_owned(),
            keys: 1,
            size: 64,
            kind: "text".to_owned(),
            rounds: 1,
        };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let number = || value.parse().map_err(|error| format!("{name}: {error}"));
            match &*name {
                "path" => {
                    run.draft = match &*value {
                        "adapter" => false,
                        "draft" => true,
                        _ => return Err(format!("there is no path {value:?}")),
                    };
                }
                "link" => run.link = value.into_owned(),
                "op" => run.op = value.into_owned(),
                "keys" => run.keys = number()?,
                "size" => run.size = number()?,
                "kind" => run.kind = value.into_owned(),
                "rounds" => run.rounds = number()?,
                _ => return Err(format!("there is no parameter {name:?}")),
            }
        }
        Ok(run)
    }

    fn nanoseconds(&self) -> Result<Json, String> {
        if self.draft {
            return self.on::<Draft>();
        }
        #[cfg(feature = "released")]
        return self.on::<Adapter>();
        #[cfg(not(feature = "released"))]
        Err("this build has no path but draft".to_owned())
    }

    fn on<P: Path>(&self) -> Result<Json, String> {
        let path = P::open(&self.link)?;
        let values: Vec<_> = (0..self.keys)
            .map(|n| (self.key(n), self.value(n)))
            .collect();
        let keys: Vec<_> = values.iter().map(|(key, _)| key.clone()).collect();
        let checked = |(ns, found): (u64, Vec<Option<Bytes>>)| {
            let stored = values.iter().map(|(_, value)| Some(value));
            if stored.eq(found.iter().map(Option::as_ref)) {
                Ok(ns)
            } else {
                Err("other values than a set with these parameters stores".to_owned())
            }
        };
        let timed = |op: &str| match op {
            "get" => checked(time(|| path.get_many(&keys))?),
            "open" => checked(time(|| P::open(&self.link)?.get_many(&keys))?),
            "set" => Ok(time(|| path.set_many(&values))?.0),
            "nothing" => Ok(time(|| path.get_many(&[]))?.0),
            op => Err(format!("there is no op {op:?}")),
        };
        (0..self.rounds).map(|_| timed(&self.op)).collect()
    }

    fn key(&self, n: usize) -> String {
        format!("{}-{}-{n:04}", self.kind, self.size)
    }

    /// Always the same for the same `n`.
    fn value(&self, n: usize) -> Bytes {
        let mut state = n as u64 + 1;
        let mut next = || {
            // xorshift64: Marsaglia's 13, 7, 17.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        if self.kind == "text" {
            return (0..self.size).map(|_| b'a' + next() % 26).collect();
        }
        // However short it is, 0xff keeps it from being UTF-8.
        let random = (1..self.size).map(|_| next());
        random.chain([0xff]).collect()
    }
}

fn time<T>(call: impl FnOnce() -> Result<T, String>) -> Result<(u64, T), String> {
    let start = Instant::now();
    let done = call()?;
    let elapsed = start.elapsed();
    Ok((u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), done))
}
