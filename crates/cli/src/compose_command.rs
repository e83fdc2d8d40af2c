//! `eventual-batch compose`.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use eventual_batch::compose;

/// The adapter, if the build was given one: see `build.rs`.
const BUILT_IN_ADAPTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adapter.wasm"));

/// Composes the adapter into a component that imports wasi:keyvalue/eventual-batch@0.1.0, so that it
/// runs on a wasmCloud 1.x host.
#[derive(Args)]
pub(crate) struct ComposeArgs {
    /// The component to compose, as it comes out of its build.
    component: PathBuf,
    /// Another adapter than the built-in one.
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// Where to write the composed component.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(args: &ComposeArgs) -> Result<()> {
    let component = read(&args.component)?;
    let adapter = match &args.adapter {
        Some(path) => Cow::Owned(read(path)?),
        None => Cow::Borrowed(BUILT_IN_ADAPTER),
    };
    ensure!(
        !adapter.is_empty(),
        "this build of eventual-batch has no adapter in it; name the file of one with --adapter"
    );
    let composed = compose(&component, &adapter).map_err(|error| {
        let blamed = match &args.adapter {
            Some(path) if error.is_of_adapter() => path.display().to_string(),
            None if error.is_of_adapter() => "the built-in adapter".to_owned(),
            _ => args.component.display().to_string(),
        };
        anyhow::Error::new(error).context(blamed)
    })?;
    // A second run on its own output would find nothing to do and say so; better not to lose what
    // was built.
    let inputs = [Some(&args.component), args.adapter.as_ref()];
    ensure!(
        !inputs
            .into_iter()
            .flatten()
            .any(|input| same_file(input, &args.output)),
        "{}: is one of the inputs; name another file for the output",
        args.output.display()
    );
    fs::write(&args.output, composed)
        .with_context(|| format!("cannot write {}", args.output.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
