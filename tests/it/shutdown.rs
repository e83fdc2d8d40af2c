//! How the provider's process starts without what it needs, and how it ends with calls in flight.

use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::machine::shared;
use crate::support::waiting;
use crate::support::wire::{FUNCTIONS, WireCaller, length, text};
use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, NEWEST, Provider, Stack};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use wasmcloud_provider_sdk::HostData;
use wasmcloud_provider_sdk::core::secrets::SecretValue;

const LONG_TIMEOUT: Duration = Duration::from_secs(90);
const KEYS: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_are_answered_when_the_host_shuts_the_provider_down() -> Result<()> {
    let _machine = shared().await;
    let mut stack = filled().await?;
    let finished = Arc::new(AtomicUsize::new(0));
    let calls = start_calls(&stack, &finished);
    wait_until_written(&stack).await?;
    let before = finished.load(Ordering::Relaxed);
    let status = stack.provider.shutdown().await?;
    assert_exit_and_answers(&stack, status, before, calls).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_are_answered_at_sigterm() -> Result<()> {
    let _machine = shared().await;
    let mut stack = filled().await?;
    let finished = Arc::new(AtomicUsize::new(0));
    let calls = start_calls(&stack, &finished);
    wait_until_written(&stack).await?;
    let before = finished.load(Ordering::Relaxed);
    terminate(&stack.provider)?;
    let status = stack.provider.wait(LONG_TIMEOUT).await?;
    assert_exit_and_answers(&stack, status, before, calls).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_sent_just_before_shutdown_are_answered_or_not_begun() -> Result<()> {
    let _machine = shared().await;
    let mut stack = filled().await?;
    let calls = start_calls(&stack, &Arc::default());
    let status = stack.provider.shutdown().await?;
    assert_exit_and_answers(&stack, status, 0, calls).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_provider_ends_at_once() -> Result<()> {
    let _machine = shared().await;
    let mut stack = filled().await?;
    terminate(&stack.provider)?;
    let status = stack.provider.wait(LONG_TIMEOUT).await?;
    assert!(status.success(), "{status}");
    waiting::eventually("the end of its connections", async || {
        let buckets = stack.nats.connections_named(env!("CARGO_PKG_NAME"));
        let calls = stack
            .nats
            .connections_named(crate::support::CALLS_CONNECTION);
        let left = buckets.await? + calls.await?;
        Ok((left == 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_usable_host_data_it_ends_with_a_message_and_no_secret() -> Result<()> {
    const SECRET: &str = "correct-horse-battery-staple";
    let _machine = shared().await;
    let host_data = serde_json::to_string(&HostData {
        secrets: [(
            "password".to_owned(),
            SecretValue::String(SECRET.to_owned()),
        )]
        .into(),
        ..HostData::default()
    })?;
    let cut_off = &host_data[..host_data.len() - 1];
    let without_links = host_data.replace("link_definitions", "links");
    let inputs = [
        String::new(),
        "\n".to_owned(),
        "not base64 at all\n".to_owned(),
        // JSON, but not in base64.
        format!("{host_data}\n"),
        format!("{}\n", STANDARD.encode("not JSON")),
        format!("{}\n", STANDARD.encode(cut_off)),
        format!("{}\n", STANDARD.encode(without_links)),
    ];
    for input in inputs {
        let (status, said) = run_with(&input).await?;
        assert!(!status.success(), "it ends well with {input:?}");
        assert!(status.code().is_some(), "{input:?}: {status}");
        assert!(said.contains("host data"), "{input:?}: {said}");
        assert!(!said.contains(SECRET), "{said}");
        let encoded = input.trim_end();
        assert!(
            encoded.len() < 20 || !said.contains(&encoded[..20]),
            "{said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lattice_it_ends_with_a_message() -> Result<()> {
    let _machine = shared().await;
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let host_data = HostData {
        lattice_rpc_url: format!("nats://127.0.0.1:{port}"),
        provider_key: "VPROVIDER".to_owned(),
        lattice_rpc_prefix: "default".to_owned(),
        ..HostData::default()
    };
    let line = STANDARD.encode(serde_json::to_vec(&host_data)?);
    let (status, said) = run_with(&format!("{line}\n")).await?;
    assert!(!status.success());
    assert!(status.code().is_some(), "{status}");
    assert!(said.contains("failed to start the provider"), "{said}");
    assert!(
        said.to_lowercase().contains("nats") || said.contains("lattice"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    Ok(())
}

/// Once with nothing to do, and once with a call under way whose answer can never be sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_lattice_it_ends_within_its_drain_time() -> Result<()> {
    const DRAIN: Duration = Duration::from_secs(30);
    const MACHINE: Duration = Duration::from_secs(5);
    for busy in [false, true] {
        let stack = crate::support::stack(NEWEST).separate_lattice();
        let mut stack = stack.start().await?;
        stack.create_bucket("orders", kv::Config::default()).await?;
        stack.provider.put_link(&link(&stack)).await?;
        let caller = stack.caller("component").with_timeout(LONG_TIMEOUT);
        caller.set_many("default", &[("key", "value")]).await??;
        if busy {
            stack.nats.pause().await?;
            let mut wire = WireCaller::new(&stack, "component").await?;
            let params = [text("default"), length(1), text("key")].concat();
            let (instance, function) = FUNCTIONS[0];
            let opened = wire.open(instance, function, params).await?;
            wire.accepted(&opened).await?.context("not accepted")?;
        }
        stack.lattice_mut().kill();
        terminate(&stack.provider)?;
        let status = stack.provider.wait(DRAIN + MACHINE).await?;
        let logs = stack.provider.logs();
        assert!(status.success(), "{status}\n{logs}");
        assert!(logs.contains("may not have been sent"), "{logs}");
    }
    Ok(())
}

/// Whoever looks for what went wrong looks for such lines first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_logs_no_error() -> Result<()> {
    for by_host in [true, false] {
        let mut stack = filled().await?;
        let status = if by_host {
            stack.provider.shutdown().await?
        } else {
            terminate(&stack.provider)?;
            stack.provider.wait(LONG_TIMEOUT).await?
        };
        assert!(status.success(), "{status}");
        let logs = stack.provider.logs();
        let unclean = |line: &&str| line.contains("ERROR") || line.contains("WARN");
        let unclean: Vec<_> = logs.lines().filter(unclean).collect();
        assert!(unclean.is_empty(), "by the host: {by_host}: {unclean:#?}");
    }
    Ok(())
}

/// A bucket with `KEYS` keys, and a link with time enough for whatever is in flight.
async fn filled() -> Result<Stack> {
    let stack = crate::support::stack(NEWEST).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    stack.provider.put_link(&link(&stack)).await?;
    let keys: Vec<_> = (0..KEYS).map(|key| format!("key-{key}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, key)).collect();
    let caller = stack.caller("component").with_timeout(LONG_TIMEOUT);
    caller.set_many("default", &pairs).await??;
    Ok(stack)
}

fn link(stack: &Stack) -> testkit::LinkDefinition {
    stack.link("component", "orders").config("timeout", "60s")
}

/// A call in flight, and the prefix of the keys that it sets.
struct StartedCall {
    prefix: Option<String>,
    call: JoinHandle<Result<()>>,
}

/// Sends 50 calls of `KEYS` keys, one half gets and one half sets.
fn start_calls(stack: &Stack, finished: &Arc<AtomicUsize>) -> Vec<StartedCall> {
    let caller = stack.caller("component").with_timeout(LONG_TIMEOUT);
    (0..50)
        .map(|number| {
            let sets = number % 2 == 1;
            let call = call(caller.clone(), number, sets, Arc::clone(finished));
            StartedCall {
                prefix: sets.then(|| format!("set-{number}.")),
                call: tokio::spawn(call),
            }
        })
        .collect()
}

async fn call(
    caller: LatticeCaller,
    number: usize,
    sets: bool,
    finished: Arc<AtomicUsize>,
) -> Result<()> {
    if sets {
        let keys: Vec<_> = (0..KEYS).map(|key| format!("set-{number}.{key}")).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key, "x")).collect();
        caller.set_many("default", &pairs).await??;
    } else {
        let keys: Vec<_> = (0..KEYS).map(|key| format!("key-{key}")).collect();
        let values = caller.get_many("default", &keys).await??;
        for (key, value) in keys.iter().zip(values) {
            ensure!(value.as_deref() == Some(key.as_bytes()), "{key}: {value:?}");
        }
    }
    finished.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Waits until the first of the calls has begun to write.
async fn wait_until_written(stack: &Stack) -> Result<()> {
    let jetstream = stack.nats.jetstream().await?;
    timeout(LONG_TIMEOUT, async {
        loop {
            let stream = jetstream.get_stream("KV_orders").await?;
            if stream.cached_info().state.messages > KEYS as u64 {
                return Ok(());
            }
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .context("the calls write nothing")?
}

/// Each call is answered `ok`, or the lattice says at once that no provider takes it. In that case
/// none of its keys is in the bucket.
async fn assert_exit_and_answers(
    stack: &Stack,
    status: ExitStatus,
    finished_before: usize,
    calls: Vec<StartedCall>,
) -> Result<()> {
    assert!(status.success(), "{status}\n{}", stack.provider.logs());
    let started = calls.len();
    let mut answered = 0;
    let mut not_taken = Vec::new();
    let mut lost = 0;
    // The provider has ended, so all answers are on their way.
    let deadline = tokio::time::Instant::now() + LONG_TIMEOUT;
    for StartedCall { prefix, call } in calls {
        let abort = call.abort_handle();
        match tokio::time::timeout_at(deadline, call).await {
            Ok(outcome) => match outcome? {
                Ok(()) => answered += 1,
                Err(error) if is_an_answer(&error) => bail!("answered with an error: {error:#}"),
                Err(_) => not_taken.push(prefix),
            },
            Err(_) => {
                abort.abort();
                lost += 1;
            }
        }
    }
    assert_eq!(
        lost, 0,
        "calls that were delivered to the provider and not answered"
    );
    if finished_before > 0 || stack.provider.logs().contains("under_way") {
        assert!(answered > finished_before, "nothing was in flight");
    }
    let kept = stack
        .nats
        .jetstream()
        .await?
        .get_stream("KV_orders")
        .await?;
    let in_bucket = kept.cached_info().state.messages;
    let sets = (started / 2 - not_taken.iter().flatten().count()) as u64;
    assert_eq!(
        in_bucket,
        (sets + 1) * KEYS as u64,
        "{} calls were not taken, and nothing of them is written",
        not_taken.len()
    );
    eprintln!("{answered} of {started} answered, {finished_before} before the end was asked for");
    Ok(())
}

fn is_an_answer(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<testkit::EventualBatchError>()
        .is_some()
}

fn terminate(provider: &Provider) -> Result<()> {
    let status = Command::new("kill")
        .args(["-TERM", &provider.pid().to_string()])
        .status()?;
    ensure!(status.success(), "cannot send SIGTERM");
    Ok(())
}

/// Runs the provider's binary with this on its standard input; returns how it ended and what it
/// said.
async fn run_with(input: &str) -> Result<(ExitStatus, String)> {
    let mut child = tokio::process::Command::new(crate::support::PROVIDER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    // It may end before it has read all of it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = timeout(Duration::from_secs(30), child.wait_with_output())
        .await
        .context("it goes on without what it needs")??;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status, String::from_utf8_lossy(&said).into_owned()))
}
