//! The component of the command line, made ready to be instantiated.

use std::fs;
use std::path::Path;

use eventual_batch_wasmtime::WatcherExport;
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::engine::{self, PoolShare};
use super::guest::GuestState;
use super::limits::RequestLimits;
use super::linker;

/// What the component has to export.
const HANDLER: &str = "wasi:http/incoming-handler@0.2";

/// What it has to export to be told of changes.
const WATCHER: &str = WatcherExport::<GuestState>::INTERFACE;

/// The unit in which memories grow, in bytes.
const PAGE: u64 = 64 * 1024;

/// What a component imports after `eventual-batch compose`.
const LATTICE: &str = "wrpc:keyvalue/";

/// Why a component cannot be served. The sentence does not name its file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComponentError {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("this is not WebAssembly in its binary form")]
    NotWasm,
    #[error(
        "this is a core module and no component; build it for wasm32-wasip2, or make a component \
         of it with `wasm-tools component new`"
    )]
    CoreModule,
    #[error("this component cannot be compiled: {0}")]
    NotCompiled(String),
    #[error(
        "the component needs {needed} bytes of memory to start with, and --memory allows {allowed}"
    )]
    TooLarge { needed: u64, allowed: usize },
    #[error(
        "the component exports no `{HANDLER}`, so it answers no HTTP requests; it exports: {}{}",
        list(.0),
        watch_hint(.0)
    )]
    NoHandler(Vec<String>),
    #[error(
        "the component exports no `{WATCHER}`, so it cannot be told of changes, as the links file asks \
         for with a table [watch.NAME]; it exports: {}",
        list(.0)
    )]
    NoWatcher(Vec<String>),
    #[error(
        "the component imports {}, which nothing here provides; what is provided is wasi:keyvalue in \
         the versions 0.1.0 and 0.2.0-draft, wasi:http/types and the interfaces of WASI 0.2{}",
        list(imports),
        hint(imports)
    )]
    NotProvided { imports: Vec<String> },
    #[error("the component does not fit the interfaces that it imports or exports: {0}")]
    Mismatch(String),
    #[error(
        "the engine cannot be set up: {0}; fewer instances at once (--max-requests, \
             `watch_max_in_flight`) need less"
    )]
    Engine(String),
}

/// A component, ready to be instantiated.
pub(super) struct LoadedComponent {
    pub(super) engine: Engine,
    /// `None`: it answers no HTTP requests.
    pub(super) proxy: Option<ProxyPre<GuestState>>,
    /// `None`: it cannot be told of changes.
    pub(super) watcher: Option<WatcherExport<GuestState>>,
}

/// Compiles the component and finds all that it imports. `told` is how many changes it is to be told of
/// at once; 0: of none.
pub(super) fn load(
    path: &Path,
    limits: RequestLimits,
    told: u32,
) -> Result<LoadedComponent, ComponentError> {
    let bytes = fs::read(path).map_err(ComponentError::Unreadable)?;
    if !bytes.starts_with(b"\0asm") {
        return Err(ComponentError::NotWasm);
    }
    // A core module has the same first four bytes, and another version in the next four.
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(ComponentError::CoreModule);
    }
    let (engine, component) = compile(&bytes, limits, told)?;
    let component_type = component.component_type();
    let imports = component_type.imports(&engine).map(|(name, _)| name);
    let missing: Vec<String> = imports
        .filter(|import| !is_provided(import))
        .map(str::to_owned)
        .collect();
    if !missing.is_empty() {
        return Err(ComponentError::NotProvided { imports: missing });
    }
    let exports = component_type.exports(&engine).map(|(name, _)| name);
    let exports: Vec<String> = exports.map(str::to_owned).collect();
    let is_handler = exports.iter().any(|export| export.starts_with(HANDLER));
    let is_watcher = exports.iter().any(|export| export == WATCHER);
    if told > 0 && !is_watcher {
        return Err(ComponentError::NoWatcher(exports));
    }
    if told == 0 && !is_handler {
        return Err(ComponentError::NoHandler(exports));
    }
    let find = || -> wasmtime::Result<_> {
        let component = linker::new(&engine)?.instantiate_pre(&component)?;
        let proxy = is_handler.then(|| ProxyPre::new(component.clone()));
        let watcher = is_watcher.then(|| WatcherExport::new(component));
        Ok((proxy.transpose()?, watcher.transpose()?))
    };
    let (proxy, watcher) =
        find().map_err(|error| ComponentError::Mismatch(format!("{error:#}")))?;
    Ok(LoadedComponent {
        engine,
        proxy,
        watcher,
    })
}

/// Compiles the component for an engine whose pool has room for it.
fn compile(
    bytes: &[u8],
    limits: RequestLimits,
    told: u32,
) -> Result<(Engine, Component), ComponentError> {
    let instances = limits.requests.saturating_add(told);
    let compiled = compile_for(bytes, instances, engine::COMMON);
    let is_enough = match &compiled {
        Ok((_, component)) => component
            .resources_required()
            .is_none_or(|required| engine::COMMON.is_enough_for(&required)),
        // The pool may be why.
        Err(ComponentError::NotCompiled(_)) => false,
        Err(_) => true,
    };
    let (engine, component) = if is_enough {
        compiled
    } else {
        compile_for(bytes, instances, engine::LARGE)
    }?;
    let needed = component
        .resources_required()
        .and_then(|required| required.max_initial_memory_size)
        .map(|pages| pages.saturating_mul(PAGE));
    match needed {
        Some(needed) if needed > limits.memory as u64 => Err(ComponentError::TooLarge {
            needed,
            allowed: limits.memory,
        }),
        _ => Ok((engine, component)),
    }
}

fn compile_for(
    bytes: &[u8],
    instances: u32,
    share: PoolShare,
) -> Result<(Engine, Component), ComponentError> {
    let engine = engine::new(instances, share)
        .map_err(|error| ComponentError::Engine(format!("{error:#}")))?;
    let component = Component::new(&engine, bytes)
        .map_err(|error| ComponentError::NotCompiled(format!("{error:#}")))?;
    Ok((engine, component))
}

/// Whether the linker has such an interface.
fn is_provided(import: &str) -> bool {
    const OF_0_1: [&str; 5] = [
        "wasi-keyvalue-error",
        "types",
        "eventual",
        "atomic",
        "eventual-batch",
    ];
    const OF_DRAFT: [&str; 3] = ["store", "atomics", "batch"];
    const OF_WASI: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
    let Some((path, version)) = import.split_once('@') else {
        return false;
    };
    let Some((package, interface)) = path.split_once('/') else {
        return false;
    };
    let Some(package) = package.strip_prefix("wasi:") else {
        return false;
    };
    match package {
        "keyvalue" => match version {
            "0.1.0" => OF_0_1.contains(&interface),
            "0.2.0-draft" => OF_DRAFT.contains(&interface),
            _ => false,
        },
        "http" => version.starts_with("0.2.") && ["types", "outgoing-handler"].contains(&interface),
        package => version.starts_with("0.2.") && OF_WASI.contains(&package),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn watch_hint(exports: &[String]) -> &'static str {
    if exports.iter().any(|export| export == WATCHER) {
        "; to be told of changes it needs a table [watch.NAME] in the file of --links"
    } else {
        ""
    }
}

fn hint(imports: &[String]) -> &'static str {
    if imports.iter().any(|import| import.starts_with(LATTICE)) {
        ". It seems to be composed for wasmCloud 1.x; serve the component as it was before \
         `eventual-batch compose`"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_provided_in_their_versions() {
        for import in [
            "wasi:keyvalue/eventual-batch@0.1.0",
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:http/types@0.2.0",
            "wasi:io/streams@0.2.6",
            "wasi:cli/environment@0.2.3",
        ] {
            assert!(is_provided(import), "{import}");
        }
        for import in [
            "wasi:keyvalue/eventual-batch@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft2",
            "wasi:keyvalue/cache@0.1.0",
            "wasi:http/types@0.3.0",
            "wrpc:keyvalue/eventual-batch@0.1.0",
            "wasi:blobstore/blobstore@0.2.0-draft",
            "run",
        ] {
            assert!(!is_provided(import), "{import}");
        }
    }
}
