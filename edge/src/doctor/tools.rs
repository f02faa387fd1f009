//! The tools that the builds of an application need: Rust and its WebAssembly target.

use super::{Diagnosis, Severity, Treatment};
use crate::manifest::Manifest;
use std::path::Path;
use std::process::{Command, Stdio};

/// What components are compiled for.
const TARGET: &str = "wasm32-wasip2";

pub(super) fn diagnose(manifest: &Manifest) -> Vec<Diagnosis> {
    let builds = manifest
        .components
        .values()
        .filter_map(|c| c.build.as_ref());
    let mut commands = builds.flat_map(|build| &build.commands);
    if !commands.any(|command| command.trim_start().starts_with("cargo")) {
        return Vec::new();
    }
    let installed = output(
        "rustup",
        &["target", "list", "--installed"],
        &manifest.folder,
    );
    let has_cargo = output("cargo", &["--version"], &manifest.folder).is_some();
    rust(installed.as_deref(), has_cargo, &manifest.folder)
        .into_iter()
        .collect()
}

fn output(program: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let told = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    told.status
        .success()
        .then(|| String::from_utf8_lossy(&told.stdout).into_owned())
}

/// `installed` are the targets that rustup lists, if it is there.
fn rust(installed: Option<&str>, has_cargo: bool, folder: &Path) -> Option<Diagnosis> {
    match installed {
        Some(targets) if targets.lines().any(|line| line.trim() == TARGET) => None,
        Some(_) => Some(Diagnosis {
            severity: Severity::Critical,
            what: format!("The required Rust target {TARGET:?} is not installed"),
            treatment: Treatment::Run {
                program: "rustup".to_owned(),
                arguments: ["target", "add", TARGET].map(str::to_owned).to_vec(),
                folder: folder.to_owned(),
            },
        }),
        // Rust from elsewhere: its target cannot be asked for.
        None if has_cargo => Some(Diagnosis {
            severity: Severity::Advice,
            what: format!("It cannot be told whether the Rust target {TARGET:?} is installed"),
            treatment: Treatment::ByHand("See that your Rust has it.".to_owned()),
        }),
        None => Some(Diagnosis {
            severity: Severity::Critical,
            what: "The Rust compiler is not installed".to_owned(),
            treatment: Treatment::ByHand(format!(
                "Install it from https://rustup.rs, with `--target {TARGET}`."
            )),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_is_there_lacks_its_target_or_is_missing() {
        let check = |installed, has_cargo, expect: Option<&str>| {
            let found = rust(installed, has_cargo, Path::new("/"));
            let what = found.map(|diagnosis| diagnosis.what);
            match expect {
                None => assert_eq!(what, None),
                Some(words) => assert!(what.unwrap().contains(words), "{words}"),
            }
        };
        check(
            Some("wasm32-wasip2\nx86_64-unknown-linux-gnu\n"),
            true,
            None,
        );
        check(
            Some("wasm32-wasip1\n"),
            true,
            Some("target \"wasm32-wasip2\" is not"),
        );
        check(None, true, Some("cannot be told"));
        check(None, false, Some("compiler is not"));
    }
}
