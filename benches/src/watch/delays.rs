//! How soon after a put somebody is told of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use async_nats::jetstream::kv;
use eventual_batch_engine::{Connection, WatchFrom, Watcher};
use futures::StreamExt as _;
use testkit::{Reply, ToldComponent};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{Counting, IN_FLIGHT, SIZE, consumer, link, settings};
use crate::figure::Figure;
use crate::progress::PlannedRow;
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, TIMEOUT};

/// Puts of one side in a row, and how often each side has its turn.
const PUTS: usize = 100;
const TURNS: usize = 10;

/// Something that is told of one change after the other.
struct Listener {
    name: &'static str,
    bucket: kv::Store,
    came: mpsc::UnboundedReceiver<Instant>,
    delays: Vec<Duration>,
}

impl Listener {
    /// Puts, and waits until that is told, again and again.
    async fn turn(&mut self) -> Result<()> {
        for number in 0..PUTS {
            let put = self
                .bucket
                .put(format!("key.{number}"), vec![b'x'; SIZE].into());
            put.await?;
            let acknowledged = Instant::now();
            let came = self.came.recv().await.context("nobody is told any more")?;
            // It may have come before the acknowledgement was read.
            self.delays
                .push(came.saturating_duration_since(acknowledged));
        }
        Ok(())
    }
}

const TABLE: &str = "how soon a change is told";

/// The one row.
pub(super) fn plan() -> PlannedRow {
    PlannedRow {
        table: TABLE,
        time: Duration::from_secs(10),
    }
}

/// Prints the table.
pub(super) async fn print(
    setup: &BenchSetup,
    connection: &Arc<Connection>,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    recorder.begin_row("put to call");
    let client = setup.nats.client().await?;
    let jetstream = setup.nats.jetstream().await?;
    let mut listeners = Vec::new();
    let mut senders = Vec::new();
    for name in [
        "a plain consumer",
        "the engine",
        "a component, by the provider",
    ] {
        let bucket = format!("delay-{}", listeners.len());
        let config = kv::Config {
            bucket: bucket.clone(),
            ..kv::Config::default()
        };
        let (sender, came) = mpsc::unbounded_channel();
        senders.push(sender);
        listeners.push(Listener {
            name,
            bucket: jetstream.create_key_value(config).await?,
            came,
            delays: Vec::new(),
        });
    }
    let [plain, engine, told] = <[_; 3]>::try_from(senders).map_err(|_| anyhow!("three"))?;

    let (_consumer, mut messages) = consumer(&client, "delay-0", WatchFrom::New).await?;
    let plain = tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            let _ = plain.send(Instant::now());
            drop(message.ack().await);
        }
    });
    let handler = Counting {
        count: watch::Sender::new(0),
        came: Some(engine),
    };
    let settings = settings("delay-1", "delay".to_owned(), WatchFrom::New, IN_FLIGHT[0])?;
    let watcher = Watcher::start(Arc::clone(connection), settings, Arc::new(handler));
    let lattice = setup.nats.url();
    let component = ToldComponent::serve(&lattice, setup.ours.lattice(), "delay", move |_| {
        let _ = told.send(Instant::now());
        Reply::NOW
    });
    let component = component.await?;
    let link = link(setup, "delay", "delay-2", "new");
    setup.ours.put_link(&link).await?;
    for listener in &mut listeners {
        begin(listener).await?;
    }

    for turn in 0..TURNS {
        // Each follows each of the others equally often, in every two turns.
        for place in 0..listeners.len() {
            let place = if turn % 2 == 1 {
                listeners.len() - 1 - place
            } else {
                place
            };
            listeners[place].turn().await?;
        }
    }
    println!("\n| from the put's acknowledgement, ms | p50 | p99 |");
    println!("| --- | ---: | ---: |");
    let mut row = FigureRow::new("put to call");
    for Listener { name, delays, .. } in &listeners {
        let [half, most] = [50, 99]
            .map(|percent| Figure::percentile(&format!("{name}, p{percent}"), delays, percent));
        println!("| to {name} | {:.3} | {:.3} |", half.value, most.value);
        row = row.figures([half, most]);
    }
    recorder.keep(TABLE, row);
    setup.ours.delete_link(&link).await?;
    watcher.delete().await;
    plain.abort();
    drop(component);
    Ok(())
}

/// Puts until the listener is told of it: its consumer may not be there yet.
async fn begin(listener: &mut Listener) -> Result<()> {
    let begun = Instant::now();
    loop {
        listener.bucket.put("begin", "".into()).await?;
        let wait = timeout(Duration::from_millis(200), listener.came.recv());
        if wait.await.is_ok() {
            break;
        }
        ensure!(begun.elapsed() < TIMEOUT, "{} is not told", listener.name);
    }
    // What was put before may still be told.
    sleep(Duration::from_secs(1)).await;
    while listener.came.try_recv().is_ok() {}
    Ok(())
}
