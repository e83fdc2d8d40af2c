//! The two shapes of `wasi:keyvalue@0.1.0`, and the adapter of each.

use std::fs;

use eventual_batch::Shape;

use crate::bench::{Bench, assert_says};
use crate::components::{
    LATTICE, adapter, assert_answered, component, encode, imports, of_shape, parse, with_functions,
};

const BOTH: [Shape; 2] = [Shape::Newer, Shape::Older];

const SHOP: &str = "package test:shop@1.0.0;
                    world shop { import wasi:keyvalue/eventual-batch@0.1.0; }";

fn shop_of(shape: Shape) -> Vec<u8> {
    component(of_shape(shape), SHOP)
}

/// A component that consumes no value, so that it has no shape.
fn shop_of_neither() -> Vec<u8> {
    let (resolve, world) = parse(of_shape(Shape::Newer), SHOP);
    let called = with_functions(resolve.clone(), "types", |name| !name.contains("consume"));
    encode(&called, &resolve, world)
}

#[test]
fn a_component_is_composed_with_the_adapter_of_its_shape() {
    for shape in BOTH {
        let bench = Bench::new(&shop_of(shape));
        bench.write("adapter.wasm", &adapter(shape));
        let (composed, said) = bench.composed_and_said();
        assert_answered(&composed);
        assert_says(&said, &[&format!("({shape} shape)")]);
    }
}

#[test]
fn a_component_without_a_shape_is_composed_with_either_adapter() {
    for shape in BOTH {
        let bench = Bench::new(&shop_of_neither());
        bench.write("adapter.wasm", &adapter(shape));
        let (composed, said) = bench.composed_and_said();
        assert_answered(&composed);
        assert_says(&said, &["(either shape)"]);
    }
}

#[test]
fn an_adapter_of_the_other_shape_is_refused() {
    for (asked_for, given) in [(Shape::Newer, Shape::Older), (Shape::Older, Shape::Newer)] {
        let bench = Bench::new(&shop_of(asked_for));
        bench.write("adapter.wasm", &adapter(given));
        let message = bench.refused();
        let given = format!("adapter is of the {given} shape");
        let asked_for = format!("component of the {asked_for} one");
        assert_says(&message, &["adapter.wasm", &given, &asked_for, "--adapter"]);
    }
}

#[test]
fn without_a_named_adapter_the_built_in_one_of_the_shape_is_used() {
    for shape in BOTH {
        let bench = Bench::new(&shop_of(shape));
        let run = bench.run(&["component.wasm", "-o", "out.wasm"]);
        if option_env!("EVENTUAL_BATCH_ADAPTERS").is_none() {
            assert_eq!(run.code, Some(1), "{}", run.stderr);
            assert_says(&run.stderr, &["no adapter", "--adapter"]);
            continue;
        }
        assert_eq!(run.code, Some(0), "{shape}: {}", run.stderr);
        assert_says(&run.stdout, &[&format!("({shape} shape)")]);
        let composed = fs::read(bench.path("out.wasm")).unwrap();
        let imports = imports(&composed);
        let of_lattice = imports.iter().filter(|name| name.starts_with("wrpc:"));
        assert_eq!(of_lattice.collect::<Vec<_>>(), [LATTICE], "{shape}");
    }
}
