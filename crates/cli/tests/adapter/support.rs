//! A component that is composed by the command, in a host.

use std::cell::RefCell;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use wasmtime::component::{Component, HasSelf, Instance, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::lattice::{Lattice, MemoryLattice};

pub(crate) struct AdapterHostState {
    table: ResourceTable,
    wasi: WasiCtx,
    lattice: MemoryLattice,
}

impl WasiView for AdapterHostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A composed component with a lattice of its own.
pub(crate) struct ComposedComponent {
    store: RefCell<Store<AdapterHostState>>,
    instance: Instance,
}

/// Composes a component of `e2e/components` and instantiates it; `None` if the command has no adapter.
pub(crate) fn composed(component: &str) -> Result<Option<ComposedComponent>> {
    if option_env!("EVENTUAL_BATCH_ADAPTERS").is_none() {
        return Ok(None);
    }
    let plain = testkit::component("e2e/components", component)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("composed.wasm");
    let output = Command::new(env!("CARGO_BIN_EXE_eventual-batch"))
        .arg("compose")
        .args([&plain, &"-o".into(), &path])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "not composed: {said}");

    let engine = Engine::default();
    let component = Component::from_file(&engine, &path)?;
    let mut linker = Linker::<AdapterHostState>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    Lattice::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| &mut state.lattice)?;
    // The draft, which no adapter answers.
    linker.define_unknown_imports_as_traps(&component)?;
    let state = AdapterHostState {
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().inherit_stderr().build(),
        lattice: MemoryLattice::default(),
    };
    let mut store = Store::new(&engine, state);
    let instance = linker.instantiate(&mut store, &component)?;
    Ok(Some(ComposedComponent {
        store: RefCell::new(store),
        instance,
    }))
}

impl ComposedComponent {
    /// One action, which must answer this and make these calls.
    pub(crate) fn expect(
        &self,
        action: &str,
        args: &[&str],
        answer: Result<&str, &str>,
        calls: &[&str],
    ) -> Result<()> {
        let answered = self.run(action, args)?;
        let answered = answered.as_deref().map_err(String::as_str);
        assert_eq!(answered, answer, "{action} {args:?}");
        assert_eq!(self.calls(), calls, "{action} {args:?}");
        Ok(())
    }

    /// The trace of the error that an action answers.
    pub(crate) fn error(&self, action: &str, args: &[&str]) -> Result<String> {
        let answer = self.run(action, args)?;
        answer.err().with_context(|| format!("{action} succeeded"))
    }

    /// The outer error is a trap.
    fn run(&self, action: &str, args: &[&str]) -> Result<Result<String, String>> {
        let mut store = self.store.borrow_mut();
        let run = self
            .instance
            .get_typed_func::<(&str, &[&str]), (Result<String, String>,)>(&mut *store, "run")?;
        let (answer,) = run.call(&mut *store, (action, args))?;
        Ok(answer)
    }

    /// What a component says that takes a key and a value.
    pub(crate) fn run_pair(&self, key: &str, value: &str) -> Result<Vec<String>> {
        let mut store = self.store.borrow_mut();
        let run = self
            .instance
            .get_typed_func::<(&str, &str), (Result<Vec<String>, String>,)>(&mut *store, "run")?;
        let (said,) = run.call(&mut *store, (key, value))?;
        said.map_err(anyhow::Error::msg)
    }

    /// The calls of the lattice since they were last asked for.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.store.borrow_mut().data_mut().lattice.calls)
    }
}
