//! Which interfaces a component imports, and which it then imports of the lattice.

use crate::bench::{Bench, assert_says};
use crate::components::{LATTICE, functions, imports, shop, without_keyvalue};

const ATOMIC: &str = "wrpc:keyvalue/atomic@0.1.0";

/// What a component that imports these interfaces imports of the lattice once it is composed, and what
/// the command says.
fn lattice_imports(interfaces: &[&str]) -> (Vec<String>, String) {
    let items: Vec<_> = interfaces
        .iter()
        .map(|interface| format!("import wasi:keyvalue/{interface}@0.1.0;"))
        .collect();
    let (composed, said) = Bench::new(&shop(&items.concat())).composed_and_said();
    let all = imports(&composed);
    assert_eq!(without_keyvalue(&all), all, "{interfaces:?}");
    let of_lattice = all.into_iter().filter(|name| name.starts_with("wrpc:"));
    (of_lattice.collect(), said)
}

#[test]
fn a_component_needs_a_link_for_nothing_that_it_does_not_use() {
    for interfaces in [
        &["eventual-batch"][..],
        &["eventual"],
        &["eventual", "eventual-batch"],
    ] {
        let (imported, said) = lattice_imports(interfaces);
        assert_eq!(imported, [LATTICE], "{interfaces:?}");
        assert_says(
            &said,
            &["wrpc keyvalue --interface eventual-batch --target-config"],
        );
        assert_says(&said, interfaces);
    }
}

#[test]
fn a_component_that_counts_needs_a_link_for_that_as_well() {
    for interfaces in [
        &["atomic"][..],
        &["atomic", "eventual"],
        &["atomic", "eventual", "eventual-batch"],
    ] {
        let (imported, said) = lattice_imports(interfaces);
        assert_eq!(imported, [ATOMIC, LATTICE], "{interfaces:?}");
        assert_says(&said, &["--interface eventual-batch --interface atomic "]);
        assert_says(&said, interfaces);
    }
}

#[test]
fn a_component_that_only_opens_buckets_is_composed() {
    let (imported, _) = lattice_imports(&["types"]);
    assert_eq!(imported, [LATTICE]);
}

#[test]
fn the_functions_of_the_lattice_stay_as_the_adapter_calls_them() {
    let items = "import wasi:keyvalue/eventual@0.1.0; import wasi:keyvalue/atomic@0.1.0;";
    let composed = Bench::new(&shop(items)).composed();
    let called = functions(&composed, ATOMIC);
    assert_eq!(called, ["compare-and-swap", "increment"]);
    let called = functions(&composed, LATTICE);
    assert!(called.contains(&"exists".to_owned()), "{called:?}");
}

#[test]
fn another_version_of_any_of_them_is_refused() {
    for interface in ["eventual", "atomic"] {
        let component = crate::components::component(
            wit_parser::Resolve::default(),
            &format!(
                "package test:shop@1.0.0;
                 package wasi:keyvalue@0.3.0 {{ interface {interface} {{ run: func(); }} }}
                 world shop {{ import wasi:keyvalue/{interface}@0.3.0; }}"
            ),
        );
        let message = Bench::new(&component).refused();
        let imported = format!("wasi:keyvalue/{interface}@0.3.0");
        assert_says(&message, &[&imported, "version 0.1.0 only"]);
    }
}

#[test]
fn a_composed_component_of_any_of_them_is_not_composed_again() {
    for interface in ["eventual", "atomic"] {
        let items = format!("import wasi:keyvalue/{interface}@0.1.0;");
        let composed = Bench::new(&shop(&items)).composed();
        let message = Bench::new(&composed).refused();
        assert_says(&message, &["composed already", "wrpc:keyvalue/"]);
    }
}
