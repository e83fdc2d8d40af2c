//! Components that are made from their WIT, and what is in a component.

use eventual_batch::Shape;
use wit_component::{
    ComponentEncoder, DecodedWasm, StringEncoding, dummy_module, embed_component_metadata,
};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId, WorldItem};

pub(crate) const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
pub(crate) const BATCH: &str = "wasi:keyvalue/eventual-batch@0.1.0";
pub(crate) const LATTICE: &str = "wrpc:keyvalue/eventual-batch@0.1.0";
pub(crate) const ABI: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// The interfaces of the test's own components, beside those of the repository.
pub(crate) const SHOP: &str = "
    package test:shop@1.0.0;

    interface audit {
        record entry { line: string, at: u64 }
        note: func(entry: entry) -> result<_, string>;
    }

    interface orders {
        resource order {
            constructor(item: string);
            total: func() -> u32;
        }
        place: func(order: borrow<order>) -> result<u64, string>;
    }
";

/// Interfaces that use types of the repository's.
pub(crate) const SHARING: &str = "
    interface counters {
        use wasi:keyvalue/types@0.1.0.{bucket};
        increment: func(bucket: borrow<bucket>) -> u64;
    }

    interface hints {
        use wasi:keyvalue/types@0.1.0.{key};
        soon: func(keys: list<key>);
    }
";
/// The WIT of the repository.
pub(crate) fn repository() -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_dir(WIT).unwrap();
    resolve
}

/// `wasi:keyvalue@0.1.0` in one of its shapes.
pub(crate) fn of_shape(shape: Shape) -> Resolve {
    let mut resolve = Resolve::default();
    for directory in ["deps/wasi-io-0.2.0", directory_of(shape)] {
        resolve.push_dir(format!("{WIT}/{directory}")).unwrap();
    }
    resolve
}

fn directory_of(shape: Shape) -> &'static str {
    match shape {
        Shape::Newer => "deps/wasi-keyvalue-0.1.0",
        Shape::Older => "older-shape/wasi-keyvalue-0.1.0",
    }
}

/// An adapter's types, with nothing behind them.
pub(crate) fn adapter(shape: Shape) -> Vec<u8> {
    let mut resolve = of_shape(shape);
    resolve
        .push_dir(format!("{WIT}/deps/wrpc-keyvalue-0.1.0"))
        .unwrap();
    let (package, _) = resolve.push_dir(format!("{WIT}/adapter")).unwrap();
    let world = resolve.select_world(&[package], Some("adapter")).unwrap();
    encode(&resolve, &resolve, world)
}

pub(crate) fn world(items: &str) -> String {
    format!("{SHOP} world shop {{ {items} }}")
}

/// A component that imports and exports these, and calls every function that it imports.
pub(crate) fn shop(items: &str) -> Vec<u8> {
    component(repository(), &format!("{} {SHARING}", world(items)))
}

/// A component that calls one function of the batch interface. Like any toolchain's, it imports no
/// other function of it.
pub(crate) fn caller_of_one(function: &str) -> Vec<u8> {
    let (resolve, world) = parse(
        repository(),
        &world("import wasi:keyvalue/eventual-batch@0.1.0;"),
    );
    let called = with_functions(resolve.clone(), "eventual-batch", |name| name == function);
    encode(&called, &resolve, world)
}

/// The interface with those of its functions that pass.
pub(crate) fn with_functions(
    mut resolve: Resolve,
    interface: &str,
    passes: impl Fn(&str) -> bool,
) -> Resolve {
    for (_, found) in &mut resolve.interfaces {
        if found.name.as_deref() == Some(interface) {
            found.functions.retain(|name, _| passes(name));
        }
    }
    resolve
}

/// A component with a batch interface of its own making.
pub(crate) fn other_keyvalue(version: &str, functions: &str) -> Vec<u8> {
    component(
        Resolve::default(),
        &format!(
            "{SHOP}
             package wasi:keyvalue@{version} {{ interface eventual-batch {{ {functions} }} }}
             world shop {{ import wasi:keyvalue/eventual-batch@{version}; }}"
        ),
    )
}

pub(crate) fn component(known: Resolve, source: &str) -> Vec<u8> {
    let (resolve, world) = parse(known, source);
    encode(&resolve, &resolve, world)
}

pub(crate) fn parse(mut known: Resolve, source: &str) -> (Resolve, WorldId) {
    let package = known.push_str("shop.wit", source).unwrap();
    let world = known.select_world(&[package], Some("shop")).unwrap();
    (known, world)
}

/// A component of this world, which calls what `called` has of it.
pub(crate) fn encode(called: &Resolve, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut module = dummy_module(called, world, ABI);
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

pub(crate) fn decode(component: &[u8]) -> (Resolve, WorldId) {
    match wit_component::decode(component).unwrap() {
        DecodedWasm::Component(resolve, world) => (resolve, world),
        DecodedWasm::WitPackage(..) => panic!("a WIT package"),
    }
}

pub(crate) fn imports(component: &[u8]) -> Vec<String> {
    let (resolve, world) = decode(component);
    let keys = resolve.worlds[world].imports.keys();
    sorted(keys.map(|key| resolve.name_world_key(key)))
}

pub(crate) fn exports(component: &[u8]) -> Vec<String> {
    let (resolve, world) = decode(component);
    let keys = resolve.worlds[world].exports.keys();
    sorted(keys.map(|key| resolve.name_world_key(key)))
}

/// The functions of an interface that the component imports or exports.
pub(crate) fn functions(component: &[u8], interface: &str) -> Vec<String> {
    let (resolve, world) = decode(component);
    let world = &resolve.worlds[world];
    let (_, item) = world
        .imports
        .iter()
        .chain(&world.exports)
        .find(|(key, _)| resolve.name_world_key(key) == interface)
        .unwrap_or_else(|| panic!("no {interface}"));
    let WorldItem::Interface { id, .. } = item else {
        panic!("{interface} is no interface");
    };
    sorted(resolve.interfaces[*id].functions.keys().cloned())
}

pub(crate) fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The keyvalue imports are answered, by an adapter that is whole.
pub(crate) fn assert_answered(composed: &[u8]) {
    let imports = imports(composed);
    assert_eq!(without_keyvalue(&imports), imports);
    let functions = functions(composed, LATTICE);
    for function in ["delete-many", "get-many", "keys", "open-bucket", "set-many"] {
        assert!(
            functions.iter().any(|name| name == function),
            "{functions:?}"
        );
    }
}

pub(crate) fn without_keyvalue(imports: &[String]) -> Vec<String> {
    imports
        .iter()
        .filter(|name| !name.starts_with("wasi:keyvalue/"))
        .cloned()
        .collect()
}
