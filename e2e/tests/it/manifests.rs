//! The manifests that users copy are ones that wadm takes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use wadm_types::validation::validate_manifest_bytes;

pub(crate) const ONE_BUCKET: &str = "wadm.yaml";
pub(crate) const TWO_BUCKETS: &str = "wadm-two-buckets.yaml";
const MANIFESTS: [&str; 2] = [ONE_BUCKET, TWO_BUCKETS];

pub(crate) fn manifest(file: &str) -> Result<String> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    fs::read_to_string(examples.join("http-batch").join(file)).context(file.to_owned())
}

#[tokio::test]
async fn wadm_finds_no_fault_with_the_manifests() -> Result<()> {
    for file in MANIFESTS {
        let (_, mut failures) = validate_manifest_bytes(manifest(file)?).await?;
        // wadm warns of each interface that is not in its own list.
        failures.retain(|failure| !failure.msg.contains("[wrpc:keyvalue/eventual-batch]"));
        ensure!(failures.is_empty(), "{file}: {failures:?}");
    }
    Ok(())
}

#[tokio::test]
async fn wadm_does_find_faults() -> Result<()> {
    for (right, wrong) in [
        ("name: eventual-batch-nats\n", "name: another\n"),
        ("interfaces: [incoming-handler]", "interfaces: [incoming]"),
    ] {
        let text = manifest(ONE_BUCKET)?;
        ensure!(text.contains(right), "{right} is not in it");
        let (_, failures) = validate_manifest_bytes(text.replacen(right, wrong, 1)).await?;
        ensure!(failures.len() > 1, "{wrong} is no fault");
    }
    Ok(())
}
