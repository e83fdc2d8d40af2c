//! How long it takes from the process's start to the first answer.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figure::Figure;
use crate::progress::{PlannedRow, planned};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, caller};

const STARTS: usize = 9;

const TABLE: &str = "start";

/// The row, and how long it takes.
pub(crate) fn plan() -> Vec<PlannedRow> {
    planned(TABLE, [Duration::from_secs(1)])
}

/// Prints the median over some starts, with one link in the host's data.
pub(crate) async fn print(setup: &BenchSetup, recorder: &mut FigureRecorder) -> Result<()> {
    recorder.begin_row(&format!("{STARTS} starts"));
    let bucket = "start";
    setup.bucket(bucket).await?;
    let (mut ready, mut answered): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let begun = Instant::now();
        let mut provider = setup.another(bucket).await?;
        ready.push(begun.elapsed());
        caller(&provider, "default")
            .batch()
            .get_many("default", &["key"])
            .await??;
        answered.push(begun.elapsed());
        provider.kill()?;
    }
    println!("\n| from the process's start | ms |");
    println!("| --- | ---: |");
    let figures = [
        Figure::median("to the first answer of any kind", &ready),
        Figure::median("to the first get-many over a link", &answered),
    ];
    for figure in &figures {
        println!("| {} | {:.1} |", figure.name, figure.value);
    }
    recorder.keep(TABLE, FigureRow::new("start").figures(figures));
    Ok(())
}
