//! Stores whose data does not implement the crate's trait, and which share one context.

use std::sync::Arc;

use anyhow::Result;
use eventual_batch_wasmtime::{KeyValueCtx, KeyValueCtxView, KeyValueLimits, add_to_linker_with};
use wasmtime::Store;
use wasmtime::component::{InstancePre, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::support::{CALLER, Host, compiled, server};

struct ForeignState {
    table: ResourceTable,
    wasi: WasiCtx,
    shared: Arc<KeyValueCtx>,
}

impl WasiView for ForeignState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

fn view(state: &mut ForeignState) -> KeyValueCtxView<'_> {
    KeyValueCtxView {
        ctx: &state.shared,
        table: &mut state.table,
    }
}

/// A store of its own that shares the context.
fn store(pre: &InstancePre<ForeignState>, shared: &Arc<KeyValueCtx>) -> Store<ForeignState> {
    let state = ForeignState {
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().build(),
        shared: Arc::clone(shared),
    };
    Store::new(pre.engine(), state)
}

async fn run(
    pre: &InstancePre<ForeignState>,
    store: &mut Store<ForeignState>,
    action: &str,
    args: &[&str],
) -> Result<Result<String, String>> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let run = instance
        .get_typed_func::<(&str, Vec<String>), (Result<String, String>,)>(&mut *store, "run")?;
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    let (answer,) = run.call_async(store, (action, args)).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_share_a_context_share_its_limits() -> Result<()> {
    let (nats, bucket) = server().await?;
    let limits = KeyValueLimits {
        max_resources: 10,
        ..KeyValueLimits::default()
    };
    let host = Host::new(&nats, limits).await?;
    let shared = Arc::new(host.key_value.context(CALLER));
    let (engine, component) = compiled("native").await?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    add_to_linker_with(&mut linker, view)?;
    let pre = linker.instantiate_pre(&component)?;

    let mut one = store(&pre, &shared);
    let mut other = store(&pre, &shared);
    let set = run(&pre, &mut one, "set", &["default", "a", "one"]).await?;
    assert_eq!(set, Ok("set".to_owned()));
    assert_eq!(bucket.get("a").await?, Some("one".into()));
    let get = ["default", "a"];
    assert_eq!(
        run(&pre, &mut other, "get", &get).await?,
        Ok("one".to_owned())
    );

    // A component that was ended has dropped nothing.
    let trap = run(&pre, &mut one, "hoard-outgoing", &["default", "1"]).await;
    assert!(format!("{:#}", trap.unwrap_err()).contains("`max_resources` = 10"));
    let trap = run(&pre, &mut store(&pre, &shared), "get", &get).await;
    assert!(format!("{:#}", trap.unwrap_err()).contains("`max_resources` = 10"));
    drop(one);
    assert_eq!(
        run(&pre, &mut other, "get", &get).await?,
        Ok("one".to_owned())
    );
    Ok(())
}
