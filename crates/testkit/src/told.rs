//! A component that is told of changes, as its host answers for it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use lattice_nats::{ConnectOptions, HeaderMap};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wrpc_transport::ServeExt as _;
use wrpc_transport_nats::Client;

const INTERFACE: &str = "wrpc:keyvalue/watcher@0.2.0-draft";

/// How long a wait for calls may take. An instance waits long if the one before could not note that
/// all is settled: for the redelivery of what that one had (50 s with a `watch_timeout` of 20 s), and
/// then about as long again.
const LIMIT: Duration = Duration::from_secs(250);

/// One call of the component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The key.
    pub key: String,
    /// The value; `None`: the key has been deleted.
    pub value: Option<Bytes>,
    /// The bucket, as the host hands it on.
    pub bucket: String,
    /// The header `source-id`.
    pub source: Option<String>,
    /// The header `link-name`.
    pub link: Option<String>,
    /// When the call came.
    pub at: Instant,
    /// When it had returned; `None`: it has not.
    pub returned: Option<Instant>,
}

impl Told {
    /// The key and the value, as text.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.value {
            Some(value) => format!("{}={}", self.key, String::from_utf8_lossy(value)),
            None => format!("{} deleted", self.key),
        }
    }
}

/// What the component does about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It returns after this time.
    After(Duration),
    /// It never returns.
    Never,
}

impl Reply {
    /// It returns at once.
    pub const NOW: Self = Self::After(Duration::ZERO);
}

type Behaviour = Arc<Mutex<dyn FnMut(&Told) -> Reply + Send>>;

/// A component that exports `wasi:keyvalue/watcher`. Dropping it is as if its host had ended.
pub struct ToldComponent {
    calls: watch::Receiver<Vec<Told>>,
    _tasks: JoinSet<()>,
}

impl fmt::Debug for ToldComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToldComponent").finish_non_exhaustive()
    }
}

impl ToldComponent {
    /// Serves a component that does this about each call.
    ///
    /// # Errors
    /// If the lattice is not there.
    pub async fn serve(
        lattice_url: &str,
        lattice: &str,
        component: &str,
        behaviour: impl FnMut(&Told) -> Reply + Send + 'static,
    ) -> Result<Self> {
        let nats = ConnectOptions::new()
            .name("testkit-component")
            .connect(lattice_url)
            .await
            .with_context(|| format!("cannot connect to {lattice_url}"))?;
        let prefix: Arc<str> = format!("{lattice}.{component}").into();
        let wrpc = Client::new(nats.clone(), Arc::clone(&prefix), Some(prefix)).await?;
        let behaviour: Behaviour = Arc::new(Mutex::new(behaviour));
        let (sender, calls) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let paths = || Arc::<[Box<[Option<usize>]>]>::from([]);
        let on_set = wrpc.serve_values::<(String, String, Bytes), ()>(INTERFACE, "on-set", paths());
        let on_set = on_set.await?.map(|call| {
            let (headers, (bucket, key, value), _, respond) = call?;
            anyhow::Ok((told(headers.as_ref(), bucket, key, Some(value)), respond))
        });
        let on_delete = wrpc.serve_values::<(String, String), ()>(INTERFACE, "on-delete", paths());
        let on_delete = on_delete.await?.map(|call| {
            let (headers, (bucket, key), _, respond) = call?;
            anyhow::Ok((told(headers.as_ref(), bucket, key, None), respond))
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(on_set, Arc::clone(&behaviour), Arc::clone(&sender)));
        tasks.spawn(answer(on_delete, behaviour, sender));
        nats.flush().await?;
        Ok(Self {
            calls,
            _tasks: tasks,
        })
    }

    /// All calls so far, in the order in which they came.
    #[must_use]
    pub fn calls(&self) -> Vec<Told> {
        self.calls.borrow().clone()
    }

    /// The texts of all calls so far.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.calls().iter().map(Told::text).collect()
    }

    /// Waits until the calls are as they should be.
    ///
    /// # Errors
    /// If that takes more than 250 s.
    pub async fn wait_for(&self, what: &str, is: impl Fn(&[Told]) -> bool) -> Result<Vec<Told>> {
        let mut calls = self.calls.clone();
        let found = timeout(LIMIT, calls.wait_for(|calls| is(calls))).await;
        match found {
            Ok(found) => Ok(found.context("the component has ended")?.clone()),
            Err(_) => anyhow::bail!("waited {LIMIT:?} in vain for {what}: {:?}", self.texts()),
        }
    }

    /// Waits until there was a call with this text, and returns the texts of all calls until then.
    ///
    /// # Errors
    /// If that takes more than 250 s.
    pub async fn wait_for_text(&self, text: &str) -> Result<Vec<String>> {
        let is = |calls: &[Told]| calls.iter().any(|told| told.text() == text);
        let calls = self.wait_for(text, is).await?;
        Ok(calls.iter().map(Told::text).collect())
    }
}

fn told(headers: Option<&HeaderMap>, bucket: String, key: String, value: Option<Bytes>) -> Told {
    let header = |name: &str| Some(headers?.get(name)?.to_string());
    Told {
        key,
        value,
        bucket,
        source: header("source-id"),
        link: header("link-name"),
        at: Instant::now(),
        returned: None,
    }
}

async fn answer<R, F>(
    calls: impl Stream<Item = Result<(Told, R)>>,
    behaviour: Behaviour,
    sender: Arc<watch::Sender<Vec<Told>>>,
) where
    R: FnOnce(()) -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut calls = std::pin::pin!(calls);
    let mut tasks = JoinSet::new();
    // To drop one would answer the call.
    let mut unanswered = Vec::new();
    while let Some(call) = calls.next().await {
        let Ok((told, respond)) = call else {
            continue;
        };
        let reply = (behaviour.lock().unwrap_or_else(PoisonError::into_inner))(&told);
        let mut place = 0;
        sender.send_modify(|calls| {
            place = calls.len();
            calls.push(told);
        });
        match reply {
            Reply::Never => unanswered.push(respond),
            Reply::After(time) => {
                let sender = Arc::clone(&sender);
                tasks.spawn(async move {
                    sleep(time).await;
                    sender.send_modify(|calls| calls[place].returned = Some(Instant::now()));
                    drop(respond(()).await);
                });
            }
        }
    }
}
