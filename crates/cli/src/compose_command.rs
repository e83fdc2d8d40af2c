//! `eventual-batch compose`.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use eventual_batch::{Composed, Shape, compose, shape};

/// The adapters of both shapes, if the build was given them: see `build.rs`.
const BUILT_IN_ADAPTER: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/eventual_batch_adapter.wasm"));
const BUILT_IN_OLDER: &[u8] = include_bytes!(concat!(
    env!("OUT_DIR"),
    "/eventual_batch_adapter_older.wasm"
));

/// Composes the adapter into a component that imports wasi:keyvalue/eventual-batch@0.1.0, or eventual
/// or atomic of that package, so that it runs on a wasmCloud 1.x host.
#[derive(Args)]
pub(crate) struct ComposeArgs {
    /// The component to compose, as it comes out of its build.
    component: PathBuf,
    /// Another adapter than the built-in ones, of which the component's own shape is taken.
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// Where to write the composed component.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(args: &ComposeArgs) -> ExitCode {
    match compose_files(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compose_files(args: &ComposeArgs) -> Result<()> {
    let component = read(&args.component)?;
    let adapter = match &args.adapter {
        Some(path) => Cow::Owned(read(path)?),
        None => Cow::Borrowed(built_in_for(&component)),
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
    fs::write(&args.output, &composed.bytes)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    println!("{}: {}", args.output.display(), summary(&composed));
    Ok(())
}

/// The adapter of the shape that the component asks for. What cannot be read is told of later.
fn built_in_for(component: &[u8]) -> &'static [u8] {
    match shape(component) {
        Ok(Some(Shape::Older)) => BUILT_IN_OLDER,
        _ => BUILT_IN_ADAPTER,
    }
}

/// What was done, and which link the component now needs.
fn summary(composed: &Composed) -> String {
    let imports = package_and("wrpc:keyvalue/", &composed.linked);
    let answered = package_and("wasi:keyvalue/", &composed.answered);
    let shape = match composed.shape {
        Some(shape) => format!("{shape} shape"),
        None => "either shape".to_owned(),
    };
    let interfaces = composed.linked.join(" --interface ");
    format!(
        "imports {imports} in place of {answered} ({shape}); put its link by `wash link put COMPONENT PROVIDER wrpc keyvalue --interface {interfaces} --target-config \
         CONFIG`"
    )
}

/// One interface by its name, several in braces.
fn package_and(package: &str, interfaces: &[&str]) -> String {
    match interfaces {
        [] => format!("{package}types"),
        [one] => format!("{package}{one}"),
        several => format!("{package}{{{}}}", several.join(", ")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
