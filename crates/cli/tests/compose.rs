//! The command on real components: what comes out, and what it says where nothing can.
//!
//! Adapter and components are made from their WIT, with functions that do nothing: the command looks
//! at types only.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use wit_component::{
    ComponentEncoder, DecodedWasm, StringEncoding, dummy_module, embed_component_metadata,
};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId, WorldItem};

const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
const BATCH: &str = "wasi:keyvalue/eventual-batch@0.1.0";
const LATTICE: &str = "wrpc:keyvalue/eventual-batch@0.1.0";
const ABI: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// The interfaces of the test's own components, beside those of the repository.
const SHOP: &str = "
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
const SHARING: &str = "
    interface counters {
        use wasi:keyvalue/types@0.1.0.{bucket};
        increment: func(bucket: borrow<bucket>) -> u64;
    }

    interface hints {
        use wasi:keyvalue/types@0.1.0.{key};
        soon: func(keys: list<key>);
    }
";

#[test]
fn a_component_that_calls_every_function_is_composed() {
    let component = shop("import wasi:keyvalue/eventual-batch@0.1.0;");
    assert_eq!(functions(&component, BATCH).len(), 4);
    let composed = Bench::new(&component).composed();
    assert_answered(&composed);
}

#[test]
fn a_component_that_calls_one_function_is_composed() {
    for function in ["get-many", "keys", "set-many", "delete-many"] {
        let component = caller_of_one(function);
        assert_eq!(functions(&component, BATCH), [function]);
        let composed = Bench::new(&component).composed();
        assert_answered(&composed);
    }
}

#[test]
fn the_other_imports_and_the_exports_stay() {
    let component = shop(
        "import wasi:keyvalue/eventual-batch@0.1.0;
         import audit;
         import time-of-day: func() -> u64;
         export orders;
         export run: func() -> result<_, string>;",
    );
    let composed = Bench::new(&component).composed();
    assert_answered(&composed);

    let mut expected = without_keyvalue(&imports(&component));
    expected.push(LATTICE.to_owned());
    expected.sort();
    assert!(expected.contains(&"test:shop/audit@1.0.0".to_owned()));
    assert!(expected.contains(&"time-of-day".to_owned()));
    assert_eq!(imports(&composed), expected);
    assert_eq!(exports(&composed), ["run", "test:shop/orders@1.0.0"]);
    for interface in ["test:shop/audit@1.0.0", "test:shop/orders@1.0.0"] {
        assert_eq!(
            functions(&composed, interface),
            functions(&component, interface)
        );
    }
}

#[test]
fn the_other_keyvalue_interfaces_stay() {
    let component = component(
        repository(),
        &format!(
            "{SHOP}
             world shop {{
                 import wasi:keyvalue/eventual-batch@0.1.0;
                 import wasi:keyvalue/batch@0.2.0-draft;
             }}"
        ),
    );
    let composed = Bench::new(&component).composed();
    let imports = imports(&composed);
    let keyvalue: Vec<_> = imports
        .iter()
        .filter(|name| name.contains(":keyvalue/"))
        .collect();
    assert_eq!(
        keyvalue,
        [
            "wasi:keyvalue/batch@0.2.0-draft",
            "wasi:keyvalue/store@0.2.0-draft",
            LATTICE
        ]
    );
}

#[test]
fn a_component_without_the_import_is_refused_with_what_it_imports() {
    let component = shop("import audit; import time-of-day: func() -> u64;");
    let message = Bench::new(&component).refused();
    assert_says(
        &message,
        &[
            "component.wasm",
            BATCH,
            "test:shop/audit@1.0.0",
            "time-of-day",
        ],
    );
}

#[test]
fn a_component_that_a_host_serves_as_it_is_needs_no_adapter() {
    let component = component(
        repository(),
        &format!(
            "{SHOP}
             world shop {{ import wasi:keyvalue/batch@0.2.0-draft; import audit; }}"
        ),
    );
    let message = Bench::new(&component).refused();
    assert_says(
        &message,
        &[
            "component.wasm",
            "needs no adapter",
            "`wasi:keyvalue/batch@0.2.0-draft`",
            "`wasi:keyvalue/store@0.2.0-draft`",
        ],
    );
    assert!(!message.contains("audit"), "{message}");
}

#[test]
fn of_the_imports_of_a_component_those_of_keyvalue_are_listed() {
    let component = component(
        repository(),
        &format!(
            "{SHOP}
             package wasi:keyvalue@0.2.0-draft2 {{ interface store {{ open: func(name: string); }} }}
             world shop {{ import wasi:keyvalue/store@0.2.0-draft2; import audit; }}"
        ),
    );
    let message = Bench::new(&component).refused();
    assert_says(&message, &[BATCH, "wasi:keyvalue/store@0.2.0-draft2"]);
    assert!(!message.contains("audit"), "{message}");
}

#[test]
fn a_component_that_imports_nothing_is_refused() {
    let message = Bench::new(&shop("export orders;")).refused();
    assert_says(&message, &["component.wasm", BATCH, "imports nothing"]);
}

#[test]
fn another_version_is_refused_with_both_versions() {
    let component = other_keyvalue("0.2.0", "keys: func(bucket: string) -> list<string>;");
    let message = Bench::new(&component).refused();
    assert_says(
        &message,
        &["wasi:keyvalue/eventual-batch@0.2.0", "wasi:keyvalue@0.1.0"],
    );
}

#[test]
fn other_signatures_are_refused() {
    let component = other_keyvalue("0.1.0", "keys: func(bucket: string) -> list<string>;");
    let message = Bench::new(&component).refused();
    assert_says(&message, &[BATCH, "is not the one", "`keys`"]);
}

#[test]
fn a_function_that_the_adapter_does_not_have_is_refused() {
    let component = other_keyvalue("0.1.0", "increment: func(key: string) -> u64;");
    let message = Bench::new(&component).refused();
    assert_says(&message, &[BATCH, "is not the one", "`increment`"]);
}

#[test]
fn another_interface_of_the_same_types_is_refused() {
    for interface in ["counters", "hints"] {
        let component = shop(&format!(
            "import wasi:keyvalue/eventual-batch@0.1.0; import {interface};"
        ));
        let message = Bench::new(&component).refused();
        let imported = format!("`test:shop/{interface}@1.0.0`");
        assert_says(&message, &[&imported, "the adapter does not answer"]);
    }
}

#[test]
fn a_newer_version_of_the_streams_stays() {
    let streams = fs::read_to_string(WIT.to_owned() + "/deps/wasi-io-0.2.0/package.wit").unwrap();
    let (_, interfaces) = streams.split_once("package wasi:io@0.2.0;").unwrap();
    let component = component(
        repository(),
        &format!(
            "{SHOP} package wasi:io@0.2.6 {{ {interfaces} }}
             world shop {{
                 import wasi:keyvalue/eventual-batch@0.1.0;
                 import wasi:io/streams@0.2.6;
             }}"
        ),
    );
    let composed = Bench::new(&component).composed();
    assert_answered(&composed);
    assert!(imports(&composed).contains(&"wasi:io/streams@0.2.6".to_owned()));
}

#[test]
fn a_core_module_is_refused() {
    let (resolve, world) = parse(repository(), &world("export orders;"));
    let module = dummy_module(&resolve, world, ABI);
    let message = Bench::new(&module).refused();
    assert_says(&message, &["component.wasm", "core module"]);
}

#[test]
fn what_is_not_webassembly_is_refused() {
    for bytes in [&b"(component)\n"[..], b"hello", b""] {
        let message = Bench::new(bytes).refused();
        assert_says(&message, &["component.wasm", "not WebAssembly"]);
    }
}

#[test]
fn a_damaged_component_is_refused() {
    let whole = shop("import wasi:keyvalue/eventual-batch@0.1.0;");
    let message = Bench::new(&whole[..whole.len() / 2]).refused();
    assert_says(
        &message,
        &["component.wasm", "not a component that can be read"],
    );
}

#[test]
fn a_composed_component_is_not_composed_again() {
    let composed = Bench::new(&caller_of_one("keys")).composed();
    let message = Bench::new(&composed).refused();
    assert_says(&message, &["component.wasm", "composed already", LATTICE]);
}

#[test]
fn an_adapter_that_is_another_component_is_refused() {
    let bench = Bench::new(&caller_of_one("keys"));
    bench.write("adapter.wasm", &shop("export orders;"));
    let message = bench.refused();
    assert_says(
        &message,
        &[
            "adapter.wasm",
            "another component",
            "wasi:keyvalue/wasi-keyvalue-error@0.1.0",
        ],
    );
}

#[test]
fn an_adapter_that_is_no_component_is_refused() {
    let bench = Bench::new(&caller_of_one("keys"));
    bench.write("adapter.wasm", b"<html>404 Not Found</html>");
    let message = bench.refused();
    assert_says(&message, &["adapter.wasm", "not WebAssembly"]);
}

#[test]
fn a_missing_file_is_named() {
    for missing in ["component.wasm", "adapter.wasm"] {
        let bench = Bench::new(&caller_of_one("keys"));
        fs::remove_file(bench.path(missing)).unwrap();
        let message = bench.refused();
        assert_says(&message, &["cannot read", missing]);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let bench = Bench::new(&caller_of_one("keys"));
    let message = bench.refused_into("no-such-directory/out.wasm");
    assert_says(&message, &["cannot write", "no-such-directory/out.wasm"]);
}

#[test]
fn neither_input_is_written_over() {
    for input in [
        "component.wasm",
        "./component.wasm",
        "adapter.wasm",
        "link.wasm",
    ] {
        let bench = Bench::new(&caller_of_one("keys"));
        symlink("component.wasm", bench.path("link.wasm")).unwrap();
        let message = bench.refused_into(input);
        assert_says(&message, &[input, "name another file for the output"]);
    }
}

#[test]
fn without_a_named_adapter_the_built_in_one_is_used() {
    let bench = Bench::new(&caller_of_one("keys"));
    let run = bench.run(&["component.wasm", "-o", "out.wasm"]);
    if option_env!("EVENTUAL_BATCH_ADAPTER").is_none() {
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert_says(&run.stderr, &["no adapter in it", "--adapter"]);
        return;
    }
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let composed = fs::read(bench.path("out.wasm")).unwrap();
    let imports = imports(&composed);
    assert!(
        imports.iter().any(|import| import == LATTICE),
        "{imports:?}"
    );
}

#[test]
fn missing_arguments_get_the_usage() {
    let bench = Bench::new(&caller_of_one("keys"));
    let complete = [
        "--adapter",
        "adapter.wasm",
        "component.wasm",
        "-o",
        "out.wasm",
    ];
    for (given, missing) in [
        (&complete[..0], "--output <FILE>"),
        (&complete[..3], "--output <FILE>"),
        (
            &["--adapter", "adapter.wasm", "-o", "out.wasm"],
            "<COMPONENT>",
        ),
    ] {
        let run = bench.run(given);
        assert_eq!(run.code, Some(2), "{given:?}: {}", run.stderr);
        assert_says(&run.stderr, &["Usage: eventual-batch compose", missing]);
        assert!(!bench.path("out.wasm").exists());
    }
}

/// A directory with a component and the adapter, where the command runs.
struct Bench {
    directory: TempDir,
}

struct ComposeRun {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Bench {
    fn new(component: &[u8]) -> Self {
        let bench = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        bench.write("component.wasm", component);
        bench.write("adapter.wasm", &adapter());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> ComposeRun {
        let output = Command::new(env!("CARGO_BIN_EXE_eventual-batch"))
            .arg("compose")
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        ComposeRun {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn run_into(&self, output: &str) -> ComposeRun {
        self.run(&["--adapter", "adapter.wasm", "component.wasm", "-o", output])
    }

    /// What comes out.
    fn composed(&self) -> Vec<u8> {
        let run = self.run_into("out.wasm");
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
        fs::read(self.path("out.wasm")).unwrap()
    }

    /// What the command says, where it must not write anything.
    fn refused(&self) -> String {
        self.refused_into("out.wasm")
    }

    fn refused_into(&self, output: &str) -> String {
        let before = self.files();
        let run = self.run_into(output);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert_eq!(run.stdout, "");
        assert!(self.files() == before, "wrote, though: {}", run.stderr);
        assert_readable(&run.stderr);
        run.stderr
    }

    /// Every file with its bytes.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }
}

/// One line, and nothing in it that only a programmer of the command could read.
fn assert_readable(message: &str) {
    let line = message.strip_suffix('\n').unwrap_or(message);
    assert!(line.starts_with("error: "), "{message}");
    assert!(!line.contains('\n'), "more than one line: {message}");
    for noise in [
        "panicked",
        "Error",
        "Some(",
        "None",
        "\\",
        "{",
        "::",
        "instantiation",
    ] {
        assert!(!line.contains(noise), "{noise:?} in: {message}");
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

/// The keyvalue imports are answered, by an adapter that is whole.
fn assert_answered(composed: &[u8]) {
    let imports = imports(composed);
    assert_eq!(without_keyvalue(&imports), imports);
    assert_eq!(
        functions(composed, LATTICE),
        ["delete-many", "get-many", "keys", "open-bucket", "set-many"]
    );
}

fn without_keyvalue(imports: &[String]) -> Vec<String> {
    imports
        .iter()
        .filter(|name| !name.starts_with("wasi:keyvalue/"))
        .cloned()
        .collect()
}

/// The WIT of the repository.
fn repository() -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_dir(WIT).unwrap();
    resolve
}

/// The adapter's types, with nothing behind them.
fn adapter() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(WIT).unwrap();
    let world = resolve.select_world(&[package], Some("adapter")).unwrap();
    encode(&resolve, &resolve, world)
}

fn world(items: &str) -> String {
    format!("{SHOP} world shop {{ {items} }}")
}

/// A component that imports and exports these, and calls every function that it imports.
fn shop(items: &str) -> Vec<u8> {
    component(repository(), &format!("{} {SHARING}", world(items)))
}

/// A component that calls one function of the batch interface. Like any toolchain's, it imports no
/// other function of it.
fn caller_of_one(function: &str) -> Vec<u8> {
    let (resolve, world) = parse(
        repository(),
        &world("import wasi:keyvalue/eventual-batch@0.1.0;"),
    );
    let mut called = resolve.clone();
    for (_, interface) in &mut called.interfaces {
        if interface.name.as_deref() == Some("eventual-batch") {
            interface.functions.retain(|name, _| name == function);
        }
    }
    encode(&called, &resolve, world)
}

/// A component with a batch interface of its own making.
fn other_keyvalue(version: &str, functions: &str) -> Vec<u8> {
    component(
        Resolve::default(),
        &format!(
            "{SHOP}
             package wasi:keyvalue@{version} {{ interface eventual-batch {{ {functions} }} }}
             world shop {{ import wasi:keyvalue/eventual-batch@{version}; }}"
        ),
    )
}

fn component(known: Resolve, source: &str) -> Vec<u8> {
    let (resolve, world) = parse(known, source);
    encode(&resolve, &resolve, world)
}

fn parse(mut known: Resolve, source: &str) -> (Resolve, WorldId) {
    let package = known.push_str("shop.wit", source).unwrap();
    let world = known.select_world(&[package], Some("shop")).unwrap();
    (known, world)
}

/// A component of this world, which calls what `called` has of it.
fn encode(called: &Resolve, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut module = dummy_module(called, world, ABI);
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

fn decode(component: &[u8]) -> (Resolve, WorldId) {
    match wit_component::decode(component).unwrap() {
        DecodedWasm::Component(resolve, world) => (resolve, world),
        DecodedWasm::WitPackage(..) => panic!("a WIT package"),
    }
}

fn imports(component: &[u8]) -> Vec<String> {
    let (resolve, world) = decode(component);
    let keys = resolve.worlds[world].imports.keys();
    sorted(keys.map(|key| resolve.name_world_key(key)))
}

fn exports(component: &[u8]) -> Vec<String> {
    let (resolve, world) = decode(component);
    let keys = resolve.worlds[world].exports.keys();
    sorted(keys.map(|key| resolve.name_world_key(key)))
}

/// The functions of an interface that the component imports or exports.
fn functions(component: &[u8], interface: &str) -> Vec<String> {
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

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
