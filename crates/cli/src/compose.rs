//! Composes the adapter into a component that imports interfaces of `wasi:keyvalue@0.1.0`.
//!
//! What comes out imports interfaces of `wrpc:keyvalue@0.1.0` in their place, which a wasmCloud 1.x
//! host carries to the provider; everything else about the component stays as it was.

mod error;
mod shape;
mod unused;

use wac_graph::types::{ItemKind, Package};
use wac_graph::{CompositionGraph, EncodeOptions, InstantiationArgumentError, NodeId, PackageId};

pub use error::ComposeError;
pub use shape::Shape;

/// The interfaces with functions that a component writes against, without their version.
const WRITTEN_AGAINST: [&str; 3] = [
    "wasi:keyvalue/eventual-batch",
    "wasi:keyvalue/eventual",
    "wasi:keyvalue/atomic",
];

/// The interfaces that the adapter answers. A component imports those that it uses.
const ANSWERED: [&str; 5] = [
    "wasi:keyvalue/wasi-keyvalue-error@0.1.0",
    "wasi:keyvalue/types@0.1.0",
    "wasi:keyvalue/eventual@0.1.0",
    ATOMIC,
    "wasi:keyvalue/eventual-batch@0.1.0",
];

const ATOMIC: &str = "wasi:keyvalue/atomic@0.1.0";

/// What every composed component imports: it opens buckets, at the least.
const LATTICE: &str = "wrpc:keyvalue/eventual-batch@0.1.0";

/// What only those import that import [`ATOMIC`].
const LATTICE_ATOMIC: &str = "wrpc:keyvalue/atomic@0.1.0";

/// A component with the adapter in it.
#[derive(Debug)]
pub struct Composed {
    /// The binary component.
    pub bytes: Vec<u8>,
    /// The interfaces of `wasi:keyvalue@0.1.0` that the adapter answers in it, without the package's
    /// name and version.
    pub answered: Vec<&'static str>,
    /// The interfaces of `wrpc:keyvalue@0.1.0` that its link has to be for, named in the same way.
    pub linked: Vec<&'static str>,
    /// The shape that the component asks for.
    pub shape: Option<Shape>,
}

/// The shape of `wasi:keyvalue@0.1.0` that a component asks for; `None` if it would run with either.
///
/// # Errors
///
/// [`ComposeError::BadComponent`].
pub fn shape(component: &[u8]) -> Result<Option<Shape>, ComposeError> {
    let mut graph = CompositionGraph::new();
    let component =
        register(&mut graph, "component", component).map_err(ComposeError::BadComponent)?;
    Ok(Shape::of_items(
        graph.types(),
        &world(&graph, component).imports,
    ))
}

/// Composes `adapter` into `component`, both the bytes of a binary component.
///
/// # Errors
///
/// See [`ComposeError`].
pub fn compose(component: &[u8], adapter: &[u8]) -> Result<Composed, ComposeError> {
    let mut graph = CompositionGraph::new();
    let inner = register(&mut graph, "adapter", adapter).map_err(ComposeError::BadAdapter)?;
    let outer = register(&mut graph, "component", component).map_err(ComposeError::BadComponent)?;
    let wanted = wanted(&graph, outer)?;
    let is_missing = |name: &&&str| !world(&graph, inner).exports.contains_key(**name);
    if let Some(missing) = wanted.iter().find(is_missing) {
        return Err(ComposeError::OtherAdapter { missing });
    }
    let asked_for = Shape::of_items(graph.types(), &world(&graph, outer).imports);
    let given = Shape::of_items(graph.types(), &world(&graph, inner).exports);
    if let (Some(asked_for), Some(given)) = (asked_for, given)
        && asked_for != given
    {
        return Err(ComposeError::OtherShape { asked_for, given });
    }
    connect(&mut graph, outer, (inner, adapter), &wanted)?;
    let bytes = graph
        .encode(EncodeOptions::default())
        .map_err(|error| ComposeError::Impossible(error.into()))?;
    check(&bytes)?;
    let has_functions = |name: &&str| {
        let name = name.split('@').next();
        WRITTEN_AGAINST.iter().any(|known| Some(*known) == name)
    };
    Ok(Composed {
        answered: named(wanted.iter().copied().filter(has_functions)),
        linked: named(
            [LATTICE]
                .into_iter()
                .chain(wanted.contains(&ATOMIC).then_some(LATTICE_ATOMIC)),
        ),
        shape: asked_for,
        bytes,
    })
}

/// The names of interfaces without their package and version.
fn named(interfaces: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let name = |interface: &'static str| {
        let (_, name) = interface.split_once('/')?;
        name.split('@').next()
    };
    interfaces.filter_map(name).collect()
}

/// Makes sure that nothing is left that a host would look for elsewhere: a world that uses the
/// interfaces' types by itself imports them once more.
fn check(composed: &[u8]) -> Result<(), ComposeError> {
    let mut graph = CompositionGraph::new();
    let package = register(&mut graph, "composed", composed).map_err(ComposeError::Impossible)?;
    let imports = &world(&graph, package).imports;
    let left = ANSWERED
        .into_iter()
        .find(|name| imports.contains_key(*name));
    left.map_or(Ok(()), |left| {
        Err(ComposeError::Shared {
            imported: left.to_owned(),
        })
    })
}

fn register(
    graph: &mut CompositionGraph,
    name: &str,
    bytes: &[u8],
) -> Result<PackageId, error::Source> {
    if !bytes.starts_with(b"\0asm") {
        return Err("it is not WebAssembly in its binary form".into());
    }
    // A core module has the same first four bytes, and another version in the next four.
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err("it is a core module; build it for wasm32-wasip2".into());
    }
    let package = Package::from_bytes(name, None, bytes, graph.types_mut())?;
    Ok(graph.register_package(package)?)
}

fn world(graph: &CompositionGraph, package: PackageId) -> &wac_graph::types::World {
    &graph.types()[graph[package].ty()]
}

/// Which of the answered interfaces the component imports.
fn wanted(
    graph: &CompositionGraph,
    component: PackageId,
) -> Result<Vec<&'static str>, ComposeError> {
    let imports = &world(graph, component).imports;
    let wanted: Vec<_> = ANSWERED
        .into_iter()
        .filter(|name| imports.contains_key(*name))
        .collect();
    let is_other_version = |name: &&String| {
        let of_name = |known: &str| name.split('@').next() == Some(known);
        WRITTEN_AGAINST.into_iter().any(of_name) && !ANSWERED.contains(&name.as_str())
    };
    if let Some(other) = imports.keys().find(is_other_version) {
        return Err(ComposeError::OtherVersion {
            imported: other.clone(),
        });
    }
    if wanted.is_empty() {
        let lattice = [LATTICE, LATTICE_ATOMIC].into_iter();
        let composed = lattice.into_iter().find(|name| imports.contains_key(*name));
        return Err(match composed {
            Some(imported) => ComposeError::AlreadyComposed { imported },
            None => nothing_to_answer(imports.keys().map(String::as_str)),
        });
    }
    match sharing(graph, component) {
        Some(imported) => Err(ComposeError::Shared { imported }),
        None => Ok(wanted),
    }
}

/// The error for a component that imports no interface of the adapter.
fn nothing_to_answer<'a>(imports: impl Iterator<Item = &'a str> + Clone) -> ComposeError {
    let of_keyvalue = |name: &&str| name.contains(":keyvalue/");
    let owned = |names: &mut dyn Iterator<Item = &'a str>| names.map(str::to_owned).collect();
    let carried: Vec<String> = owned(&mut imports.clone().filter(|name| is_carried(name)));
    if !carried.is_empty() {
        return ComposeError::NeedsNoAdapter { imports: carried };
    }
    let keyvalue: Vec<String> = owned(&mut imports.clone().filter(of_keyvalue));
    ComposeError::NotImported {
        imports: if keyvalue.is_empty() {
            owned(&mut { imports })
        } else {
            keyvalue
        },
    }
}

/// Whether a wasmCloud 1.x host carries the interface to a provider without an adapter.
fn is_carried(import: &str) -> bool {
    import
        .strip_prefix("wasi:keyvalue/")
        .is_some_and(|rest| rest.ends_with("@0.2.0-draft"))
}

/// The first import that would stay and that uses types of the answered interfaces: what comes out
/// would import these too, and no resource of the adapter is one of them.
fn sharing(graph: &CompositionGraph, component: PackageId) -> Option<String> {
    let types = graph.types();
    let answered = |name: &str| ANSWERED.contains(&name);
    world(graph, component)
        .imports
        .iter()
        .find(|(name, item)| match item {
            ItemKind::Instance(id) if !answered(name) => types[*id]
                .uses
                .values()
                .any(|used| types[used.interface].id.as_deref().is_some_and(answered)),
            _ => false,
        })
        .map(|(name, _)| name.clone())
}

/// Answers the wanted imports with the adapter's exports, and exports what the component exports.
fn connect(
    graph: &mut CompositionGraph,
    component: PackageId,
    (adapter, adapter_bytes): (PackageId, &[u8]),
    wanted: &[&'static str],
) -> Result<(), ComposeError> {
    let exports: Vec<String> = world(graph, component).exports.keys().cloned().collect();
    let calls_atomic = world(graph, adapter).imports.contains_key(LATTICE_ATOMIC);
    let inner = graph.instantiate(adapter);
    if calls_atomic && !wanted.contains(&ATOMIC) {
        let unused = unused::stand_in(adapter_bytes, LATTICE_ATOMIC);
        let unused = unused.map_err(ComposeError::Impossible)?;
        let unused = register(graph, "unused", &unused).map_err(ComposeError::Impossible)?;
        let unused = graph.instantiate(unused);
        let answer = export_of(graph, unused, LATTICE_ATOMIC)?;
        graph
            .set_instantiation_argument(inner, LATTICE_ATOMIC, answer)
            .map_err(|error| ComposeError::Impossible(difference(error)))?;
    }
    let outer = graph.instantiate(component);
    for &interface in wanted {
        let answer = export_of(graph, inner, interface)?;
        graph
            .set_instantiation_argument(outer, interface, answer)
            .map_err(|error| ComposeError::Mismatch {
                interface,
                source: difference(error),
            })?;
    }
    for name in exports {
        let export = export_of(graph, outer, &name)?;
        graph
            .export(export, &name)
            .map_err(|error| ComposeError::Impossible(error.into()))?;
    }
    Ok(())
}

/// What does not fit, without the graph that it does not fit into.
fn difference(error: InstantiationArgumentError) -> error::Source {
    match error {
        InstantiationArgumentError::ArgumentTypeMismatch { source, .. } => source.into(),
        other => other.into(),
    }
}

fn export_of(
    graph: &mut CompositionGraph,
    instance: NodeId,
    name: &str,
) -> Result<NodeId, ComposeError> {
    graph
        .alias_instance_export(instance, name)
        .map_err(|error| ComposeError::Impossible(error.into()))
}
