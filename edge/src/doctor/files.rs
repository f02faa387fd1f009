//! The files that a manifest names: components and what they depend on, and what is shown to
//! them.

use super::{Diagnosis, Severity, Treatment};
use crate::manifest::{Component, Files, Manifest};
use std::io::Read as _;
use std::path::Path;

/// How the file of a component begins, and how that of a core module does.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

pub(super) fn diagnose(manifest: &Manifest, file: &Path, profile: Option<&str>) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    for component in manifest.components.values() {
        if component.copy_of.is_some() {
            continue;
        }
        found.extend(source(component, file, profile));
        for files in &component.files {
            if let Files::Placed { source, .. } = files
                && !source.exists()
            {
                found.push(Diagnosis {
                    severity: Severity::Critical,
                    what: format!(
                        "Component {:?}: `files` names {}, which is missing",
                        component.id,
                        source.display()
                    ),
                    treatment: Treatment::ByHand("Make it, or take it out of `files`.".to_owned()),
                });
            }
        }
    }
    found
}

fn source(component: &Component, file: &Path, profile: Option<&str>) -> Option<Diagnosis> {
    let id = &component.id;
    let source = &component.source;
    let critical = |what: String, treatment: Treatment| {
        Some(Diagnosis {
            severity: Severity::Critical,
            what,
            treatment,
        })
    };
    let mut head = [0; 8];
    let opened = std::fs::File::open(source);
    match opened.and_then(|mut file| file.read_exact(&mut head)) {
        Ok(()) if head == COMPONENT => None,
        Ok(()) if head == MODULE => critical(
            format!("Component {id:?}: {} is a core module", source.display()),
            Treatment::ByHand("Build it for wasm32-wasip2, which makes a component.".to_owned()),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => critical(
            format!("Component {id:?} source {} is missing", source.display()),
            built_by(component, file, profile),
        ),
        _ => critical(
            format!("Component {id:?}: {} is no WebAssembly", source.display()),
            built_by(component, file, profile),
        ),
    }
}

fn built_by(component: &Component, file: &Path, profile: Option<&str>) -> Treatment {
    let program = std::env::current_exe();
    let (Some(_), Ok(program)) = (&component.build, program) else {
        return Treatment::ByHand("Build it, or correct its `source`.".to_owned());
    };
    let mut arguments = vec!["build".to_owned(), "--from".to_owned()];
    arguments.push(file.display().to_string());
    if let Some(profile) = profile {
        arguments.extend(["--profile".to_owned(), profile.to_owned()]);
    }
    Treatment::Run {
        program: program.display().to_string(),
        arguments,
        folder: std::env::current_dir().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_component_or_the_doctor_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let text = "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\n\
             route = \"/...\"\ncomponent = \"one\"\n[component.one]\nsource = \"one.wasm\"\n\
             files = [{ source = \"static\", destination = \"/\" }]\n";
        let manifest = Manifest::parse(text, folder.path(), None).unwrap();
        let check = |bytes: Option<&[u8]>, expect: &[&str]| {
            if let Some(bytes) = bytes {
                std::fs::write(folder.path().join("one.wasm"), bytes).unwrap();
            }
            let found = diagnose(&manifest, Path::new("spin.toml"), None);
            let found: Vec<String> = found.into_iter().map(|d| d.what).collect();
            assert_eq!(found.len(), expect.len(), "{found:?}");
            for (what, words) in found.iter().zip(expect) {
                assert!(what.contains(words), "{what}");
            }
        };
        check(None, &["is missing", "`files`"]);
        check(Some(b"\0asm\x01\0\0\0"), &["core module", "`files`"]);
        check(Some(b"text"), &["no WebAssembly", "`files`"]);
        std::fs::create_dir(folder.path().join("static")).unwrap();
        check(Some(b"\0asm\x0d\0\x01\0"), &[]);
    }
}
