//! Components that are composed, and what they import then.

use std::fs;

use crate::bench::Bench;
use crate::components::{
    BATCH, LATTICE, SHOP, WIT, assert_answered, caller_of_one, component, exports, functions,
    imports, repository, shop, without_keyvalue,
};

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
