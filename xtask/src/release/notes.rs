//! Release notes, cut out of the changelog.

use anyhow::{Context as _, Result, ensure};

/// The text of a version's section, without its heading.
pub(crate) fn of_version(changelog: &str, version: &str) -> Result<String> {
    let mut lines = changelog.lines();
    lines
        .by_ref()
        .find(|line| heading(line) == Some(version))
        .with_context(|| {
            format!(
                "CHANGELOG.md has no section for {version}: rename `## [Unreleased]` to \
                 `## [{version}] - YYYY-MM-DD`, put an empty `## [Unreleased]` above it, and commit \
                 that"
            )
        })?;
    let section: Vec<&str> = lines.take_while(|line| heading(line).is_none()).collect();
    let section = section.join("\n");
    let section = section.trim();
    ensure!(
        !section.is_empty(),
        "the section for {version} in CHANGELOG.md is empty: say in it what users can see of the \
         release"
    );
    Ok(format!("{section}\n"))
}

/// The version in a heading `## [1.2.3] - 2026-01-31`.
fn heading(line: &str) -> Option<&str> {
    let (name, _date) = line.strip_prefix("## [")?.split_once(']')?;
    Some(name)
}

/// Makes links to files of the repository absolute, for where the notes stand alone.
pub(crate) fn with_absolute_links(notes: &str, url: &str) -> String {
    const LINK: &str = "](";
    let mut parts = notes.split(LINK);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(LINK);
        let link = part.split(')').next().unwrap_or_default();
        if !link.starts_with('#') && !link.contains(':') {
            text.push_str(url.trim_end_matches('/'));
            text.push('/');
        }
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "\
# Changelog

## [Unreleased]

- What comes.

## [1.10.0] - 2026-02-01

### Added

- A [thing](docs/thing.md#part).

## [1.1.0] - 2026-01-01

## [1.0.0] - 2025-01-01
- The first.
";

    #[test]
    fn the_section_of_a_version_ends_at_the_next() -> Result<()> {
        let section = of_version(CHANGELOG, "1.10.0")?;
        assert_eq!(section, "### Added\n\n- A [thing](docs/thing.md#part).\n");
        assert_eq!(of_version(CHANGELOG, "1.0.0")?, "- The first.\n");
        Ok(())
    }

    #[test]
    fn what_to_do_is_said_if_there_are_no_notes() {
        let says = |version, words: &str| {
            let error = of_version(CHANGELOG, version).err();
            error.is_some_and(|error| error.to_string().contains(words))
        };
        assert!(says("2.0.0", "`## [2.0.0] - YYYY-MM-DD`"));
        assert!(says("1", "no section for 1:"));
        assert!(says("1.1.0", "is empty"));
    }

    #[test]
    fn only_links_to_files_become_absolute() {
        let notes = "a [b](docs/c.md#d), [e](https://f.example/g) and [h](#i)\n- [j](K.md)";
        assert_eq!(
            with_absolute_links(notes, "https://r.example/v1/"),
            "a [b](https://r.example/v1/docs/c.md#d), [e](https://f.example/g) and [h](#i)\n\
             - [j](https://r.example/v1/K.md)"
        );
    }
}
