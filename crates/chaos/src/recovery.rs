//! How soon calls succeed again.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::setup::{BUCKET, Linked, Setup};

/// The wait fails after this time.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// A key that no writer uses.
const KEY: &str = "probe";

/// When each link has had a write and a read answered `ok`.
///
/// # Errors
/// If one has not within a minute.
pub async fn succeed(setup: &Setup) -> Result<Instant> {
    try_join_all(setup.links.iter().map(succeed_over)).await?;
    Ok(Instant::now())
}

async fn succeed_over(link: &Linked) -> Result<()> {
    let begun = Instant::now();
    let key = format!("{KEY}.{}", link.name);
    loop {
        let set = link.caller.set_many(BUCKET, &[(&key, "x")]).await?;
        let got = link.caller.get_many(BUCKET, &[&key]).await?;
        match set.and(got) {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > WAIT_LIMIT => {
                bail!("calls over {} do not succeed again: {error:?}", link.name)
            }
            Err(_) => {}
        }
    }
}
