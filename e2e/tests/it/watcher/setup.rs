//! What the tests of this subject share.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{HostLink, TestLattice, eventually};
use futures::StreamExt as _;
use testkit::async_nats::jetstream::kv;
use tokio::time::timeout;

/// The watched bucket.
pub(super) const ORDERS: &str = "orders";
/// The component's own bucket.
pub(super) const NOTES: &str = "notes";

/// Where the component is called: the lattice, the component and the interface.
const FUNCTIONS: &str = "e2e.told.wrpc.0.0.1.wrpc:keyvalue/watcher@0.2.0-draft";

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a host may take to send what it sends after an answer.
const AFTERWARDS: Duration = Duration::from_secs(1);

pub(super) struct ToldLattice {
    pub(super) lattice: TestLattice,
    pub(super) orders: kv::Store,
    pub(super) notes: kv::Store,
}

impl ToldLattice {
    /// A lattice with the two buckets.
    pub(super) async fn start() -> Result<Self> {
        testkit::init_tracing();
        let lattice = TestLattice::start().await?;
        let config = |bucket: &str| kv::Config {
            bucket: bucket.to_owned(),
            history: 64,
            ..kv::Config::default()
        };
        let nats = lattice.nats();
        let orders = nats.create_bucket(ORDERS, config(ORDERS)).await?;
        let notes = nats.create_bucket(NOTES, config(NOTES)).await?;
        Ok(Self {
            lattice,
            orders,
            notes,
        })
    }

    /// The same with the component that notes what it is told, and which can write already.
    pub(super) async fn start_told(max_instances: u32) -> Result<Self> {
        let told = Self::start().await?;
        let lattice = &told.lattice;
        let wasm = e2e::component("told")?;
        lattice.scale("told", &wasm, max_instances).await?;
        let link = HostLink::to(NOTES).of_drafts(&["store"]);
        lattice.put_link("told", &link).await?;
        eventually(|| async {
            call(lattice, "on-set", "ready", "yes").await?;
            let ready = told.notes.get("told.ready").await?;
            ensure!(ready.is_some(), "the component cannot write");
            Ok(())
        })
        .await?;
        Ok(told)
    }
}

/// Waits until the key has this value; `None`: no value.
pub(super) async fn becomes(bucket: &kv::Store, key: &str, value: Option<&str>) -> Result<()> {
    eventually(|| async {
        let found = bucket.get(key).await?;
        let is = found.as_deref() == value.map(str::as_bytes);
        ensure!(is, "{key} is {found:?} and not {value:?}");
        Ok(())
    })
    .await
}

/// Waits until the watched bucket has so many consumers.
pub(super) async fn consumers(lattice: &TestLattice, count: usize) -> Result<()> {
    let jetstream = lattice.nats().jetstream().await?;
    eventually(|| async {
        let stream = jetstream.get_stream(format!("KV_{ORDERS}")).await?;
        let found = stream.get_info().await?.state.consumer_count;
        ensure!(found == count, "{found} consumers and not {count}");
        Ok(())
    })
    .await
}

/// All values that the key has had, oldest first.
pub(super) async fn history(bucket: &kv::Store, key: &str) -> Result<Vec<String>> {
    let mut history = bucket.history(key).await?;
    let mut values = Vec::new();
    while let Some(entry) = history.next().await {
        values.push(String::from_utf8(entry?.value.to_vec())?);
    }
    Ok(values)
}

/// Calls the component as the provider does. Returns all that comes back: where to, and the bytes.
pub(super) async fn call(
    lattice: &TestLattice,
    function: &str,
    key: &str,
    value: &str,
) -> Result<Vec<(String, Vec<u8>)>> {
    let nats = lattice_nats::connect(lattice.nats().url()).await?;
    let inbox = nats.new_inbox();
    let mut accepted = nats.subscribe(inbox.clone()).await?;
    let mut answers = nats.subscribe(format!("{inbox}.>")).await?;
    let mut params = Vec::new();
    for text in ["0", key, value] {
        params.push(u8::try_from(text.len())?);
        params.extend(text.as_bytes());
    }
    let mut headers = lattice_nats::HeaderMap::new();
    headers.insert("source-id", e2e::PROVIDER_ID);
    headers.insert("target-id", "told");
    headers.insert("link-name", "default");
    let subject = format!("{FUNCTIONS}.{function}");
    nats.publish_with_reply_and_headers(subject, inbox.clone(), headers, params.into())
        .await?;
    let accepted = timeout(LIMIT, accepted.next()).await?;
    let accepted = accepted.context("the connection is lost")?;
    let params = accepted.reply.context("nobody accepts the call")?;
    nats.publish(format!("{params}.params"), "".into()).await?;
    let mut came = Vec::new();
    let mut wait = LIMIT;
    while let Ok(Some(answer)) = timeout(wait, answers.next()).await {
        let place = answer.subject.strip_prefix(inbox.as_str());
        came.push((
            place.unwrap_or_default().to_owned(),
            answer.payload.to_vec(),
        ));
        wait = AFTERWARDS;
    }
    ensure!(!came.is_empty(), "the call is not answered");
    Ok(came)
}

/// Hears of each call of the component.
pub(super) struct CallSpy {
    calls: lattice_nats::Subscriber,
    by_key: HashMap<String, usize>,
}

impl CallSpy {
    pub(super) async fn start(lattice: &TestLattice) -> Result<Self> {
        let nats = lattice_nats::connect(lattice.nats().url()).await?;
        let calls = nats.subscribe(format!("{FUNCTIONS}.>")).await?;
        nats.flush().await?;
        Ok(Self {
            calls,
            by_key: HashMap::new(),
        })
    }

    /// Waits until there were so many calls for the key, since the beginning.
    pub(super) async fn calls(&mut self, key: &str, count: usize) -> Result<()> {
        while self.by_key.get(key).is_none_or(|calls| *calls < count) {
            let call = timeout(LIMIT, self.calls.next()).await;
            let call = call.with_context(|| format!("fewer than {count} calls for {key}"))?;
            let call = call.context("the connection is lost")?;
            // The bucket, which is one character, and the key, each after its length.
            let key = call.payload.get(2..).and_then(|key| {
                let (length, key) = key.split_first()?;
                key.get(..usize::from(*length))
            });
            let key = key.context("no call of a watcher")?;
            let calls = self.by_key.entry(String::from_utf8(key.to_vec())?);
            *calls.or_default() += 1;
        }
        Ok(())
    }
}
