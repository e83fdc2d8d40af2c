//! How long it takes from the process's start to the first answer.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::measure::median;
use crate::setup::{BenchSetup, caller};

const STARTS: usize = 9;

/// Prints the median over some starts, with one link in the host's data.
pub(crate) async fn print(setup: &BenchSetup) -> Result<()> {
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
    println!(
        "| to the first answer of any kind | {:.1} |",
        median(&ready)
    );
    println!(
        "| to the first get-many over a link | {:.1} |",
        median(&answered)
    );
    Ok(())
}
