//! Packs the provider into the archive that a host starts: `pack BINARY ARCHIVE`.

use std::path::Path;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [provider, archive] = args.as_slice() else {
        bail!("usage: pack BINARY ARCHIVE");
    };
    e2e::pack(Path::new(provider), Path::new(archive)).await
}
