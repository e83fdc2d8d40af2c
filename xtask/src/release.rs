//! `cargo xtask release`: the files that a release ships.

mod args;
mod checksums;
mod linux_target;
mod notes;
mod programs;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::build::{self, CLI, PROVIDER};
use crate::cargo::{cargo, target_dir, workspace_root};
use crate::components::{ADAPTERS, adapters, copy, run};
use args::ReleaseArgs;
use linux_target::LinuxTarget;

/// The workspace's version, which all that is released bears.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const PACK: &str = "pack";
const NOTES: &str = "RELEASE_NOTES.md";
const CHECKSUMS: &str = "SHA256SUMS";

/// Makes all files in a directory beside the one that is asked for, and renames it at the end. So
/// nobody ever finds half of a release.
pub(crate) fn command(args: &[String]) -> Result<()> {
    let args = ReleaseArgs::parse(args)?;
    let begun = Instant::now();
    // What a person can get wrong comes before what takes long.
    args.check_tag(VERSION)?;
    let notes = release_notes(args.source_url.as_deref())?;
    let out = match args.out {
        Some(out) => {
            std::path::absolute(&out).with_context(|| format!("{} is no path", out.display()))?
        }
        None => target_dir().join("dist"),
    };
    let unfinished = begin(&out)?;
    write(&unfinished.join(NOTES), &notes)?;

    println!("1/4 the adapters");
    let adapters = adapters()?;
    for adapter in ADAPTERS {
        let file = Path::new(adapter).with_extension("wasm");
        copy(&adapters.join(&file), &unfinished.join(&file))?;
    }
    println!("2/4 the programs, optimized, for each target: ten minutes or more each on two cores");
    let built = programs::build(&args.targets, &adapters)?;
    for (target, programs) in &built {
        program_archive(*target, &programs.executable(CLI)?, &unfinished)?;
    }
    println!("3/4 the provider's archive");
    let mut binaries = Vec::new();
    for (target, programs) in &built {
        binaries.push((*target, programs.executable(PROVIDER)?));
    }
    provider_archive(&binaries, &unfinished)?;
    println!("4/4 the bills of materials");
    sbom::write(&args.targets, VERSION, &unfinished)?;

    let sums = checksums::of_files_in(&unfinished)?;
    write(&unfinished.join(CHECKSUMS), &sums)?;
    fs::rename(&unfinished, &out).with_context(|| {
        format!(
            "cannot rename {} to {}",
            unfinished.display(),
            out.display()
        )
    })?;
    print!("{sums}");
    println!(
        "release {VERSION}: {}, in {:.0} s",
        out.display(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn release_notes(source_url: Option<&str>) -> Result<String> {
    let path = workspace_root().join("CHANGELOG.md");
    let changelog =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let notes = notes::of_version(&changelog, VERSION)?;
    Ok(match source_url {
        Some(url) => notes::with_absolute_links(&notes, url),
        None => notes,
    })
}

/// The empty directory to work in, beside `out`.
fn begin(out: &Path) -> Result<PathBuf> {
    let name = out
        .file_name()
        .with_context(|| format!("{} is no directory to put files into", out.display()))?;
    if out.exists() {
        // Removes an empty directory only.
        fs::remove_dir(out).with_context(|| {
            format!(
                "{} is not empty: remove it, or name another directory with --out",
                out.display()
            )
        })?;
    }
    let mut unfinished = name.to_owned();
    unfinished.push(".unfinished");
    let unfinished = out.with_file_name(unfinished);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished)
        .with_context(|| format!("cannot create {}", unfinished.display()))?;
    Ok(unfinished)
}

/// The program `eventual-batch`, with what tells its user about it.
fn program_archive(target: LinuxTarget, program: &Path, into: &Path) -> Result<()> {
    let name = target.name_of(CLI, VERSION);
    let folder = into.join(&name);
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let root = workspace_root();
    copy(program, &folder.join(CLI))?;
    copy(&root.join("LICENSE"), &folder.join("LICENSE"))?;
    copy(
        &root.join("crates/cli/README.md"),
        &folder.join("README.md"),
    )?;
    let mut tar = Command::new("tar");
    // So it unpacks as the user's who unpacks it, also as root.
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name"]);
    tar.arg("-czf").arg(into.join(format!("{name}.tar.gz")));
    run(tar.arg("-C").arg(into).arg(&name), "tar (GNU tar)")?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// The signed archive that a wasmCloud host starts, with the provider for each target.
fn provider_archive(binaries: &[(LinuxTarget, PathBuf)], into: &Path) -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--package", PACK, "--bin", PACK]);
    let pack = build::build(command, "what packs the provider")?.executable(PACK)?;
    let mut command = Command::new(pack);
    command.arg(into.join(format!("{PROVIDER}-{VERSION}.par.gz")));
    for (target, binary) in binaries {
        let binary = binary.to_str();
        let binary = binary.context("the path of the build directory is not UTF-8")?;
        command.arg(format!("{}={binary}", target.of_host()));
    }
    run(&mut command, "packing the provider")
}

fn write(path: &Path, text: &str) -> Result<()> {
    ensure!(!text.is_empty(), "{} would be empty", path.display());
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
