//! The command line of the benches.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use testkit::NEWEST;

use crate::components::Beside;

/// Over so many calls it is watched whether the memory grows.
const CALLS: u64 = 1_000_000;

/// The same, and the seconds of a row, of a quick run.
const QUICK_CALLS: u64 = 60_000;
const QUICK_SECONDS: f64 = 0.25;

/// Measures the provider beside what NATS can do, and beside another provider.
///
/// The tables are Markdown on standard output. What is being done, and how long it will still take,
/// is on standard error.
#[derive(Parser)]
#[command(name = "bench")]
pub(crate) struct BenchArgs {
    /// The provider's binary.
    #[arg(long, value_name = "BINARY")]
    pub(crate) provider: Option<PathBuf>,
    /// Another provider's binary, which answers wrpc:keyvalue/batch@0.2.0-draft.
    #[arg(long, value_name = "BINARY")]
    pub(crate) peer: Option<PathBuf>,
    /// What the other provider is called in the file of figures.
    #[arg(long, value_name = "NAME", requires = "peer")]
    peer_name: Option<String>,
    /// The version of nats-server.
    #[arg(long, default_value = NEWEST)]
    pub(crate) nats: String,
    /// Seconds for each row.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// A quarter of a second for each row, to see that all works: the figures say little.
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// Where the figures are kept, as JSON. If nothing else is said, in bench/latest.json below the
    /// target directory; what was there moves to bench/previous.json.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The figures of an earlier run: prints at the end what has changed beyond noise.
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    /// Draws charts of the figures, as SVG, into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) charts: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
}

#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Only batches, beside the limit and the peer.
    Batches {
        /// Only the rows whose names have this in them, for instance "set-many 1000".
        #[arg(default_value = "")]
        rows: String,
    },
    /// Only the listing of keys.
    Keys,
    /// Only many callers, and a small batch beside a large one.
    Callers,
    /// Only the memory, and the time to start.
    Process,
    /// Only batches over a network, and reads over several connections.
    Network,
    /// Only single keys, and pages of keys.
    Single,
    /// Only reads from memory.
    Replica,
    /// Only changes that are told.
    Watch,
    /// Only the memory over many calls.
    Calls { calls: Option<u64> },
    /// Only batches inside a component, on `eventual-batch serve` and beside it on other hosts.
    Components {
        /// The program `eventual-batch`.
        #[arg(long, value_name = "BINARY")]
        program: PathBuf,
        /// The component `bench`, as it comes out of its build.
        #[arg(long, value_name = "FILE")]
        component: PathBuf,
        /// Another host that serves this component: NAME=HOST:PORT/adapter, or …/draft for one that
        /// answers only `wasi:keyvalue/batch@0.2.0-draft`.
        #[arg(long, value_name = "HOST")]
        beside: Vec<Beside>,
        /// The nats-server that those hosts use, as `nats://…`. If absent, one is started.
        #[arg(long, value_name = "URL")]
        server: Option<String>,
    },
    /// Only the parts that talk to nobody. Criterion keeps and compares their figures by itself.
    Pure,
    /// Measures nothing, and prints what has changed beyond noise between two runs.
    Compare {
        /// The figures of the earlier run.
        old: PathBuf,
        /// The figures of the later run. If nothing is said, of the latest.
        new: Option<PathBuf>,
    },
    /// Measures nothing, and draws charts of a run, as SVG.
    Charts {
        /// Where the charts go.
        dir: PathBuf,
        /// The figures of the run. If nothing is said, of the latest.
        figures: Option<PathBuf>,
    },
    #[command(hide = true)]
    Floor { id: String, nats: String },
    #[command(hide = true)]
    Load {
        lattice: String,
        provider: String,
        link: String,
        operation: String,
        nats: String,
    },
}

impl BenchArgs {
    /// What the other provider is called: its file's name, if nothing else was said.
    pub(crate) fn peer_name(&self) -> Option<String> {
        let file = self.peer.as_ref().and_then(|peer| peer.file_stem());
        let file = file.map(|name| name.to_string_lossy().into_owned());
        self.peer_name.clone().or(file)
    }

    /// How long a row is measured.
    pub(crate) fn time(&self) -> Result<Duration> {
        let seconds = if self.quick {
            QUICK_SECONDS
        } else {
            self.seconds
        };
        Ok(Duration::try_from_secs_f64(seconds)?)
    }

    /// Over how many calls the memory is watched.
    pub(crate) fn calls(&self) -> u64 {
        match self.command {
            Some(BenchCommand::Calls { calls: Some(calls) }) => calls,
            _ if self.quick => QUICK_CALLS,
            _ => CALLS,
        }
    }

    /// The file that the figures are written to.
    pub(crate) fn json(&self) -> PathBuf {
        self.json.clone().unwrap_or_else(latest_json)
    }

    /// The file that the default one moves to before another run is written.
    pub(crate) fn previous_json(&self) -> Option<PathBuf> {
        let default = self.json.is_none();
        default.then(|| latest_json().with_file_name("previous.json"))
    }
}

/// The figures of the latest run that was not written to another file.
pub(crate) fn latest_json() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    PathBuf::from(target).join("bench").join("latest.json")
}
