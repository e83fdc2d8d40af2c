//! One name for one thing: no two types of the workspace share a name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::files::rust_files;
use super::tokens::tokens;
use crate::cargo::workspace_root;

/// Where types are. Components are programs of their own, whose types have the names that their
/// bindings' examples give them.
const PLACES: [&str; 8] = [
    "src",
    "crates",
    "benches/src",
    "xtask/src",
    "tests",
    "e2e/src",
    "e2e/tests",
    "fuzz/src",
];

/// One line for each name that several types have.
pub(super) fn breaches() -> Result<Vec<String>> {
    let root = workspace_root();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for place in PLACES {
        for file in rust_files(&root.join(place))? {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let shown = file.strip_prefix(&root).unwrap_or(Path::new(place));
            for name in types(&text) {
                let files = places.entry(name).or_default();
                files.push(shown.display().to_string());
            }
        }
    }
    places.retain(|_, files| files.len() > 1);
    let line = |(name, files): (String, Vec<String>)| {
        format!("several types are named {name}: {}", files.join(", "))
    };
    Ok(places.into_iter().map(line).collect())
}

/// The names of the structs, enums, unions and traits that a file declares.
fn types(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    tokens
        .windows(3)
        .filter(|three| ["struct", "enum", "trait"].contains(&three[0]))
        // The word of a macro's matcher (`struct $name`) is no name.
        .filter(|three| three[1].starts_with(char::is_uppercase))
        .map(|three| three[1].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_names_of_types() {
        let text = "pub(crate) struct A<T>(T); enum B { C } trait D {} type E = A<B>; fn f() {}";
        assert_eq!(types(text), ["A", "B", "D"]);
    }
}
