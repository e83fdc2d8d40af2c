//! The provider's process: started by a wasmCloud host, which feeds it `HostData` on stdin.

use std::num::NonZero;
use std::os::unix::process::CommandExt as _;
use std::pin::pin;
use std::process::Command;
use std::{env, thread};

use anyhow::Context as _;
use eventual_batch_nats_provider::provider::{EventualBatchProvider, host_connection_end};
use futures::FutureExt as _;
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use wasmcloud_provider_sdk::{initialize_observability, load_host_data, run_provider};

const NAME: &str = env!("CARGO_PKG_NAME");

/// What two dependencies would log beside their own business: the SDK, at debug, a link's
/// configuration with all that is in it; the NATS client, at info, subjects and in them keys.
const QUIET: &str = "wasmcloud_provider_sdk=info,async_nats=warn";

/// The variable of OpenTelemetry for what describes this process in all that it exports.
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Tells the instances of a provider apart, whose metrics would else be taken for those of one.
const INSTANCE_ID: &str = "service.instance.id";

/// Tells which version an instance is of, while a new one takes the place of an old one.
const VERSION: &str = "service.version";
const THIS_VERSION: &str = concat!("service.version=", env!("CARGO_PKG_VERSION"));

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The SDK reads log directives and resource attributes from environment variables only. A process
/// cannot safely change its own environment. So this one replaces itself (`exec`) by the same
/// program with these variables set. The process id stays, and stdin is still unread.
fn main() -> anyhow::Result<()> {
    const RUST_LOG: &str = "RUST_LOG";
    let given = env::var(RUST_LOG).unwrap_or_default();
    if given.ends_with(QUIET) {
        let runtime = runtime()?;
        let outcome = runtime.block_on(run());
        // Does not wait for what may still block a thread, such as the look-up of a name.
        runtime.shutdown_background();
        return outcome;
    }
    let directives = join(&given, QUIET);
    let mut resource = env::var(RESOURCE_ATTRIBUTES).unwrap_or_default();
    if !resource.contains(INSTANCE_ID) {
        resource = join(&resource, &format!("{INSTANCE_ID}={}", nuid::next()));
    }
    if !resource.contains(VERSION) {
        resource = join(&resource, THIS_VERSION);
    }
    let error = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(RUST_LOG, directives)
        .env(RESOURCE_ATTRIBUTES, resource)
        .exec();
    Err(error).context("cannot start anew with the log's directives")
}

/// Two lists, of which the first may be empty.
fn join(given: &str, more: &str) -> String {
    if given.is_empty() {
        more.to_owned()
    } else {
        format!("{given},{more}")
    }
}

/// With a thread for every two cores, unless the environment says how many: calls wait for servers,
/// and to wake another thread for a message takes longer than to handle it.
fn runtime() -> std::io::Result<Runtime> {
    let mut runtime = Builder::new_multi_thread();
    if env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        runtime.worker_threads(cores.div_ceil(2));
    }
    runtime.enable_all().build()
}

async fn run() -> anyhow::Result<()> {
    // The SDK's own text of this error holds all of the host data, secrets included.
    let Ok(host) = load_host_data() else {
        anyhow::bail!(
            "no usable host data on stdin: expected one line of base64 with the JSON that a \
             wasmCloud host sends to a provider that it starts"
        );
    };
    initialize_observability!(NAME, None::<std::path::PathBuf>);
    // Two TLS back ends may be compiled in by way of dependencies; rustls then wants to be told.
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();

    let provider = EventualBatchProvider::new(host)?;
    let commands = run_provider(provider.clone(), NAME)
        .await
        .context("failed to start the provider")?;
    let mut host_connection_end = pin!(host_connection_end().await?);
    provider.serve(host).await?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let host_is_there = tokio::select! {
        biased;
        () = &mut host_connection_end => false,
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
        // The SDK also stops when its connection has ended.
        () = provider.handle_commands(commands) => host_connection_end.now_or_never().is_none(),
    };
    if !host_is_there {
        tracing::error!(
            "the connection over which the host speaks to this provider has ended for good; the \
             provider stops, and the host starts it again"
        );
    }
    provider.stop().await;
    anyhow::ensure!(host_is_there, "the connection to the host has ended");
    Ok(())
}
