//! Components, adapters and arguments that are refused, with a sentence that says why.

use std::fs;
use std::os::unix::fs::symlink;

use wit_component::dummy_module;

use crate::bench::{Bench, assert_says};
use crate::components::{
    ABI, BATCH, LATTICE, SHOP, caller_of_one, component, other_keyvalue, parse, repository, shop,
    world,
};

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
