//! The tables of a run, one after the other.

use anyhow::{Context as _, Result};

use crate::args::{BenchArgs, BenchCommand};
use crate::progress::PlannedRow;
use crate::recorder::FigureRecorder;
use crate::setup::BenchSetup;
use crate::{
    batches, callers, calls, components, keys, memory, network, pure, replica, single, start, watch,
};

/// Tables that are measured together.
#[derive(Clone, Copy)]
enum TableGroup {
    Batches,
    Keys,
    Single,
    Network,
    Callers,
    Replica,
    Watch,
    Process,
    Calls,
    Pure,
}

/// In this order they are measured.
const GROUPS: [TableGroup; 10] = [
    TableGroup::Batches,
    TableGroup::Keys,
    TableGroup::Single,
    TableGroup::Network,
    TableGroup::Callers,
    TableGroup::Replica,
    TableGroup::Watch,
    TableGroup::Process,
    TableGroup::Calls,
    TableGroup::Pure,
];

/// Which of them were asked for: all, or one.
fn chosen(args: &BenchArgs) -> Vec<TableGroup> {
    let Some(command) = &args.command else {
        return GROUPS.to_vec();
    };
    match command {
        BenchCommand::Batches { .. } => vec![TableGroup::Batches],
        BenchCommand::Keys => vec![TableGroup::Keys],
        BenchCommand::Single => vec![TableGroup::Single],
        BenchCommand::Network => vec![TableGroup::Network],
        BenchCommand::Callers => vec![TableGroup::Callers],
        BenchCommand::Replica => vec![TableGroup::Replica],
        BenchCommand::Watch => vec![TableGroup::Watch],
        BenchCommand::Process => vec![TableGroup::Process],
        BenchCommand::Calls { .. } => vec![TableGroup::Calls],
        BenchCommand::Pure => vec![TableGroup::Pure],
        // These need another setup, or measure nothing.
        BenchCommand::Components { .. }
        | BenchCommand::Compare { .. }
        | BenchCommand::Charts { .. }
        | BenchCommand::Floor { .. }
        | BenchCommand::Load { .. } => Vec::new(),
    }
}

/// The part of a batch's name that its row must have.
fn rows(args: &BenchArgs) -> &str {
    match &args.command {
        Some(BenchCommand::Batches { rows }) => rows,
        _ => "",
    }
}

/// The rows that will be measured, in order.
pub(crate) fn plan(args: &BenchArgs) -> Result<Vec<PlannedRow>> {
    let time = args.time()?;
    if let Some(BenchCommand::Components { beside, .. }) = &args.command {
        return Ok(components::plan(beside.len(), time));
    }
    let rows_of = |group| match group {
        TableGroup::Batches => batches::plan(rows(args), time),
        TableGroup::Keys => keys::plan(time),
        TableGroup::Single => single::plan(args.peer.is_some(), time),
        TableGroup::Network => network::plan(time),
        TableGroup::Callers => callers::plan(time),
        TableGroup::Replica => replica::plan(time),
        TableGroup::Watch => watch::plan(time),
        TableGroup::Process => [memory::plan(), start::plan()]
            .into_iter()
            .flatten()
            .collect(),
        TableGroup::Calls => calls::plan(args.calls()),
        TableGroup::Pure => pure::plan(time),
    };
    Ok(chosen(args).into_iter().flat_map(rows_of).collect())
}

/// Measures them, and prints each as soon as it is measured.
pub(crate) async fn measure(args: &BenchArgs, recorder: &mut FigureRecorder) -> Result<()> {
    let time = args.time()?;
    if let Some(BenchCommand::Components {
        program,
        component,
        beside,
        server,
    }) = &args.command
    {
        let programs = (program.as_path(), component.as_path());
        let server = server.as_deref();
        return components::print(&args.nats, server, programs, beside, time, recorder).await;
    }
    let provider = args.provider.as_ref();
    let provider =
        provider.context("name the provider's binary, or run this as `cargo xtask bench`")?;
    let setup = &BenchSetup::set(&args.nats, provider, args.peer.as_ref()).await?;
    println!("nats-server {}; medians in milliseconds", args.nats);
    for group in chosen(args) {
        match group {
            TableGroup::Batches => batches::print(setup, rows(args), time, recorder).await?,
            TableGroup::Keys => keys::print(setup, time, recorder).await?,
            TableGroup::Single => {
                single::print(setup, time, recorder).await?;
                single::print_pages(setup, time, recorder).await?;
            }
            TableGroup::Network => {
                network::print(setup, time, recorder).await?;
                network::print_connections(setup, time, recorder).await?;
            }
            TableGroup::Callers => {
                callers::print_throughput(setup, time, recorder).await?;
                callers::print_fairness(setup, time, recorder).await?;
            }
            TableGroup::Replica => replica::print(setup, time, recorder).await?,
            TableGroup::Watch => watch::print(setup, time, recorder).await?,
            TableGroup::Process => {
                memory::print(setup, recorder).await?;
                start::print(setup, recorder).await?;
            }
            TableGroup::Calls => calls::print(setup, args.calls(), recorder).await?,
            TableGroup::Pure => {
                recorder.begin_row("by criterion");
                pure::print(time);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn planned(args: &[&str]) -> Result<Vec<PlannedRow>> {
        let args = ["bench"].iter().chain(args);
        plan(&BenchArgs::try_parse_from(args)?)
    }

    #[test]
    fn only_the_rows_that_were_asked_for_are_planned() -> Result<()> {
        assert_eq!(planned(&["batches", "set-many 1000 "])?.len(), 2);
        assert_eq!(planned(&["keys"])?.len(), 2);
        let all = planned(&[])?;
        assert!(all.len() > planned(&["batches"])?.len());
        Ok(())
    }

    #[test]
    fn a_quick_run_is_shorter() -> Result<()> {
        let total = |rows: Vec<PlannedRow>| -> std::time::Duration {
            rows.iter().map(|row| row.time).sum()
        };
        let (quick, whole) = (total(planned(&["--quick"])?), total(planned(&[])?));
        assert!(quick < whole / 3, "{quick:?} and {whole:?}");
        Ok(())
    }
}
