//! Packs the provider's binaries into the signed archive of a release:
//! `pack ARCHIVE TARGET=BINARY...`.
//!
//! A target is named as a wasmCloud host names its own: `x86_64-linux`. The archive is for all targets
//! that are given.

mod signing;

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use provider_archive::ProviderArchive;
use signing::SigningKeys;

/// As `wasmcloud.toml` has them, for `wash build`.
const NAME: &str = "Eventual Batch NATS";
const VENDOR: &str = "eventual-batch-nats";

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some((archive, binaries)) = args.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        bail!("usage: pack ARCHIVE TARGET=BINARY...");
    };
    let keys = SigningKeys::from_env()?;
    let archive = Path::new(archive);
    write(archive, binaries, &keys).await?;
    let subject = check(archive, binaries.len()).await?;
    println!("subject of the provider's archive: {subject}");
    Ok(())
}

async fn write(archive: &Path, binaries: &[String], keys: &SigningKeys) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut par = ProviderArchive::new(NAME, VENDOR, None, Some(version));
    for argument in binaries {
        let (target, binary) = argument
            .split_once('=')
            .with_context(|| format!("{argument:?} is not of the form TARGET=BINARY"))?;
        let bytes = fs::read(binary).with_context(|| format!("cannot read {binary}"))?;
        par.add_library(target, &bytes)
            .map_err(|error| anyhow!("cannot pack {binary}: {error}"))?;
    }
    par.write(archive, &keys.issuer, &keys.subject, true)
        .await
        .map_err(|error| anyhow!("cannot write {}: {error}", archive.display()))
}

/// Reads the archive as a host does, which compares each binary with its signed digest. Returns the
/// archive's subject.
async fn check(archive: &Path, binaries: usize) -> Result<String> {
    let par = ProviderArchive::try_load_file(archive)
        .await
        .map_err(|error| anyhow!("{} cannot be read again: {error}", archive.display()))?;
    ensure!(
        par.targets().len() == binaries,
        "{} has the binaries of {:?} and not the {binaries} that were given",
        archive.display(),
        par.targets()
    );
    let claims = par.claims().context("the archive has no claims")?;
    Ok(claims.subject)
}
