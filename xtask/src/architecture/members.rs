//! Which packages `cargo build` and `cargo test` choose.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::cargo::metadata;
use crate::components::ADAPTERS;

/// One line for each package of the workspace that is neither built by default nor an adapter.
pub(super) fn breaches() -> Result<Vec<String>> {
    Ok(left_out(&metadata()?))
}

fn left_out(metadata: &Value) -> Vec<String> {
    let by_default: BTreeSet<&str> = (metadata["workspace_default_members"].as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    (metadata["packages"].as_array().into_iter().flatten())
        .filter_map(|package| package["name"].as_str().zip(package["id"].as_str()))
        .filter(|(name, _)| !ADAPTERS.contains(&name.replace('-', "_").as_str()))
        .filter(|(_, id)| !by_default.contains(id))
        .map(|(name, _)| format!("{name} is no default member of the workspace: nobody tests it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_a_forgotten_package() {
        let metadata = json!({
            "packages": [
                { "name": "engine", "id": "path+file:///w/engine#0.1.0" },
                { "name": "new", "id": "path+file:///w/new#0.1.0" },
                { "name": "eventual-batch-adapter", "id": "path+file:///w/adapter#0.1.0" },
            ],
            "workspace_default_members": ["path+file:///w/engine#0.1.0"],
        });
        assert_eq!(
            left_out(&metadata),
            ["new is no default member of the workspace: nobody tests it"]
        );
    }
}
