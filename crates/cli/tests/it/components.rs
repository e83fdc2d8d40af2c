//! What a component sees: the tests that a wasmCloud host runs too.

use std::path::PathBuf;

use anyhow::{Result, bail};
use component_tests::{Native, NativePrograms, run_on};

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

run_on!(Native<BuiltByCargo>:
    values_make_the_round_trip,
    a_link_by_another_name_reaches_its_own_bucket,
    errors_reach_the_component_which_lives_on,
    fifty_requests_at_once_are_answered_each_with_its_own,
    nats_may_stop_and_start,
    a_component_of_the_draft_interface_is_served_too,
    single_keys_and_counters,
    single_keys_and_counters_of_the_older_shape,
);
