//! Clients, and the limit of open files.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::Method;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{LONG, ServeBuilder, misbehaving, server};

#[tokio::test]
async fn clients_leave_files_for_nats() -> Result<()> {
    let (mut nats, _) = server().await?;
    let url = nats.url();
    let served = ServeBuilder::new(&misbehaving()?)?
        .args(&["--bucket", "orders", "--nats", &url])
        .args(&["--request-timeout", "2s"])
        .ulimit("-n 100")
        .start()
        .await?;
    let mut client = served.connect().await?;
    let (_, text) = client.request(Method::GET, "/ok", "").await?;
    assert_eq!(text, "well-behaved");
    let mut idle = Vec::new();
    for _ in 0..150 {
        idle.push(TcpStream::connect(&served.address).await?);
    }
    nats.stop().await?;
    nats.start().await?;
    let works_again = async {
        while client.request(Method::GET, "/ok", "").await?.1 != "well-behaved" {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(LONG, works_again).await??;
    let log = served.log();
    assert!(!log.contains("cannot accept"), "{log}");
    assert!(log.contains("the limit of open files"), "{log}");
    Ok(())
}

#[tokio::test]
async fn the_soft_limit_is_raised() -> Result<()> {
    let (nats, _) = server().await?;
    let url = nats.url();
    let served = ServeBuilder::new(&misbehaving()?)?
        .args(&["--bucket", "orders", "--nats", &url])
        .ulimit("-S -n 100")
        .start()
        .await?;
    let (soft, hard) = open_files(served.pid())?;
    assert!(soft >= hard.min(4096), "{soft} of {hard}");
    Ok(())
}

/// The soft and the hard limit of a process.
fn open_files(pid: u32) -> Result<(u64, u64)> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .context("no limit of open files")?;
    let number = |text: &str| match text {
        "unlimited" => Ok(u64::MAX),
        text => text.parse(),
    };
    let mut numbers = line.split_whitespace().map(number);
    let mut next = || anyhow::Ok(numbers.next().context("no number")??);
    Ok((next()?, next()?))
}
