//! `eventual-batch serve`: a component behind HTTP, with buckets on NATS, whose changes it is told of.

mod answers;
mod args;
mod component;
mod engine;
mod error_code;
mod fair_share;
mod guest;
mod http;
mod http_hooks;
mod idle_clock;
mod instances;
mod limits;
mod linker;
mod links;
mod links_file;
mod log;
mod memory;
mod open_files;
mod output;
mod runner;
mod shed_requests;
mod shutdown;
mod telemetry;
mod watch;
mod watch_handler;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use eventual_batch_links::Links;
use eventual_batch_wasmtime::{KeyValueHost, KeyValueLimits};
use opentelemetry::metrics::Meter;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub(crate) use args::ServeArgs;
use instances::InstanceSettings;
use limits::RequestLimits;
use runner::Runner;
use shed_requests::ShedRequests;
use shutdown::StopSignals;
use telemetry::Telemetry;

/// The exit code of a program that did not begin to serve.
const NOT_STARTED: u8 = 2;

/// How often a thread of the runtime looks for messages and timers while instances keep it busy: after
/// this many turns of at most a slice each. The runtime's own number would make others wait for half
/// a second.
const TURNS_BETWEEN_EVENTS: u32 = 8;

/// Serves until a signal. Everything that can be found out before is found out before.
pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    // Two TLS back ends may be compiled in by way of dependencies; rustls then wants to be told.
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
    let runtime = Builder::new_multi_thread()
        .event_interval(TURNS_BETWEEN_EVENTS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return not_started(&error.to_string()),
    };
    let outcome = runtime.block_on(async {
        let telemetry = Telemetry::start()?;
        log::start(&telemetry);
        let server = Server::start(args, telemetry.meter()).await;
        // The last export reads what the links have counted.
        let links = server.as_ref().ok().map(|server| Arc::clone(&server.links));
        let outcome = match server {
            Ok(server) => Ok(server.serve().await),
            Err(problem) => Err(problem),
        };
        telemetry.stop().await;
        drop(links);
        outcome
    });
    // Does not wait for what may still block a thread, such as the look-up of a name.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(problem) => not_started(&problem),
    }
}

fn not_started(problem: &str) -> ExitCode {
    eprintln!("error: {problem}");
    ExitCode::from(NOT_STARTED)
}

/// A server that is ready to serve.
struct Server {
    listener: TcpListener,
    runner: Arc<Runner>,
    links: Arc<Links>,
    key_value: KeyValueHost,
    signals: StopSignals,
    request_timeout: Duration,
    /// Connections of clients at once.
    max_connections: usize,
}

impl Server {
    /// An error is a sentence.
    async fn start(args: &ServeArgs, meter: Option<Meter>) -> Result<Self, String> {
        let limits = RequestLimits {
            requests: args.max_requests,
            timeout: args.request_timeout,
            memory: args.memory,
        };
        let path = &args.component;
        let caller = path.file_stem().unwrap_or(path.as_os_str());
        let caller = caller.to_string_lossy().into_owned();
        let links = links::read(args, &caller)?;
        let told = watch::in_flight(&links.watches);
        let loaded = tokio::task::block_in_place(|| component::load(path, limits, told));
        let component = loaded.map_err(|error| format!("{}: {error}", path.display()))?;
        let max_connections = open_files::connections(links.count());
        let open = links.open(&caller, meter.as_ref()).await?;
        let (links, batches) = (Arc::clone(&open.links), open.batches);
        let defaults = KeyValueLimits::default();
        let key_value = KeyValueHost::with_limits(
            Arc::clone(&links),
            KeyValueLimits {
                max_resources: batches.key_value_resources(),
                max_bytes: limits.memory,
                max_total_bytes: defaults.max_total_bytes.max(limits.memory),
                ..defaults
            },
        );
        let signals = StopSignals::new().map_err(|error| format!("no signals: {error}"))?;
        engine::start_clock(&component.engine).map_err(|error| format!("no clock: {error}"))?;
        let listener = TcpListener::bind(&args.http)
            .await
            .map_err(|error| format!("--http {}: cannot listen there: {error}", args.http))?;
        let instances = InstanceSettings::new(
            component.engine,
            key_value.clone(),
            caller,
            limits.memory,
            batches,
        );
        open.start_watches(component.watcher, &instances).await?;
        let runner = Runner::new(
            component.proxy,
            instances,
            limits,
            ShedRequests::new(&links),
        );
        Ok(Self {
            listener,
            runner: Arc::new(runner),
            links,
            key_value,
            signals,
            request_timeout: limits.timeout,
            max_connections,
        })
    }

    /// Serves until the first signal, then ends what is under way.
    async fn serve(mut self) -> ExitCode {
        announce(&self.listener);
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let accepting = http::serve(
            self.listener,
            Arc::clone(&self.runner),
            (&connections, self.max_connections),
            &stop,
            self.request_timeout,
        );
        tokio::select! {
            () = accepting => {}
            signal = self.signals.next() => {
                info!(signal, "stopping: requests under way are answered, and no new ones taken");
            }
        }
        stop.cancel();
        let drain = async {
            connections.close();
            let instances = self.runner.instances();
            instances.close();
            let ended = async { tokio::join!(connections.wait(), instances.wait()) };
            // Each watch ends within its `watch_timeout`.
            let watches = self.links.stop_watches();
            let (ended, ()) = tokio::join!(timeout(self.request_timeout, ended), watches);
            if ended.is_err() {
                warn!("some requests were not over in time, and are cut off");
            }
            self.key_value.drain().await;
        };
        tokio::select! {
            () = drain => {
                info!("stopped");
                ExitCode::SUCCESS
            }
            signal = self.signals.next() => {
                warn!(signal, "stopping at once");
                ExitCode::FAILURE
            }
        }
    }
}

/// Tells whoever started the program that it answers now, and where.
fn announce(listener: &TcpListener) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut stdout = io::stdout().lock();
    // Whoever closed the other end does not want to know.
    let _ = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
}
