//! Building the application: the wasm target, each component's command, the backend.
//!
//! It runs what the manifest says and reports; it does NOT know what the commands do.

use crate::cli::{Failure, Source};
use crate::log::say;
use crate::manifest::{Build, Manifest};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The wasm targets of Rust that a build command may name.
const TARGETS: [&str; 3] = ["wasm32-wasip2", "wasm32-wasip1", "wasm32-unknown-unknown"];

/// `edge build`.
pub(crate) fn build_command(source: &Source) -> Result<(), Failure> {
    let manifest = source.manifest()?;
    let missing = build_components(&manifest)?;
    match missing.len() {
        0 => say("All components are built."),
        _ => say("The other components are built."),
    }
    Ok(())
}

/// Builds every component; returns those that failed and may be missing.
pub(crate) fn build_components(manifest: &Manifest) -> Result<BTreeSet<String>, Failure> {
    let builds: Vec<(&String, &Build, bool)> = manifest
        .components
        .iter()
        .filter_map(|(id, c)| Some((id, c.build.as_ref()?, c.optional_build)))
        .collect();
    add_targets(&manifest.folder, &builds)?;
    let mut missing = BTreeSet::new();
    let total = builds.len();
    for (position, (id, build, optional)) in builds.into_iter().enumerate() {
        say(&format!("[{}/{total}] building {id}", position + 1));
        let start = Instant::now();
        match run(build, &manifest.folder) {
            Ok(()) => tracing::debug!(
                component = id,
                ms = start.elapsed().as_millis() as u64,
                "built"
            ),
            Err(error) if optional => {
                say(&format!(
                    "  {id} could not be built and is left out: {error}"
                ));
                missing.insert(id.clone());
            }
            Err(error) => return Err(Failure::Run(format!("component {id:?}: {error}"))),
        }
    }
    Ok(missing)
}

/// The components that have no file, though they may be missing.
pub(crate) fn absent_components(manifest: &Manifest) -> BTreeSet<String> {
    manifest
        .components
        .iter()
        .filter(|(_, component)| component.optional_build && !component.source.is_file())
        .map(|(id, _)| id.clone())
        .collect()
}

fn run(build: &Build, folder: &Path) -> Result<(), String> {
    let folder = build.workdir.as_deref().unwrap_or(folder);
    for command in &build.commands {
        let status = Command::new("sh")
            .arg("-c")
            .arg(command)
            .current_dir(folder)
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        if !status.success() {
            return Err(format!("`{command}` ended with {status}"));
        }
    }
    Ok(())
}

/// Adds the wasm targets that the commands name, if rustup is there and lacks them.
fn add_targets(folder: &Path, builds: &[(&String, &Build, bool)]) -> Result<(), Failure> {
    let named = |target: &&str| {
        let names = |command: &String| {
            command
                .split_whitespace()
                .any(|word| word.contains(*target))
        };
        builds
            .iter()
            .any(|(_, build, _)| build.commands.iter().any(names))
    };
    let wanted: Vec<&str> = TARGETS.into_iter().filter(named).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let listed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .current_dir(folder)
        .stderr(Stdio::null())
        .output();
    let Ok(listed) = listed else {
        // Without rustup the toolchain is the operator's; cargo says what it lacks.
        return Ok(());
    };
    let installed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for target in wanted {
        if installed.lines().any(|line| line.trim() == target) {
            continue;
        }
        say(&format!("Adding the Rust target {target}"));
        let status = Command::new("rustup")
            .args(["target", "add", target])
            .current_dir(folder)
            .status()
            .map_err(|error| Failure::Run(format!("rustup: {error}")))?;
        if !status.success() {
            return Err(Failure::Run(format!(
                "rustup target add {target} ended with {status}"
            )));
        }
    }
    Ok(())
}

/// The backend's program, built from `gpu-backend/` unless `no_build` finds it built.
pub(crate) fn backend_program(folder: &Path, no_build: bool) -> Result<Option<PathBuf>, Failure> {
    if !folder.join("gpu-backend/Cargo.toml").is_file() {
        return Ok(None);
    }
    let target = target_folder(folder);
    let program = target.join("release/gpu-backend");
    if no_build && program.is_file() {
        return Ok(Some(program));
    }
    say("Building gpu-backend");
    let status = Command::new("cargo")
        .args(["build", "--release", "-p", "gpu-backend", "--target-dir"])
        .arg(&target)
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Failure::Run(format!("cargo: {error}")))?;
    if !status.success() || !program.is_file() {
        return Err(Failure::Run(format!(
            "gpu-backend could not be built: {status}"
        )));
    }
    Ok(Some(program))
}

/// Where cargo built this program, so that what they share is built once.
fn target_folder(folder: &Path) -> PathBuf {
    let own = std::env::current_exe().ok().and_then(|program| {
        let target = program.parent()?.parent()?;
        target
            .join("CACHEDIR.TAG")
            .is_file()
            .then(|| target.to_owned())
    });
    own.unwrap_or_else(|| folder.join("target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(folder: &Path, command: &str, optional: bool) -> Manifest {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\n\
             route = \"/...\"\ncomponent = \"one\"\n[component.one]\nsource = \"one.wasm\"\n\
             [component.one.build]\ncommand = {command:?}\n[component.one.tool.edge]\n\
             optional_build = {optional}\n"
        );
        Manifest::parse(&text, folder, None).unwrap()
    }

    #[test]
    fn commands_run_in_their_folder_and_failures_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let built = manifest(folder.path(), "touch one.wasm", false);
        assert!(build_components(&built).unwrap().is_empty());
        assert!(folder.path().join("one.wasm").is_file());
        let broken = manifest(folder.path(), "exit 3", false);
        let error = build_components(&broken).unwrap_err().to_string();
        assert!(
            error.contains("\"one\"") && error.contains("exit 3"),
            "{error}"
        );
        let optional = manifest(folder.path(), "exit 3", true);
        assert!(build_components(&optional).unwrap().contains("one"));
    }
}
