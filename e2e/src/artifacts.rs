//! What has been built before: the provider and the components.

use std::env::{self, consts};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use nkeys::KeyPair;
use provider_archive::ProviderArchive;

/// The variable that names the provider's archive.
const PROVIDER: &str = "E2E_PROVIDER";

/// The variable that names the folder with the components.
const COMPONENTS: &str = "E2E_COMPONENTS";

/// The variable that names the program `eventual-batch`.
const EVENTUAL_BATCH: &str = "E2E_EVENTUAL_BATCH";

/// The provider's archive.
///
/// # Errors
///
/// If it has not been made; the error names the command that makes it.
pub fn provider_archive() -> Result<PathBuf> {
    existing(path(PROVIDER, "components/provider.par.gz"))
}

/// A component by its file's name, without `.wasm`.
///
/// # Errors
///
/// If it has not been built; the error names the command that builds it.
pub fn component(name: &str) -> Result<PathBuf> {
    let components = path(COMPONENTS, "components");
    existing(components.join(name).with_extension("wasm"))
}

/// The program `eventual-batch`.
///
/// # Errors
///
/// If it has not been built; the error names the command that builds it.
pub fn eventual_batch() -> Result<PathBuf> {
    existing(path(EVENTUAL_BATCH, "debug/eventual-batch"))
}

/// The Python example, not composed with anything.
///
/// # Errors
///
/// If it has not been built; the error names the command that builds it.
pub fn plain_python_batch() -> Result<PathBuf> {
    let components = path(COMPONENTS, "components");
    existing(components.join("build/python_batch.wasm"))
}

/// What the variable says, else where `cargo xtask` puts it by itself.
fn path(variable: &str, default: &str) -> PathBuf {
    let target = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    env::var_os(variable).map_or_else(|| target().join(default), PathBuf::from)
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.is_file(),
        "{} is missing: `cargo xtask e2e` makes it",
        path.display()
    );
    Ok(path)
}

/// The address by which a host loads a file.
pub(crate) fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// The subject of a provider's archive: as whom a secrets backend knows the provider.
///
/// # Errors
///
/// If the archive cannot be read, or is not signed.
pub(crate) async fn subject(archive: &Path) -> Result<String> {
    let target = format!("{}-{}", consts::ARCH, consts::OS);
    let par = ProviderArchive::try_load_target_from_file(archive, &target)
        .await
        .map_err(|error| anyhow!("cannot read {}: {error}", archive.display()))?;
    let claims = par.claims().context("the archive is not signed")?;
    Ok(claims.subject)
}

/// Packs a provider's binary into a signed archive for this machine, as `wash build` does.
///
/// # Errors
///
/// If a file cannot be read or written.
pub async fn pack(provider: &Path, archive: &Path) -> Result<()> {
    let binary =
        fs::read(provider).with_context(|| format!("cannot read {}", provider.display()))?;
    let mut par = ProviderArchive::new("Eventual Batch NATS", "eventual-batch-nats", None, None);
    par.add_library(&format!("{}-{}", consts::ARCH, consts::OS), &binary)
        .map_err(|error| anyhow!("cannot pack {}: {error}", provider.display()))?;
    let (issuer, subject) = (KeyPair::new_account(), KeyPair::new_service());
    par.write(archive, &issuer, &subject, true)
        .await
        .map_err(|error| anyhow!("cannot write {}: {error}", archive.display()))
}
