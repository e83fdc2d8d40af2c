//! A component that is told of the changes of a bucket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::StatusCode;
use testkit::NatsServer;
use testkit::async_nats::jetstream::kv;
use tokio::time::{sleep, timeout};

use crate::support::{LONG, ServeBuilder, ServeProcess, bucket, example, server};

/// The example that keeps an index.
fn index() -> Result<PathBuf> {
    testkit::component("examples/watcher-index", "watcher_index")
}

/// The component that notes what it is told.
fn told() -> Result<PathBuf> {
    testkit::component("e2e/components", "told")
}

/// A server, the watched bucket `orders` and the component's bucket `own`.
async fn buckets() -> Result<(NatsServer, kv::Store, kv::Store)> {
    let (nats, orders) = server().await?;
    let own = bucket(&nats, "own").await?;
    Ok((nats, orders, own))
}

/// The component's bucket, with further lines of the file.
fn links(nats: &NatsServer, further: &str) -> String {
    format!(
        "[links.default]\nbucket = \"own\"\ncluster_uri = \"{}\"\ntimeout = \"2m\"\n{further}\n",
        nats.url()
    )
}

/// A watch of `orders`, with further lines.
fn watch(nats: &NatsServer, further: &str) -> String {
    let watch = format!(
        "[watch.orders]\nbucket = \"orders\"\ncluster_uri = \"{}\"\nwatch_from = \"last\"\n{further}",
        nats.url()
    );
    links(nats, &watch)
}

fn builder(component: &Path, links: &str) -> Result<ServeBuilder> {
    ServeBuilder::new(component)?
        .args(&["--request-timeout", "4m"])
        .links(links)
}

async fn start(component: &Path, links: &str) -> Result<ServeProcess> {
    builder(component, links)?.start().await
}

/// Waits until the key has this value; `None`: no value.
async fn becomes(bucket: &kv::Store, key: &str, value: Option<&str>) -> Result<()> {
    let wait = async {
        while bucket.get(key).await?.as_deref() != value.map(str::as_bytes) {
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    let waited = timeout(LONG, wait).await;
    waited.with_context(|| format!("{key} does not become {value:?}"))?
}

async fn stop(served: ServeProcess) -> Result<String> {
    served.signal("TERM").await?;
    let ended = served.ended().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    Ok(ended.log)
}

#[tokio::test]
async fn changes_made_elsewhere_reach_the_component() -> Result<()> {
    let (nats, orders, own) = buckets().await?;
    let served = start(&index()?, &watch(&nats, "watch = \"orders.*\"")).await?;
    orders.put("orders.17", "open".into()).await?;
    orders.put("other.17", "open".into()).await?;
    becomes(&own, "with.open.orders.17", Some("")).await?;
    orders.put("orders.17", "closed".into()).await?;
    becomes(&own, "with.closed.orders.17", Some("")).await?;
    becomes(&own, "with.open.orders.17", None).await?;
    orders.delete("orders.17").await?;
    becomes(&own, "is.orders.17", None).await?;
    becomes(&own, "with.closed.orders.17", None).await?;
    assert_eq!(own.get("is.other.17").await?, None);
    let (status, said) = served.get("/").await?;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(said.contains("exports no HTTP handler"), "{said}");
    Ok(())
}

#[tokio::test]
async fn changes_made_while_it_is_stopped_arrive_later() -> Result<()> {
    let (nats, orders, own) = buckets().await?;
    let links = watch(&nats, "watch = \">\"").replace("watch_from = \"last\"\n", "");
    let served = start(&told()?, &links).await?;
    served.logged("the bucket is watched").await?;
    orders.put("a", "1".into()).await?;
    becomes(&own, "told.a", Some("1")).await?;
    stop(served).await?;
    orders.put("a", "2".into()).await?;
    orders.put("b", "3".into()).await?;
    orders.delete("b").await?;
    own.delete("told.a").await?;
    let served = start(&told()?, &links).await?;
    becomes(&own, "told.a", Some("2")).await?;
    becomes(&own, "deleted.b", Some("")).await?;
    stop(served).await?;
    Ok(())
}

#[tokio::test]
async fn a_change_that_traps_is_told_again() -> Result<()> {
    let (nats, orders, own) = buckets().await?;
    let served = start(&told()?, &watch(&nats, "watch = \">\"")).await?;
    orders.put("a", "trap-twice".into()).await?;
    becomes(&own, "told.a", Some("trap-twice")).await?;
    assert_eq!(own.get("tries.a").await?.as_deref(), Some(&b"xxx"[..]));
    served.logged("the component did not take a change").await?;
    served
        .logged("the component is told of changes again")
        .await
}

#[tokio::test]
async fn a_call_is_cut_off_and_given_up_and_holds_up_no_others() -> Result<()> {
    let (nats, orders, own) = buckets().await?;
    let settings =
        "watch = \">\"\nwatch_timeout = \"2s\"\nwatch_max_deliver = 2\nwatch_max_in_flight = 2";
    let served = start(&told()?, &watch(&nats, settings)).await?;
    orders.put("a", "loop".into()).await?;
    becomes(&own, "begun.a", Some("")).await?;
    orders.put("b", "1".into()).await?;
    becomes(&own, "told.b", Some("1")).await?;
    served.logged("its time was over (`watch_timeout`)").await?;
    served.logged("is given up").await?;
    orders.put("a", "2".into()).await?;
    becomes(&own, "told.a", Some("2")).await
}

#[tokio::test]
async fn a_call_under_way_ends_before_the_program_does() -> Result<()> {
    let (nats, orders, own) = buckets().await?;
    let served = start(&told()?, &watch(&nats, "watch = \">\"")).await?;
    orders.put("a", "wait".into()).await?;
    becomes(&own, "begun.a", Some("")).await?;
    served.signal("TERM").await?;
    served.logged("stopping: ").await?;
    own.put("go", "".into()).await?;
    let ended = served.ended().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(own.get("told.a").await?.as_deref(), Some(&b"wait"[..]));
    Ok(())
}

#[tokio::test]
async fn the_bucket_that_it_is_given_is_that_of_its_own_link() -> Result<()> {
    let (nats, orders, own) = buckets().await?;
    let link = format!(
        "[links.source]\nbucket = \"orders\"\ncluster_uri = \"{}\"\n",
        nats.url()
    );
    let settings = "watch = \">\"\nwatch_max_deliver = 2";
    let served = start(&told()?, &(watch(&nats, settings) + &link)).await?;
    orders.put("a", "copy".into()).await?;
    becomes(&own, "told.a", Some("copy")).await?;
    stop(served).await?;
    // The watch alone grants nothing.
    let served = start(&told()?, &watch(&nats, settings)).await?;
    orders.put("b", "copy".into()).await?;
    served.logged("is given up").await?;
    assert_eq!(own.get("told.b").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_watch_needs_a_component_that_is_told_and_a_component_a_watch() -> Result<()> {
    let (nats, ..) = buckets().await?;
    let with_watch = watch(&nats, "watch = \">\"");
    let without = links(&nats, "");
    for (component, links, expected) in [
        (
            example()?,
            &with_watch,
            "exports no `wasi:keyvalue/watcher@0.2.0-draft`, so it cannot be told of changes",
        ),
        (told()?, &without, "it needs a table [watch.NAME]"),
    ] {
        let said = builder(&component, links)?.refused().await?;
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_mistake_is_told_with_file_watch_and_key() -> Result<()> {
    let (nats, ..) = buckets().await?;
    for (lines, expected) in [
        (
            "[watch.orders]\nbucket = \"orders\"",
            "links.toml: watch `orders`: `watch` is missing",
        ),
        (
            "[watch.orders]\nwatch = \">\"",
            "links.toml: watch `orders`: `bucket` is missing",
        ),
        (
            "[watch.orders]\nbucket = \"orders\"\nwatch = \">\"\nwatch_timeout = \"1ms\"",
            "watch `orders`: `watch_timeout` = \"1ms\" is not accepted: expected",
        ),
        (
            "watch = \">\"",
            "link `default`: `watch` means nothing to a link; write it in a table [watch.NAME]",
        ),
        (
            "[watch.orders]\nbucket = \"orders\"\nwatch = \">\"\n\
             [watch.orders.secrets]\ntoken.env = \"NO_SUCH_VARIABLE\"",
            "watch `orders`: secret `token`: the environment variable `NO_SUCH_VARIABLE` is not set",
        ),
    ] {
        let said = builder(&told()?, &links(&nats, lines))?.refused().await?;
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    Ok(())
}
