//! Components as Golem's SDKs make them: the older shape, with other streams than this project's WIT.

use std::fs;

use eventual_batch::Shape;
use wit_parser::Resolve;

use crate::bench::{Bench, assert_says};
use crate::components::{WIT, adapter, assert_answered, encode, functions, parse, with_functions};

const SHOP: &str = "package test:shop@1.0.0;
                    world shop {
                        import wasi:keyvalue/eventual@0.1.0;
                        import wasi:keyvalue/eventual-batch@0.1.0;
                    }";

/// The package `wasi:keyvalue@0.1.0` in the older shape, changed.
fn older_shape(change: impl Fn(String) -> String) -> Resolve {
    let read = |path: &str| fs::read_to_string(format!("{WIT}/{path}/package.wit")).unwrap();
    let mut resolve = Resolve::default();
    let streams = change(read("deps/wasi-io-0.2.0"));
    resolve.push_str("streams.wit", &streams).unwrap();
    let keyvalue = change(read("older-shape/wasi-keyvalue-0.1.0"));
    resolve.push_str("keyvalue.wit", &keyvalue).unwrap();
    resolve
}

/// With the streams of WASI 0.2.3, as in the crate golem-rust 2.
fn of_golem_2() -> Resolve {
    older_shape(|wit| {
        wit.replace("wasi:io@0.2.0", "wasi:io@0.2.3")
            .replace("streams@0.2.0", "streams@0.2.3")
    })
}

/// With the streams of the component model itself, as in the crate golem-rust 3.
fn of_golem_3() -> Resolve {
    older_shape(|wit| {
        wit.replace(
            "write-body-async: func() -> result<outgoing-value-body-async, error>",
            "write-body-async: func(data: stream<u8>) -> result<_, error>",
        )
        .replace(
            "result<incoming-value-async-body, error>",
            "result<stream<u8>, error>",
        )
        .replace("type incoming-value-async-body = input-stream;", "")
        .replace("type outgoing-value-body-async = output-stream;", "")
    })
}

#[test]
fn a_component_that_calls_the_sync_functions_is_composed() {
    for resolve in [of_golem_2(), of_golem_3()] {
        let (resolve, world) = parse(resolve, SHOP);
        let called = with_functions(resolve.clone(), "types", |name| !name.contains("async"));
        let component = encode(&called, &resolve, world);
        let types = functions(&component, "wasi:keyvalue/types@0.1.0");
        assert!(
            types.contains(&"[method]incoming-value.incoming-value-consume-sync".to_owned()),
            "{types:?}"
        );
        let bench = Bench::new(&component);
        bench.write("adapter.wasm", &adapter(Shape::Older));
        let (composed, said) = bench.composed_and_said();
        assert_answered(&composed);
        assert_says(&said, &["(older shape)"]);
    }
}

#[test]
fn other_streams_of_wasi_fit() {
    let (resolve, world) = parse(of_golem_2(), SHOP);
    let bench = Bench::new(&encode(&resolve, &resolve, world));
    bench.write("adapter.wasm", &adapter(Shape::Older));
    assert_answered(&bench.composed());
}

#[test]
fn a_function_with_a_stream_of_the_component_model_is_refused_by_its_name() {
    let (resolve, world) = parse(of_golem_3(), SHOP);
    let bench = Bench::new(&encode(&resolve, &resolve, world));
    bench.write("adapter.wasm", &adapter(Shape::Older));
    let function = "`[method]outgoing-value.outgoing-value-write-body-async`";
    assert_says(&bench.refused(), &["is not the one", function]);
}
