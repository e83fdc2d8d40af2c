//! What a component sees: the tests that a wasmCloud host runs too.

use std::path::PathBuf;

use anyhow::{Result, bail};
use component_tests::{Native, NativePrograms, run_all_on};

struct BuiltByCargo;

impl NativePrograms for BuiltByCargo {
    fn eventual_batch() -> Result<PathBuf> {
        Ok(env!("CARGO_BIN_EXE_eventual-batch").into())
    }

    fn component(name: &str) -> Result<PathBuf> {
        match name {
            "http-batch" => testkit::component("examples/http-batch", "http_batch"),
            "draft-batch" => testkit::component("e2e/components", "draft_batch"),
            "single-keys" => testkit::component("e2e/components", "single_keys"),
            "single-keys-older" => testkit::component("e2e/components", "single_keys_older"),
            other => bail!("{other} is not built by cargo"),
        }
    }
}

run_all_on!(Native<BuiltByCargo>);
