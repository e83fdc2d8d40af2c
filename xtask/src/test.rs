//! `cargo xtask test`: all tests, and one closing line that sums them up.

use std::env;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;

use anyhow::Result;

use crate::build::{ADAPTERS_VARIABLE, PACKAGES};
use crate::cargo::cargo;
use crate::cargo_test::cargo_test;
use crate::components::adapters;
use crate::doc_test_server::DocTestServer;
use crate::summary::Summary;
use crate::{host, setup};

/// How many tests of a binary run at once.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// Sets up, runs the tests and prints `N passed, N failed` as the last line.
///
/// It fails if a test fails, if cargo does, or if no test ran. With arguments, which choose among
/// the ordinary tests, those on a real host are left out.
pub(crate) fn command(args: &[String]) -> Result<ExitCode> {
    setup::nats_servers()?;
    let adapters = adapters()?;
    let mut summary = Summary::default();
    let mut command = cargo();
    command.env(ADAPTERS_VARIABLE, adapters);
    command.args(arguments(args));
    if env::var_os(TEST_THREADS).is_none() {
        // Half of their time, tests wait for servers.
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        command.env(TEST_THREADS, (2 * cores).to_string());
    }
    let doc_test_server = DocTestServer::start()?;
    doc_test_server.announce_to(&mut command);
    cargo_test(command, &mut summary)?;
    if args.is_empty()
        && let Err(error) = host::test(&[], &mut summary)
    {
        // What was counted before is still to be said.
        println!("error: {error:#}");
        summary.failed += 1;
    }
    Ok(summary.close())
}

/// The arguments of cargo: ours, unless the person's own say otherwise, and then theirs.
fn arguments(args: &[String]) -> Vec<String> {
    let for_cargo = || args.iter().take_while(|arg| *arg != "--");
    let given = |name: &str| for_cargo().any(|arg| arg == name);
    let selects = |arg: &String| {
        arg.starts_with("-p") || arg.starts_with("--package") || arg == "--workspace"
    };

    let mut all = vec!["test".to_owned()];
    if !for_cargo().any(selects) {
        all.extend(PACKAGES.map(str::to_owned));
    }
    // All binaries are run to the end: a sum over the first few would say little.
    for ours in ["--locked", "--no-fail-fast"] {
        if !given(ours) {
            all.push(ours.to_owned());
        }
    }
    all.extend_from_slice(args);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments_of(args: &str) -> String {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        arguments(&args).join(" ")
    }

    #[test]
    fn passes_arguments_on_and_gives_no_flag_twice() {
        let packages = PACKAGES.join(" ");
        assert_eq!(
            arguments_of("name -- --nocapture"),
            format!("test {packages} --locked --no-fail-fast name -- --nocapture")
        );
        assert_eq!(
            arguments_of("-p xtask --locked"),
            "test --no-fail-fast -p xtask --locked"
        );
        assert_eq!(
            arguments_of("-- -p"),
            format!("test {packages} --locked --no-fail-fast -- -p")
        );
    }
}
