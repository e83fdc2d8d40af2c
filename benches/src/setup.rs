//! The servers and the providers that are compared.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, Level, LinkDefinition, NatsServer, Provider, ProviderBuilder};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The component that all links are of.
pub(crate) const COMPONENT: &str = "bench";

pub(crate) const LATTICE: &str = "default";
const FLOOR_ID: &str = "floor";

/// How long a call may take, the largest too.
pub(crate) const LINK_TIMEOUT: &str = "60s";
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// After how long a call that is answered at once counts as lost.
const FLOOR_TIMEOUT: Duration = Duration::from_secs(1);

/// After how long a peer's call counts as lost.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// A nats-server with our provider on it, and whatever it is compared with.
pub(crate) struct BenchSetup {
    pub(crate) ours: Provider,
    pub(crate) peer: Option<Provider>,
    binary: PathBuf,
    floor: LatticeCaller,
    _floor: Child,
    pub(crate) nats: NatsServer,
}

impl BenchSetup {
    pub(crate) async fn set(version: &str, ours: &Path, peer: Option<&PathBuf>) -> Result<Self> {
        let nats = NatsServer::run(version).await?;
        let provider = start(&nats, ours).await?;
        let peer = match peer {
            Some(peer) => Some(start(&nats, peer).await?),
            None => None,
        };
        let floor = child(&nats, &["floor", FLOOR_ID]).await?;
        let caller = LatticeCaller::connect(&nats.url(), LATTICE, FLOOR_ID).await?;
        Ok(Self {
            ours: provider,
            peer,
            binary: ours.to_owned(),
            floor: caller.with_source(COMPONENT).with_timeout(FLOOR_TIMEOUT),
            _floor: floor,
            nats,
        })
    }

    /// Creates a bucket, and links to it by its own name.
    pub(crate) async fn bucket(&self, name: &str) -> Result<()> {
        let config = kv::Config {
            bucket: name.to_owned(),
            ..kv::Config::default()
        };
        self.nats
            .jetstream()
            .await?
            .create_key_value(config)
            .await?;
        self.link(name, name).await
    }

    /// Puts a link by this name.
    pub(crate) async fn link(&self, name: &str, bucket: &str) -> Result<()> {
        let link = self.link_to(bucket).name(name);
        self.ours
            .put_link(&link.clone().config("timeout", LINK_TIMEOUT))
            .await?;
        if let Some(peer) = &self.peer {
            peer.put_link(&link).await?;
        }
        Ok(())
    }

    /// Puts a link by this name for our provider, with one more setting.
    pub(crate) async fn link_with(
        &self,
        name: &str,
        bucket: &str,
        (setting, value): (&str, &str),
    ) -> Result<()> {
        let link = self.link_to(bucket).name(name);
        let link = link.config("timeout", LINK_TIMEOUT);
        self.ours.put_link(&link.config(setting, value)).await
    }

    /// Starts another process of our provider, with its default link to this bucket.
    pub(crate) async fn another(&self, bucket: &str) -> Result<Provider> {
        let link = self.link_to(bucket).config("timeout", LINK_TIMEOUT);
        builder(&self.nats, &self.binary).link(link).start().await
    }

    pub(crate) fn link_to(&self, bucket: &str) -> LinkDefinition {
        LinkDefinition::new(COMPONENT)
            .wasi_batch()
            .config("cluster_uri", self.nats.url())
            .config("bucket", bucket)
    }

    /// Starts this program anew, with these arguments and where the lattice is. It ends when the
    /// child is dropped.
    pub(crate) async fn child(&self, args: &[&str]) -> Result<Child> {
        child(&self.nats, args).await
    }

    pub(crate) fn floor(&self) -> LatticeCaller {
        self.floor.clone()
    }
}

/// Returns when the child has said that it has begun.
async fn child(nats: &NatsServer, args: &[&str]) -> Result<Child> {
    let mut child = Command::new(env::current_exe()?)
        .args(args)
        .arg(nats.url())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let said = child.stdout.take().context("no output")?;
    let said = BufReader::new(said).read_line(&mut String::new()).await?;
    ensure!(said > 0, "`{}` has ended before it began", args.join(" "));
    Ok(child)
}

/// A caller over one link of a provider.
pub(crate) fn caller(provider: &Provider, link: &str) -> LatticeCaller {
    provider
        .caller(COMPONENT)
        .with_link(link)
        .with_timeout(TIMEOUT)
}

/// The same of a peer, whose calls are to be made with [`until_heard`].
pub(crate) fn peer_caller(peer: &Provider, link: &str) -> LatticeCaller {
    caller(peer, link).with_timeout(PEER_TIMEOUT)
}

/// Calls again if the call fails: the transport crate's server and client lose a call now and then
/// when they are busy, and other providers than ours use that server.
pub(crate) async fn until_heard<F>(call: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    for _ in 0..3 {
        if call().await.is_ok() {
            return Ok(());
        }
    }
    call().await
}

fn builder(nats: &NatsServer, binary: &Path) -> ProviderBuilder {
    Provider::builder(nats.url())
        .binary(binary)
        .log_level(Level::Warn)
}

async fn start(nats: &NatsServer, binary: &Path) -> Result<Provider> {
    builder(nats, binary)
        .start()
        .await
        .with_context(|| format!("{} does not start", binary.display()))
}
