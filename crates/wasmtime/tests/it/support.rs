//! A host with one component, and a server with a bucket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use eventual_batch_links::{Links, RawSettings};
use eventual_batch_wasmtime::{
    KeyValueCtx, KeyValueCtxView, KeyValueHost, KeyValueLimits, KeyValueView,
};
use testkit::NatsServer;
use testkit::async_nats::jetstream::kv;
use tokio::sync::OnceCell;
use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Whose links the component uses.
pub(crate) const CALLER: &str = "shop";

pub(crate) struct TestState {
    table: ResourceTable,
    wasi: WasiCtx,
    key_value: KeyValueCtx,
}

impl WasiView for TestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl KeyValueView for TestState {
    fn key_value(&mut self) -> KeyValueCtxView<'_> {
        KeyValueCtxView {
            ctx: &self.key_value,
            table: &mut self.table,
        }
    }
}

/// A host whose links reach one server, and a component in it.
pub(crate) struct Host {
    pub(crate) key_value: KeyValueHost,
    pub(crate) links: Arc<Links>,
    pre: InstancePre<TestState>,
}

/// A server with the bucket `orders`.
pub(crate) async fn server() -> Result<(NatsServer, kv::Store)> {
    let nats = NatsServer::run(testkit::NEWEST).await?;
    let bucket = bucket(&nats, "orders").await?;
    Ok((nats, bucket))
}

pub(crate) async fn bucket(nats: &NatsServer, name: &str) -> Result<kv::Store> {
    nats.create_bucket(name, kv::Config::default()).await
}

impl Host {
    /// With the component `native` and one link, to the bucket `orders`.
    pub(crate) async fn new(nats: &NatsServer, limits: KeyValueLimits) -> Result<Self> {
        let links = Links::new("test", RawSettings::default(), Duration::from_mins(1));
        let host = Self::of(links, "native", limits).await?;
        host.link(nats, CALLER, "default", "orders").await?;
        Ok(host)
    }

    pub(crate) async fn of(links: Links, component: &str, limits: KeyValueLimits) -> Result<Self> {
        let (engine, component) = compiled(component).await?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        eventual_batch_wasmtime::add_to_linker(&mut linker)?;
        let links = Arc::new(links);
        Ok(Self {
            key_value: KeyValueHost::with_limits(Arc::clone(&links), limits),
            links,
            pre: linker.instantiate_pre(&component)?,
        })
    }

    pub(crate) async fn link(
        &self,
        nats: &NatsServer,
        caller: &str,
        name: &str,
        bucket: &str,
    ) -> Result<()> {
        let config = [("bucket", bucket), ("cluster_uri", &nats.url())];
        let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = RawSettings::new(config.into(), HashMap::new());
        Ok(self.links.put(caller, name, settings).await?)
    }

    pub(crate) fn store(&self, key_value: KeyValueCtx) -> Store<TestState> {
        let state = TestState {
            table: ResourceTable::new(),
            wasi: WasiCtx::builder().inherit_stderr().build(),
            key_value,
        };
        Store::new(self.pre.engine(), state)
    }

    pub(crate) async fn instance(
        &self,
        store: &mut Store<TestState>,
    ) -> Result<wasmtime::component::Instance> {
        Ok(self.pre.instantiate_async(store).await?)
    }

    /// One action of a component of its own. The outer error is a trap.
    pub(crate) async fn run(&self, action: &str, args: &[&str]) -> Result<Result<String, String>> {
        self.run_in(self.key_value.context(CALLER), action, args)
            .await
    }

    pub(crate) async fn run_in(
        &self,
        context: KeyValueCtx,
        action: &str,
        args: &[&str],
    ) -> Result<Result<String, String>> {
        let mut store = self.store(context);
        let instance = self.instance(&mut store).await?;
        let run = instance
            .get_typed_func::<(&str, Vec<String>), (Result<String, String>,)>(&mut store, "run")?;
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let (answer,) = run.call_async(&mut store, (action, args)).await?;
        Ok(answer)
    }

    pub(crate) async fn ok(&self, action: &str, args: &[&str]) -> Result<String> {
        let answer = self.run(action, args).await?;
        answer.map_err(|error| anyhow::anyhow!("{action} {args:?}: {error}"))
    }

    pub(crate) async fn error(&self, action: &str, args: &[&str]) -> Result<String> {
        let answer = self.run(action, args).await?;
        answer
            .err()
            .ok_or_else(|| anyhow::anyhow!("{action} succeeded"))
    }
}

/// Compiles a component once for all tests.
pub(crate) async fn compiled(name: &str) -> Result<(Engine, Component)> {
    static COMPILED: [OnceCell<(Engine, Component)>; 3] = [const { OnceCell::const_new() }; 3];
    let (cell, name) = match name {
        "native" => (&COMPILED[0], "native"),
        "golem" => (&COMPILED[1], "golem"),
        _ => (&COMPILED[2], "older_shape"),
    };
    let compiled = cell
        .get_or_try_init(|| async {
            let path = testkit::component("e2e/components", name)?;
            let engine = Engine::default();
            let component = Component::from_file(&engine, path)?;
            anyhow::Ok((engine, component))
        })
        .await?;
    Ok(compiled.clone())
}
