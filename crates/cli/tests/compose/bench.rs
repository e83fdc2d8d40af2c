//! A directory in which the command runs, and what it says there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use eventual_batch::Shape;
use tempfile::TempDir;

use crate::components::adapter;

/// A directory with a component and the adapter, where the command runs.
pub(crate) struct Bench {
    directory: TempDir,
}

pub(crate) struct ComposeRun {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new(component: &[u8]) -> Self {
        let bench = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        bench.write("component.wasm", component);
        bench.write("adapter.wasm", &adapter(Shape::Newer));
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> ComposeRun {
        let output = Command::new(env!("CARGO_BIN_EXE_eventual-batch"))
            .arg("compose")
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        ComposeRun {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn run_into(&self, output: &str) -> ComposeRun {
        self.run(&["--adapter", "adapter.wasm", "component.wasm", "-o", output])
    }

    /// What comes out.
    pub(crate) fn composed(&self) -> Vec<u8> {
        let (composed, _) = self.composed_and_said();
        composed
    }

    /// What comes out, and the line that tells of it.
    pub(crate) fn composed_and_said(&self) -> (Vec<u8>, String) {
        let run = self.run_into("out.wasm");
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(run.stderr, "");
        let line = run.stdout.strip_suffix('\n').unwrap().to_owned();
        assert!(line.starts_with("out.wasm: "), "{line}");
        assert!(!line.contains('\n'), "more than one line: {line}");
        (fs::read(self.path("out.wasm")).unwrap(), line)
    }

    /// What the command says, where it must not write anything.
    pub(crate) fn refused(&self) -> String {
        self.refused_into("out.wasm")
    }

    pub(crate) fn refused_into(&self, output: &str) -> String {
        let before = self.files();
        let run = self.run_into(output);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert_eq!(run.stdout, "");
        assert!(self.files() == before, "wrote, though: {}", run.stderr);
        assert_readable(&run.stderr);
        run.stderr
    }

    /// Every file with its bytes.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }
}

/// One line, and nothing in it that only a programmer of the command could read.
pub(crate) fn assert_readable(message: &str) {
    let line = message.strip_suffix('\n').unwrap_or(message);
    assert!(line.starts_with("error: "), "{message}");
    assert!(!line.contains('\n'), "more than one line: {message}");
    for noise in [
        "panicked",
        "Error",
        "Some(",
        "None",
        "\\",
        "{",
        "::",
        "instantiation",
    ] {
        assert!(!line.contains(noise), "{noise:?} in: {message}");
    }
}

pub(crate) fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}
