//! The machines that a release has programs for.

use anyhow::{Result, bail};

/// The oldest C library that the programs run with. RHEL 8, Debian 10 and Ubuntu 20.04 have it or a
/// newer one.
const GLIBC: &str = "2.28";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinuxTarget {
    X86_64,
    Aarch64,
}

impl LinuxTarget {
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// What the argument `--target` means.
    pub(crate) fn parse(word: &str) -> Result<Vec<Self>> {
        Ok(match word {
            "x86_64" => vec![Self::X86_64],
            "aarch64" => vec![Self::Aarch64],
            "all" => Self::ALL.to_vec(),
            _ => bail!("{word:?} is no target: there are x86_64, aarch64 or all"),
        })
    }

    /// Rust's name.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The same with the C library's version, as cargo-zigbuild wants it.
    pub(crate) fn triple_with_glibc(self) -> String {
        format!("{}.{GLIBC}", self.triple())
    }

    /// The name that a wasmCloud host on such a machine looks for in an archive.
    pub(crate) fn of_host(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux",
            Self::Aarch64 => "aarch64-linux",
        }
    }

    /// A file's name, without its extension.
    pub(crate) fn name_of(self, package: &str, version: &str) -> String {
        format!("{package}-{version}-{}", self.of_host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_package_version_and_machine() {
        let [x86_64, aarch64] = LinuxTarget::ALL;
        assert_eq!(x86_64.name_of("tool", "1.2.3"), "tool-1.2.3-x86_64-linux");
        assert_eq!(aarch64.name_of("tool", "1.2.3"), "tool-1.2.3-aarch64-linux");
        assert_eq!(
            aarch64.triple_with_glibc(),
            "aarch64-unknown-linux-gnu.2.28"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_host_finds_its_own_name() {
        use std::env::consts::{ARCH, OS};
        let own = format!("{ARCH}-{OS}");
        let known = LinuxTarget::ALL.map(LinuxTarget::of_host);
        assert!(known.contains(&own.as_str()), "{own}");
    }
}
