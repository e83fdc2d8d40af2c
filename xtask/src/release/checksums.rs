//! The file that `sha256sum --check` reads.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// One line for each file in this directory, by name.
pub(crate) fn of_files_in(directory: &Path) -> Result<String> {
    let context = || format!("cannot read {}", directory.display());
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        let path = entry.path();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        lines.push((entry.file_name().to_string_lossy().into_owned(), bytes));
    }
    lines.sort();
    let line = |(name, bytes): &(String, Vec<u8>)| line(name, bytes);
    Ok(lines.iter().map(line).collect())
}

fn line(name: &str, bytes: &[u8]) -> String {
    format!("{:x}  {name}\n", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_sha256sum_writes_it() {
        // The digest of "abc" in FIPS 180-4.
        assert_eq!(
            line("a.txt", b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.txt\n"
        );
    }
}
