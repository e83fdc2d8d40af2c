//! Components that are told of changes, on a real host.

mod setup;

use anyhow::{Result, ensure};
use e2e::{HostLink, eventually};

use setup::{CallSpy, NOTES, ORDERS, ToldLattice, becomes, consumers, history};

/// The link of a component to the bucket that it writes to.
fn store(bucket: &str) -> HostLink {
    HostLink::to(bucket).of_drafts(&["store"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_keeps_its_index() -> Result<()> {
    let ToldLattice {
        lattice,
        orders,
        notes: index,
    } = ToldLattice::start().await?;
    let wasm = e2e::component("watcher-index")?;
    lattice.scale("index", &wasm, 100).await?;
    lattice.put_link("index", &store(NOTES)).await?;
    let watch = [("bucket", ORDERS), ("watch", "orders.>")];
    lattice.put_watch("index", &watch).await?;
    consumers(&lattice, 1).await?;

    // Somebody who knows nothing of wasmCloud.
    orders.put("orders.17", "open".into()).await?;
    orders.put("other.17", "open".into()).await?;
    becomes(&index, "with.open.orders.17", Some("")).await?;
    orders.put("orders.17", "closed".into()).await?;
    becomes(&index, "with.closed.orders.17", Some("")).await?;
    becomes(&index, "with.open.orders.17", None).await?;

    // What happens while no provider runs comes later.
    lattice.stop_provider().await?;
    orders.put("orders.18", "open".into()).await?;
    orders.delete("orders.17").await?;
    lattice.start_provider().await?;
    becomes(&index, "with.open.orders.18", Some("")).await?;
    becomes(&index, "with.closed.orders.17", None).await?;
    assert_eq!(index.get("is.other.17").await?, None);

    // And while no host runs the component.
    lattice.scale("index", &wasm, 0).await?;
    orders.put("orders.19", "open".into()).await?;
    lattice.scale("index", &wasm, 100).await?;
    becomes(&index, "with.open.orders.19", Some("")).await?;

    // The consumer goes with the link.
    consumers(&lattice, 1).await?;
    lattice.delete_watch().await?;
    consumers(&lattice, 0).await?;
    lattice.stop().await
}

/// This host answers a call that has trapped like one that has returned. If this test fails with
/// another host, docs/guarantees.md says too little.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_looks_like_a_return() -> Result<()> {
    let ToldLattice {
        lattice,
        orders,
        notes,
    } = ToldLattice::start_told(100).await?;
    let of_return = setup::call(&lattice, "on-set", "returns", "value").await?;
    becomes(&notes, "told.returns", Some("value")).await?;
    let of_trap = setup::call(&lattice, "on-set", "traps", "trap-twice").await?;
    becomes(&notes, "tries.traps", Some("x")).await?;
    println!("a return: {of_return:?}\na trap: {of_trap:?}");
    assert_eq!(of_return, of_trap);

    // So the change counts as told, and the next one of the key follows.
    lattice
        .put_watch("told", &[("bucket", ORDERS), ("watch", ">")])
        .await?;
    consumers(&lattice, 1).await?;
    orders.put("a", "trap-twice".into()).await?;
    orders.put("a", "value".into()).await?;
    becomes(&notes, "told.a", Some("value")).await?;
    assert_eq!(history(&notes, "tries.a").await?, ["x"]);
    lattice.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_wait_for_a_free_instance() -> Result<()> {
    let ToldLattice {
        lattice,
        orders,
        notes,
    } = ToldLattice::start_told(1).await?;
    let watch = [
        ("bucket", ORDERS),
        ("watch", ">"),
        ("watch_timeout", "500ms"),
        // Calls for which no instance was free are no tries.
        ("watch_max_deliver", "3"),
    ];
    lattice.put_watch("told", &watch).await?;
    consumers(&lattice, 1).await?;
    orders.put("slow", "wait".into()).await?;
    becomes(&notes, "begun.slow", Some("")).await?;
    let mut calls = CallSpy::start(&lattice).await?;
    for number in 0..5 {
        orders.put(format!("key.{number}"), "value".into()).await?;
    }
    // More calls than `watch_max_deliver` allows tries.
    for number in 0..5 {
        calls.calls(&format!("key.{number}"), 5).await?;
    }
    notes.put("go", "".into()).await?;
    for number in 0..5 {
        becomes(&notes, &format!("told.key.{number}"), Some("value")).await?;
    }
    becomes(&notes, "told.slow", Some("wait")).await?;
    lattice.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_told_once_through_two_hosts() -> Result<()> {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let ToldLattice {
        lattice,
        orders,
        notes,
    } = ToldLattice::start_told(100).await?;
    lattice
        .put_watch("told", &[("bucket", ORDERS), ("watch", ">")])
        .await?;
    consumers(&lattice, 1).await?;
    let other = lattice.start_another_host().await?;
    let all: Vec<String> = (0..20).map(|change| change.to_string()).collect();
    for change in &all[..10] {
        for key in KEYS {
            orders.put(key, change.clone().into()).await?;
        }
    }
    // One of the two tells of changes, and the other one goes on when it stops.
    lattice.stop_provider().await?;
    for change in &all[10..] {
        for key in KEYS {
            orders.put(key, change.clone().into()).await?;
        }
    }
    for key in KEYS {
        let told = format!("told.{key}");
        becomes(&notes, &told, Some("19")).await?;
        assert_eq!(history(&notes, &told).await?, all, "each once, in order");
    }
    consumers(&lattice, 1).await?;
    lattice.start_provider().await?;
    lattice.stop_host(other).await?;
    orders.put("a", "end".into()).await?;
    becomes(&notes, "told.a", Some("end")).await?;
    lattice.stop().await
}

/// The parameters of such a call do not fit into its first message. The host waits for the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_change_that_waits_too_long_stops_nothing() -> Result<()> {
    const LARGE: [&str; 3] = ["large.1", "large.2", "large.3"];
    let ToldLattice {
        lattice,
        orders,
        notes,
    } = ToldLattice::start_told(1).await?;
    let watch = [
        ("bucket", ORDERS),
        ("watch", ">"),
        ("watch_timeout", "500ms"),
    ];
    lattice.put_watch("told", &watch).await?;
    consumers(&lattice, 1).await?;
    orders.put("slow", "wait".into()).await?;
    becomes(&notes, "begun.slow", Some("")).await?;
    let mut calls = CallSpy::start(&lattice).await?;
    let large = "x".repeat(1024 * 1024 - 100);
    for key in LARGE {
        orders.put(key, large.clone().into()).await?;
    }
    for key in LARGE {
        calls.calls(key, 2).await?;
    }
    orders.put("small", "value".into()).await?;
    notes.put("go", "".into()).await?;
    becomes(&notes, "told.small", Some("value")).await?;
    for key in LARGE {
        eventually(|| async {
            let told = notes.get(format!("told.{key}")).await?;
            ensure!(told.is_some(), "{key} is not told of");
            Ok(())
        })
        .await?;
    }
    lattice.stop().await
}
