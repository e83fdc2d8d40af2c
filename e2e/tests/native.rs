//! A component that is not built by cargo, on `eventual-batch serve`. The others run there in the
//! tests of that program.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use component_tests::{Native, NativePrograms, run_on};

struct Python;

impl NativePrograms for Python {
    fn eventual_batch() -> Result<PathBuf> {
        e2e::eventual_batch()
    }

    fn component(name: &str) -> Result<PathBuf> {
        ensure!(name == "python-batch", "{name} is not in Python");
        e2e::plain_python_batch()
    }
}

run_on!(Native<Python>: values_make_the_round_trip_in_python);
