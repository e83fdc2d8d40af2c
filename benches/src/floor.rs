//! A provider that answers at once, from memory: what a call costs without a bucket behind it.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::select_all;
use lattice_nats::HeaderMap;
use tokio::time::timeout;
use wrpc_transport_nats::Client;

use crate::setup::LATTICE;
use bindings::exports::wrpc::keyvalue0_2_0_draft::batch;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic)]
    wit_bindgen_wrpc::generate!({
        inline: "
            package benches:floor;
            world floor {
                export wrpc:keyvalue/batch@0.2.0-draft;
            }
        ",
        world: "benches:floor/floor",
        path: "../wit",
        generate_all,
    });
}

/// After how long without a call the functions are served anew. The transport crate's server reads the
/// parameters of one call after the other: one of which it never gets the rest keeps it from all later
/// ones. Less than callers wait.
const QUIET: Duration = Duration::from_millis(300);

/// Answers get-many with a value of as many bytes as the bucket's name says for each key.
#[derive(Clone)]
struct Handler;

type Answer<T> = Result<Result<T, bindings::wrpc::keyvalue0_2_0_draft::store::Error>>;

impl batch::Handler<Option<HeaderMap>> for Handler {
    async fn get_many(
        &self,
        _: Option<HeaderMap>,
        bucket: String,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Bytes)>>> {
        let value = Bytes::from(vec![b'x'; bucket.parse()?]);
        Ok(Ok(keys
            .into_iter()
            .map(|key| Some((key, value.clone())))
            .collect()))
    }

    async fn set_many(
        &self,
        _: Option<HeaderMap>,
        _: String,
        _: Vec<(String, Bytes)>,
    ) -> Answer<()> {
        Ok(Ok(()))
    }

    async fn delete_many(&self, _: Option<HeaderMap>, _: String, _: Vec<String>) -> Answer<()> {
        Ok(Ok(()))
    }
}

/// Answers calls to this id until the process is killed.
pub(crate) async fn serve(nats: &str, id: &str) -> Result<()> {
    let prefix = format!("{LATTICE}.{id}");
    let nats = lattice_nats::connect(nats).await?;
    let wrpc = Client::new(nats, prefix.clone(), Some(prefix.into())).await?;
    let mut functions = bindings::serve(&wrpc, Handler).await?;
    // Whoever started this waits for a line.
    println!("serving");
    loop {
        let mut calls = select_all(functions.into_iter().map(|(_, _, calls)| calls));
        while let Ok(Some(call)) = timeout(QUIET, calls.next()).await {
            // One that was not understood is the caller's to repeat.
            if let Ok(call) = call {
                tokio::spawn(call);
            }
        }
        drop(calls);
        functions = bindings::serve(&wrpc, Handler).await?;
    }
}
