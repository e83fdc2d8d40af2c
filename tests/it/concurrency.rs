//! Many calls at once: each gets its share, and a bad caller delays no other caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use futures::future::try_join_all;
use testkit::async_nats::jetstream::{kv, stream::Config as StreamConfig};
use testkit::async_nats::{Client, HeaderMap};
use testkit::{EventualBatchError, LatticeCaller, Stack};
use tokio::time::{sleep, timeout};

const COMPONENT: &str = "component";
const LONG_TIMEOUT: Duration = Duration::from_secs(120);
const FUNCTIONS: [&str; 18] = [
    "eventual-batch@0.1.0.open-bucket",
    "eventual-batch@0.1.0.get-many",
    "eventual-batch@0.1.0.keys",
    "eventual-batch@0.1.0.set-many",
    "eventual-batch@0.1.0.delete-many",
    "eventual-batch@0.1.0.get",
    "eventual-batch@0.1.0.exists",
    "atomic@0.1.0.increment",
    "atomic@0.1.0.compare-and-swap",
    "batch@0.2.0-draft.get-many",
    "batch@0.2.0-draft.set-many",
    "batch@0.2.0-draft.delete-many",
    "store@0.2.0-draft.get",
    "store@0.2.0-draft.set",
    "store@0.2.0-draft.delete",
    "store@0.2.0-draft.exists",
    "store@0.2.0-draft.list-keys",
    "atomics@0.2.0-draft.increment",
];

on_oldest_and_newest! {
    a_small_batch_does_not_wait_for_the_end_of_a_large_one,
    one_operation_at_a_time_is_enough_for_all_of_them,
    many_callers_at_once_get_right_answers,
}
on_version!(
    any_server,
    testkit::NEWEST,
    [
        a_link_has_as_many_writes_in_flight_as_it_allows,
        a_busy_client_loses_no_answer,
        a_caller_that_does_not_end_its_parameters_is_answered,
        a_caller_that_never_sends_its_parameters_does_not_delay_others,
        garbage_parameters_do_not_affect_other_calls
    ]
);

/// The order in which the calls end shows it, on a link with a low concurrency limit.
async fn a_small_batch_does_not_wait_for_the_end_of_a_large_one(version: &str) -> Result<()> {
    const LARGE: usize = 50_000;
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = linked(&stack, "8").await?;
    let keys: Arc<Vec<_>> = Arc::new((0..LARGE).map(|key| format!("large.{key}")).collect());
    let small: Vec<_> = (0..5).map(|key| format!("small.{key}")).collect();

    let (setter, all) = (caller.clone(), Arc::clone(&keys));
    let large = BackgroundCall::start(async move {
        let pairs: Vec<_> = all.iter().map(|key| (key, "x")).collect();
        Ok(setter.set_many("default", &pairs).await??)
    });
    until_more_messages_come_in(&stack, 500).await?;
    let pairs: Vec<_> = small.iter().map(|key| (key, key)).collect();
    for _ in 0..3 {
        caller.set_many("default", &pairs).await??;
        let values = caller.get_many("default", &small).await??;
        ensure!(values.iter().flatten().count() == small.len());
        large.assert_under_way("set-many");
    }
    large.end().await?;

    let getter = caller.clone();
    let large = BackgroundCall::start(async move {
        let values = getter.get_many("default", &keys).await??;
        ensure!(values.iter().all(|value| value.as_deref() == Some(b"x")));
        Ok(())
    });
    until_more_messages_come_in(&stack, 500).await?;
    for _ in 0..3 {
        let values = caller.get_many("default", &small).await??;
        ensure!(values.iter().flatten().count() == small.len());
        caller.set_many("default", &pairs).await??;
        large.assert_under_way("get-many");
    }
    large.end().await
}

/// The stream acknowledges nothing, so the number of stored messages is the number in flight.
async fn a_link_has_as_many_writes_in_flight_as_it_allows(version: &str) -> Result<()> {
    const DEFAULT: u64 = 1024;
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    let keys: Vec<_> = (0..3000).map(|key| format!("key.{key}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, "x")).collect();
    let links = [
        ("few", Some("3"), 3),
        ("unset", None, DEFAULT),
        ("more", Some("512"), 512),
    ];
    try_join_all(links.map(async |(name, allowed, expected)| {
        let stream = jetstream.create_stream(StreamConfig {
            name: format!("KV_{name}"),
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: 1,
            no_ack: true,
            ..StreamConfig::default()
        });
        let stream = stream.await?;
        let mut link = stack.link(COMPONENT, name).name(name);
        if let Some(allowed) = allowed {
            link = link.config("max_concurrency", allowed);
        }
        stack
            .provider
            .put_link(&link.config("timeout", "3s"))
            .await?;
        let caller = stack
            .caller(COMPONENT)
            .with_link(name)
            .with_timeout(LONG_TIMEOUT);
        let answer = caller.set_many("default", &pairs).await?;
        ensure!(
            matches!(answer, Err(EventualBatchError::Unavailable(_))),
            "{name}: {answer:?}"
        );
        let stored = stream.get_info().await?.state.messages;
        ensure!(
            stored == expected,
            "{name}: {stored} in flight, not {expected}"
        );
        Ok(())
    }))
    .await?;
    Ok(())
}

async fn one_operation_at_a_time_is_enough_for_all_of_them(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = linked(&stack, "1").await?;
    timeout(LONG_TIMEOUT, mixed_rounds(&caller, "alone", 2, 40)).await??;
    let together = (0..6).map(|number| {
        let caller = caller.clone();
        async move { mixed_rounds(&caller, &format!("together{number}"), 2, 40).await }
    });
    timeout(LONG_TIMEOUT, try_join_all(together)).await??;
    Ok(())
}

async fn many_callers_at_once_get_right_answers(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = linked(&stack, "256").await?;
    let callers = (0..64).map(|number| {
        let caller = caller.clone();
        tokio::spawn(async move { mixed_rounds(&caller, &format!("c{number}"), 3, 12).await })
    });
    for caller in callers.collect::<Vec<_>>() {
        timeout(LONG_TIMEOUT, caller)
            .await
            .context("a caller hangs")???;
    }
    let keys = caller.keys("default").await??;
    assert_eq!(keys, Vec::<String>::new(), "each caller deleted its keys");
    Ok(())
}

async fn a_caller_that_never_sends_its_parameters_does_not_delay_others(
    version: &str,
) -> Result<()> {
    const STUCK: usize = 30;
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = linked(&stack, "256").await?;
    let lattice = stack.lattice().client().await?;

    let inbox = lattice.new_inbox();
    let mut accepted = lattice.subscribe(format!("{inbox}.>")).await?;
    for (place, function) in FUNCTIONS.into_iter().enumerate() {
        for number in 0..STUCK {
            // A text of 7 bytes, of which 3 are sent; or nothing at all.
            let begun: &[u8] = if number % 2 == 0 { b"\x07def" } else { b"" };
            let reply = format!("{inbox}.{place}.{number}");
            invoke(&stack, &lattice, function, Some(reply), begun).await?;
        }
    }
    let handshakes = timeout(LONG_TIMEOUT, async {
        for _ in 0..STUCK * FUNCTIONS.len() {
            let handshake = accepted.next().await.context("no connection")?;
            ensure!(handshake.status.is_none(), "not accepted: {handshake:?}");
        }
        Ok(())
    });
    handshakes.await.context("calls wait to be accepted")??;

    let outcome = timeout(LONG_TIMEOUT, mixed_rounds(&caller, "others", 1, 5)).await;
    outcome.context("calls wait for callers that send nothing")??;
    Ok(())
}

async fn garbage_parameters_do_not_affect_other_calls(version: &str) -> Result<()> {
    let mut stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = linked(&stack, "256").await?;
    let lattice = stack.lattice().client().await?;

    let inbox = lattice.new_inbox();
    let mut answers = lattice.subscribe(format!("{inbox}.>")).await?;
    let garbage: [&[u8]; 8] = [
        b"",
        &[0xff; 200],
        // A text that is not UTF-8.
        b"\x02\xff\xfe",
        // Lengths of 4 GiB and of 2 PiB.
        b"\xff\xff\xff\xff\x0f",
        b"\x07default\xff\xff\xff\xff\xff\xff\xff\x03",
        // A key of 4 GiB, and a value or a number after one of three bytes.
        b"\x07default\xff\xff\xff\xff\x0f",
        b"\x07default\x03key\xff\xff\xff\xff\x0f",
        // More bytes than the parameters have.
        b"\x07default\x00trailing",
    ];
    for (place, function) in FUNCTIONS.into_iter().enumerate() {
        for (number, bytes) in garbage.into_iter().enumerate() {
            let reply = format!("{inbox}.{place}.{number}");
            invoke(&stack, &lattice, function, Some(reply), bytes).await?;
            // No reply subject.
            invoke(&stack, &lattice, function, None, bytes).await?;
        }
    }
    let first = timeout(LONG_TIMEOUT, answers.next()).await?;
    ensure!(
        first.is_some_and(|first| first.status.is_none()),
        "nobody takes the calls"
    );

    for round in 0..3 {
        let prefix = format!("others{round}");
        let outcome = mixed_rounds(&caller, &prefix, 1, 5);
        timeout(LONG_TIMEOUT, outcome)
            .await
            .context("calls are held up")??;
    }
    assert!(stack.provider.is_running()?);
    assert!(stack.provider.health().await?.healthy);
    let logs = stack.provider.logs();
    assert!(!logs.contains("panicked"), "{logs}");
    Ok(())
}

/// With many calls under way, the client often receives a call's message before it has registered
/// the call.
async fn a_busy_client_loses_no_answer(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = linked(&stack, "256").await?;
    caller.set_many("default", &[("key", "value")]).await??;
    try_join_all((0..64).map(|_| async {
        for _ in 0..200 {
            let values = caller.get_many("default", &["key"]).await??;
            ensure!(values == [Some(b"value".to_vec())], "{values:?}");
        }
        Ok(())
    }))
    .await?;
    Ok(())
}

/// Other clients than a host's may leave out the empty message at the end.
async fn a_caller_that_does_not_end_its_parameters_is_answered(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = linked(&stack, "256").await?;
    caller.set_many("default", &[("key", "value")]).await??;
    let lattice = stack.nats.client().await?;
    // The strings `default` and `key`, each after its length, the second in a list of one.
    let params = b"\x07default\x01\x03key";
    // Ok, a list of one, some, the case `utf8`, and the string.
    let expected = b"\x00\x01\x01\x00\x05value".as_slice();
    for _ in 0..3 {
        let inbox = lattice.new_inbox();
        let mut results = lattice.subscribe(format!("{inbox}.results")).await?;
        invoke(&stack, &lattice, FUNCTIONS[1], Some(inbox), params).await?;
        for part in [expected, b""] {
            let message = timeout(LONG_TIMEOUT, results.next())
                .await?
                .context("cut off")?;
            ensure!(message.payload == part, "{:?}", message.payload);
        }
    }
    Ok(())
}

async fn linked(stack: &Stack, max_concurrency: &str) -> Result<LatticeCaller> {
    let link = stack
        .link(COMPONENT, "orders")
        .config("max_concurrency", max_concurrency)
        .config("timeout", "100s");
    stack.provider.put_link(&link).await?;
    Ok(stack.caller(COMPONENT).with_timeout(LONG_TIMEOUT))
}

/// Publishes the first message of an invocation as a host does, and none after it.
async fn invoke(
    stack: &Stack,
    lattice: &Client,
    function: &str,
    reply: Option<String>,
    begun: &[u8],
) -> Result<()> {
    let subject = format!(
        "{}.{}.wrpc.0.0.1.wrpc:keyvalue/{function}",
        stack.provider.lattice(),
        stack.provider.key()
    );
    let mut headers = HeaderMap::new();
    headers.insert("source-id", COMPONENT);
    let begun = begun.to_vec().into();
    match reply {
        Some(reply) => {
            lattice
                .publish_with_reply_and_headers(subject, reply, headers, begun)
                .await?;
        }
        None => {
            lattice
                .publish_with_headers(subject, headers, begun)
                .await?;
        }
    }
    Ok(lattice.flush().await?)
}

/// Rounds of all operations on keys that nobody else uses, each answer checked.
async fn mixed_rounds(
    caller: &LatticeCaller,
    prefix: &str,
    rounds: usize,
    keys: usize,
) -> Result<()> {
    let keys: Vec<_> = (0..keys).map(|key| format!("{prefix}.{key}")).collect();
    let (gone, kept) = keys.split_at(keys.len() / 3);
    let prefix = format!("{prefix}.");
    for round in 0..rounds {
        let value = |key: &String| format!("{key} in round {round}");
        caller.open_bucket("default").await??;
        let pairs: Vec<_> = keys.iter().map(|key| (key, value(key))).collect();
        if round % 2 == 0 {
            caller.set_many("default", &pairs).await??;
        } else {
            caller.batch().set_many("default", &pairs).await??;
        }
        caller.delete_many("default", gone).await??;

        let asked: Vec<_> = keys.iter().rev().chain(&keys[..1]).collect();
        let found = caller.get_many("default", &asked).await??;
        let expected: Vec<_> = asked
            .iter()
            .map(|key| (!gone.contains(key)).then(|| value(key).into_bytes()))
            .collect();
        ensure!(found == expected, "{prefix} round {round}: {found:?}");
        let one = caller.batch().get_many("default", &kept[..1]).await??;
        ensure!(one == [Some((kept[0].clone(), value(&kept[0]).into()))]);

        let mut own = caller.keys("default").await??;
        own.retain(|key| key.starts_with(&prefix));
        own.sort_unstable();
        let mut expected = kept.to_vec();
        expected.sort_unstable();
        ensure!(own == expected, "{prefix} round {round}: {own:?}");
        caller.batch().delete_many("default", kept).await??;
        let found = caller.get_many("default", &keys).await??;
        ensure!(found.iter().all(Option::is_none), "{prefix} round {round}");
    }
    Ok(())
}

/// Waits until the server has received this many more messages.
async fn until_more_messages_come_in(stack: &Stack, messages: u64) -> Result<()> {
    let count = async || {
        let server = stack.nats.monitor("/varz").await?;
        server["in_msgs"].as_u64().context("no number")
    };
    let target = count().await? + messages;
    let waited = timeout(LONG_TIMEOUT, async {
        while count().await? < target {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    });
    waited.await.context("the large batch does not get going")?
}

/// A call in the background, and whether it has ended.
struct BackgroundCall {
    call: tokio::task::JoinHandle<Result<()>>,
    ended: Arc<AtomicBool>,
}

impl BackgroundCall {
    fn start(call: impl Future<Output = Result<()>> + Send + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ended);
        let call = tokio::spawn(async move {
            let outcome = call.await;
            ends.store(true, Ordering::SeqCst);
            outcome
        });
        Self { call, ended }
    }

    fn assert_under_way(&self, operation: &str) {
        let ended = self.ended.load(Ordering::SeqCst);
        assert!(!ended, "the large {operation} ended before the small batch");
    }

    async fn end(self) -> Result<()> {
        timeout(LONG_TIMEOUT, self.call)
            .await
            .context("it hangs")??
    }
}
