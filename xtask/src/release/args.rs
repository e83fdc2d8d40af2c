//! The arguments of `cargo xtask release`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use super::linux_target::LinuxTarget;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReleaseArgs {
    /// Where the files go, if not below the target directory.
    pub(crate) out: Option<PathBuf>,
    pub(crate) targets: Vec<LinuxTarget>,
    /// The Git tag that the release is made for.
    pub(crate) tag: Option<String>,
    /// What relative links in the release notes are relative to.
    pub(crate) source_url: Option<String>,
}

impl ReleaseArgs {
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let mut parsed = Self {
            out: None,
            targets: LinuxTarget::ALL.to_vec(),
            tag: None,
            source_url: None,
        };
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let value = args.next().cloned();
            let value = value.with_context(|| format!("{option} needs a value after it"));
            match option.as_str() {
                "--out" => parsed.out = Some(value?.into()),
                "--target" => parsed.targets = LinuxTarget::parse(&value?)?,
                "--tag" => parsed.tag = Some(value?),
                "--source-url" => parsed.source_url = Some(value?),
                _ => bail!("{option:?} is no option of `release`: see `cargo xtask help`"),
            }
        }
        Ok(parsed)
    }

    /// Whether the tag is the one of this version.
    pub(crate) fn check_tag(&self, version: &str) -> Result<()> {
        let Some(tag) = &self.tag else {
            return Ok(());
        };
        ensure!(
            *tag == format!("v{version}"),
            "the tag {tag} is not v{version}, which the version in Cargo.toml asks for: set \
             `version` of [workspace.package] and of the workspace's crates below it, commit, and \
             tag that commit"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<ReleaseArgs> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        ReleaseArgs::parse(&args)
    }

    #[test]
    fn all_targets_are_built_unless_one_is_named() -> Result<()> {
        assert_eq!(parse("")?.targets, LinuxTarget::ALL);
        assert_eq!(parse("--target all")?.targets, LinuxTarget::ALL);
        let one = parse("--out dist --target aarch64")?;
        assert_eq!(one.targets, [LinuxTarget::Aarch64]);
        assert_eq!(one.out, Some("dist".into()));
        Ok(())
    }

    #[test]
    fn a_mistake_is_named() {
        for (args, named) in [
            ("--out", "--out needs a value"),
            ("--target arm", "x86_64, aarch64 or all"),
            ("dist", "\"dist\" is no option"),
        ] {
            let error = parse(args).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(error.contains(named), "{args}: {error:?}");
        }
    }

    #[test]
    fn a_tag_must_be_of_the_version() -> Result<()> {
        parse("--tag v1.2.3")?.check_tag("1.2.3")?;
        parse("")?.check_tag("1.2.3")?;
        for wrong in ["v1.2.4", "1.2.3", "v1.2.3-rc1"] {
            let args = parse(&format!("--tag {wrong}"))?;
            let error = args.check_tag("1.2.3").err().map(|error| error.to_string());
            assert!(
                error.is_some_and(|error| error.contains("is not v1.2.3,")),
                "{wrong}"
            );
        }
        Ok(())
    }
}
