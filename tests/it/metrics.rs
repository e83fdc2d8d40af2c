//! What the provider exports to a collector: metrics of calls, and one span for each.

#![allow(clippy::unwrap_used)]
#![allow(clippy::float_cmp, reason = "whole numbers")]

mod engine;
mod stop;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use eventual_batch_links::{METRICS, MetricKind};
use futures::future::try_join_all;
use testkit::async_nats::jetstream::kv;
use testkit::{
    ExportedMetric, ExportedPoint, ExportedSpan, LatticeCaller, Level, NatsServer, OtlpCollector,
    Stack, StackBuilder, free_port,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::hostile::LONG_TIMEOUT;
use crate::support::waiting::{eventually, logged, open};
use crate::support::wire::{FUNCTIONS, WireCaller, length, text};

on_version!(
    newest_only,
    testkit::NEWEST,
    [
        calls_are_measured_by_operation_bucket_and_error,
        calls_under_way_are_counted_until_they_end,
        calls_that_are_cut_off_are_counted,
        no_key_no_value_and_no_secret_is_exported,
        a_call_is_a_span_of_its_callers_trace,
        a_collector_that_is_down_costs_calls_nothing,
        a_collector_that_never_answers_costs_calls_nothing,
    ]
);

const DURATION: &str = "db.client.operation.duration";
const OPERATION: &str = "db.operation.name";
const BUCKET: &str = "db.collection.name";

async fn exporting(version: &str, collector: &OtlpCollector) -> Result<Stack> {
    exporting_to(version, collector.url().to_owned()).await
}

async fn exporting_to(version: &str, collector: String) -> Result<Stack> {
    set_up(crate::support::stack(version), collector).await
}

async fn set_up(stack: StackBuilder, collector: String) -> Result<Stack> {
    let stack = stack
        .provider(|provider, _| provider.collector(collector).log_level(Level::Info))
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    Ok(stack)
}

/// The metric, as soon as a point with these attributes has this many values, or this value.
async fn point(
    collector: &OtlpCollector,
    name: &str,
    attributes: &[(&str, &str)],
    is_wanted: impl Fn(&ExportedPoint) -> bool,
) -> Result<ExportedPoint> {
    eventually(&format!("{name} of {attributes:?}"), async || {
        let metric = collector.metric(name)?;
        let point = metric.as_ref().and_then(|metric| metric.point(attributes));
        Ok(point.filter(|point| is_wanted(point)).cloned())
    })
    .await
}

/// The span of this name that is the wanted one.
async fn span(
    collector: &OtlpCollector,
    name: &str,
    is_wanted: impl Fn(&ExportedSpan) -> bool,
) -> Result<ExportedSpan> {
    eventually(&format!("a span {name}"), async || {
        let mut spans = collector.spans()?.into_iter();
        Ok(spans.find(|span| span.name == name && is_wanted(span)))
    })
    .await
}

async fn calls_are_measured_by_operation_bucket_and_error(version: &str) -> Result<()> {
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    let shop = stack.linked("shop", "orders").await?;
    open(&shop).await?;
    shop.set_many("default", &[("a", "1"), ("b", "2")])
        .await??;
    for _ in 0..3 {
        shop.get_many("", &["a", "b", "c"]).await??;
    }
    shop.store().get("orders", "a").await??;
    shop.keys("default").await??;
    shop.store().list_keys("default", None).await??;
    ensure!(shop.get_many("default", &["a", "*"]).await?.is_err());
    ensure!(shop.get_many("made-up-name", &["a"]).await?.is_err());
    let stranger = stack.caller("stranger");
    let refused = stranger.set_many("default", &[("a", "1")]).await?;
    ensure!(refused.is_err());

    let of = |operation, error| {
        let mut attributes = vec![("db.system.name", "nats"), (OPERATION, operation)];
        match error {
            None => attributes.push((BUCKET, "orders")),
            Some("invalid-argument") => {
                attributes.extend([(BUCKET, "orders"), ("error.type", "invalid-argument")]);
            }
            Some(error) => attributes.push(("error.type", error)),
        }
        attributes
    };
    for (operation, error, count) in [
        ("set-many", None, 1),
        ("get-many", None, 3),
        ("get", None, 1),
        ("keys", None, 1),
        ("get-many", Some("invalid-argument"), 1),
        ("get-many", Some("no-such-bucket"), 1),
        ("set-many", Some("access-denied"), 1),
    ] {
        let attributes = of(operation, error);
        let exactly = |metric: &ExportedMetric| {
            let mut points = metric.points.iter();
            points
                .find(|point| {
                    let has = |(name, value): &(&str, &str)| point.attribute(name) == Some(value);
                    point.attributes.len() == attributes.len() && attributes.iter().all(has)
                })
                .filter(|point| point.count >= count)
                .cloned()
        };
        let what = format!("{operation}, {error:?}");
        let point = eventually(&what, async || {
            Ok(collector.metric(DURATION)?.as_ref().and_then(exactly))
        })
        .await?;
        assert_eq!(point.count, count, "{operation}, {error:?}");
        assert!(point.value > 0.0 && point.value < 60.0, "{point:?}");
    }
    // Nine keys in three calls, and two in the one that was refused.
    let keys = [(OPERATION, "get-many"), (BUCKET, "orders")];
    let keys = point(&collector, "eventual_batch.keys", &keys, |_| true).await?;
    assert_eq!((keys.count, keys.value), (4, 11.0));
    // Two keys each.
    for listing in ["keys", "list-keys"] {
        let listed = [(OPERATION, listing), (BUCKET, "orders")];
        let listed = point(&collector, "eventual_batch.keys", &listed, |_| true).await?;
        assert_eq!((listed.count, listed.value), (1, 2.0), "{listing}");
    }
    assert!(!collector.has_received(b"made-up-name")?);

    let metrics = collector.metrics()?;
    for metric in &metrics {
        let defined = METRICS.iter().find(|defined| defined.name == metric.name);
        let defined = defined.with_context(|| format!("{} is not in the list", metric.name))?;
        let kind = match defined.kind {
            MetricKind::Counter => "counter",
            MetricKind::UpDownCounter => "up-down counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        assert_eq!((metric.kind, &*metric.unit), (kind, defined.unit));
        assert_eq!(metric.description, defined.description);
        for (attribute, _) in metric.points.iter().flat_map(|point| &point.attributes) {
            let name = &metric.name;
            assert!(
                defined.attributes.contains(&&**attribute),
                "{name}: {attribute}"
            );
        }
    }
    let resource: HashMap<_, _> = collector.resource()?.into_iter().collect();
    assert_eq!(resource["service.name"], env!("CARGO_PKG_NAME"));
    assert!(!resource["service.instance.id"].is_empty());
    Ok(())
}

async fn calls_under_way_are_counted_until_they_end(version: &str) -> Result<()> {
    const IN_FLIGHT: &str = "eventual_batch.calls.in_flight";
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    let shop = stack.linked("shop", "orders").await?;
    open(&shop).await?;
    let (instance, function) = FUNCTIONS[0];
    let mut wire = WireCaller::new(&stack, "shop").await?;
    let mut params = text("default");
    params.extend(length(2));
    let call = wire.open(instance, function, params).await?;
    let address = wire.accepted(&call).await?.context("not accepted")?;
    let of = [(OPERATION, function)];
    point(&collector, IN_FLIGHT, &of, |point| point.value == 1.0).await?;

    let rest = [text("a"), text("b")].concat();
    wire.send_part(&address, rest).await?;
    point(&collector, IN_FLIGHT, &of, |point| point.value == 0.0).await?;
    Ok(())
}

/// A caller that ends its parameters too early, and one whose parameters mean nothing.
async fn calls_that_are_cut_off_are_counted(version: &str) -> Result<()> {
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    let shop = stack.linked("shop", "orders").await?;
    open(&shop).await?;
    let (instance, function) = FUNCTIONS[0];
    let mut wire = WireCaller::new(&stack, "shop").await?;
    let call = wire.open(instance, function, text("default")).await?;
    let address = wire.accepted(&call).await?.context("not accepted")?;
    wire.send_part(&address, Vec::new()).await?;
    let not_text = [length(1), vec![0xff], length(0)].concat();
    wire.open(instance, function, not_text).await?;

    let cut_off = [(OPERATION, function), ("error.type", "cancelled")];
    let cut_off = point(&collector, DURATION, &cut_off, |point| point.count == 2).await?;
    assert_eq!(cut_off.attribute(BUCKET), None);
    let name = format!("db.operation.name=\"{function}\"");
    logged(&stack.provider, &["INFO", "call cut off", &name]).await?;
    span(&collector, function, |span| {
        span.is_error && span.attribute("error.type") == Some("cancelled")
    })
    .await?;
    Ok(())
}

async fn no_key_no_value_and_no_secret_is_exported(version: &str) -> Result<()> {
    const KEY: &str = "KEY-that-is-nobodys-business";
    const VALUE: &str = "VALUE-that-is-nobodys-business";
    const USER: &str = "USER-that-is-nobodys-business";
    const SECRET: &str = "SECRET-that-is-nobodys-business";
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    let login = format!("authorization {{ user: {USER:?}, password: {SECRET:?} }}");
    let mut guarded = NatsServer::builder(version).config(login).start().await?;
    let link = |name: &str, password: &str| {
        stack
            .link("shop", "guarded")
            .name(name)
            .config("cluster_uri", guarded.url())
            .config("username", USER)
            .config("enable_bucket_auto_create", "true")
            .config("bucket_max_value_size", "1000")
            .config("timeout", "500ms")
            .secret("password", password)
    };
    stack.provider.put_link(&link("default", SECRET)).await?;
    let wrong = format!("wrong-{SECRET}");
    stack.provider.put_link(&link("wrong", &wrong)).await?;
    let shop = stack.caller("shop");
    open(&shop).await?;
    let big = VALUE.repeat(100);
    let bad_key = format!("{KEY} *");
    shop.set_many("default", &[(KEY, VALUE)]).await??;
    shop.get_many("default", &[KEY]).await??;
    shop.store().set("default", KEY, VALUE.as_bytes()).await??;
    shop.keys("default").await??;
    ensure!(shop.set_many("default", &[(KEY, &big)]).await?.is_err());
    ensure!(
        shop.set_many("default", &[(&bad_key, VALUE)])
            .await?
            .is_err()
    );
    ensure!(shop.get_many("default", &[&bad_key]).await?.is_err());
    let wrong = shop.clone().with_link("wrong");
    ensure!(wrong.get_many("default", &[KEY]).await?.is_err());
    guarded.stop().await?;
    ensure!(shop.set_many("default", &[(KEY, VALUE)]).await?.is_err());

    let unavailable = [("error.type", "unavailable")];
    point(&collector, DURATION, &unavailable, |_| true).await?;
    eventually("the last call's span", async || {
        let spans = collector.spans()?;
        let last = |span: &&ExportedSpan| span.attribute("error.type") == Some("unavailable");
        Ok(spans.iter().find(last).map(|_| ()))
    })
    .await?;
    // Otherwise this proves nothing.
    assert!(collector.has_received(b"guarded")?);
    for hidden in [KEY, VALUE, USER, SECRET] {
        assert!(!collector.has_received(hidden.as_bytes())?, "{hidden}");
    }
    Ok(())
}

async fn a_call_is_a_span_of_its_callers_trace(version: &str) -> Result<()> {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    let shop = stack.linked("shop", "orders").await?;
    open(&shop).await?;
    let context = format!("00-{TRACE}-{PARENT}-01");
    let shop = shop.with_header("traceparent", &context);
    shop.set_many("default", &[("a", "1"), ("b", "2")])
        .await??;
    ensure!(shop.get_many("not-granted", &["a"]).await?.is_err());

    let of_trace = async |name: &str| span(&collector, name, |span| span.trace == TRACE).await;
    let written = of_trace("set-many orders").await?;
    assert_eq!(written.parent, PARENT);
    assert!(written.is_client && !written.is_error, "{written:?}");
    for (name, value) in [
        ("db.system.name", "nats"),
        (OPERATION, "set-many"),
        (BUCKET, "orders"),
        ("db.operation.batch.size", "2"),
        ("source", "shop"),
        ("link", "default"),
    ] {
        assert_eq!(written.attribute(name), Some(value), "{written:?}");
    }
    assert_eq!(written.attribute("error.type"), None);
    let refused = of_trace("get-many").await?;
    assert!(refused.is_error, "{refused:?}");
    assert_eq!(refused.attribute("error.type"), Some("no-such-bucket"));
    assert_eq!(refused.attribute(BUCKET), None);
    Ok(())
}

async fn a_collector_that_is_down_costs_calls_nothing(version: &str) -> Result<()> {
    let port = free_port();
    let stack = exporting_to(version, format!("http://127.0.0.1:{port}")).await?;
    let shop = stack.linked("shop", "orders").await?;
    open(&shop).await?;
    rounds(&shop, 20).await?;

    // Later it is told what it has missed.
    let collector = OtlpCollector::start_on(port).await?;
    let of = [(OPERATION, "set-many"), (BUCKET, "orders")];
    let all = |point: &ExportedPoint| point.count == 20 * AT_ONCE;
    point(&collector, DURATION, &of, all).await?;
    Ok(())
}

async fn a_collector_that_never_answers_costs_calls_nothing(version: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let exports = Arc::new(Semaphore::new(0));
    let begun = Arc::clone(&exports);
    let reading = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut first = [0];
            if connection.read_exact(&mut first).await.is_ok() {
                begun.add_permits(1);
            }
            connections.push(connection);
        }
    });
    let mut stack = exporting_to(version, url).await?;
    let shop = stack.linked("shop", "orders").await?;
    open(&shop).await?;
    // The metrics' export and the spans' wait for an answer.
    tokio::select! {
        both = timeout(LONG_TIMEOUT, exports.acquire_many(2)) => both??.forget(),
        calls = rounds(&shop, usize::MAX) => calls?,
    }
    rounds(&shop, 20).await?;
    // Nor does the end wait for it.
    let status = stack.provider.shutdown().await?;
    assert!(status.success(), "{status}");
    let not_taken = ["WARN", "did not take the last metrics in time"];
    logged(&stack.provider, &not_taken).await?;
    reading.abort();
    Ok(())
}

/// How many calls a round makes at once.
const AT_ONCE: u64 = 50;

async fn rounds(shop: &LatticeCaller, rounds: usize) -> Result<()> {
    for _ in 0..rounds {
        try_join_all((0..AT_ONCE).map(|_| write_and_read(shop))).await?;
    }
    Ok(())
}

async fn write_and_read(shop: &LatticeCaller) -> Result<()> {
    shop.set_many("default", &[("a", "1")]).await??;
    ensure!(shop.get_many("default", &["a"]).await?? == [Some(b"1".to_vec())]);
    Ok(())
}
