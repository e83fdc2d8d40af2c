//! The adapters, which are built into the program that composes components.

use std::path::PathBuf;
use std::process::Command;

/// For each shape of `wasi:keyvalue@0.1.0` the adapter's package, and the variable that names its file
/// to the program's build.
pub(crate) const PACKAGES: [(&str, &str); 2] = [
    ("eventual-batch-adapter", "EVENTUAL_BATCH_ADAPTER"),
    (
        "eventual-batch-adapter-older",
        "EVENTUAL_BATCH_ADAPTER_OLDER",
    ),
];

/// The files of the adapters, as [`PACKAGES`] lists them.
pub(crate) struct Adapters(pub(crate) [PathBuf; PACKAGES.len()]);

impl Adapters {
    /// Names them to a build. All builds name the same ones: other values compile the program anew.
    pub(crate) fn announce_to(&self, command: &mut Command) {
        let Self(files) = self;
        let variables = PACKAGES.map(|(_, variable)| variable);
        command.envs(variables.into_iter().zip(files));
    }
}
