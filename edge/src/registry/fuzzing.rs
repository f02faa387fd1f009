//! What a registry sends, for a fuzz target: it is refused with words, or it reaches nothing
//! of this machine but the blobs and its own folder.

use super::artifact::Artifact;
use super::digest::Digest;
use super::plan::Plan;
use crate::manifest::{Component, Files, Manifest};
use std::path::{Component as Part, Path};

/// Where blobs would be, from the application's folder.
const BLOBS: &str = "../../blobs";
/// The application's folder.
const FOLDER: &str = "/cache/applications/one";

/// A manifest of an artifact, and a locked application.
pub(crate) fn artifact(manifest: &[u8], locked: &[u8]) {
    if let Err(error) = Artifact::read(manifest) {
        assert!(!error.to_string().is_empty());
    }
    let plan = match Plan::read(locked, BLOBS) {
        Ok(plan) => plan,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for file in &plan.files {
        let mut parts = file.place.components();
        assert_eq!(parts.next(), Some(Part::Normal("files".as_ref())));
        assert!(parts.all(|part| matches!(part, Part::Normal(_))));
    }
    match Manifest::parse(&plan.manifest, Path::new(FOLDER), None) {
        Ok(manifest) => manifest.components.values().for_each(check),
        Err(message) => assert!(!message.is_empty()),
    }
}

fn check(component: &Component) {
    assert!(component.build.is_none(), "a command would be run");
    let leaves = component.dependencies.iter().map(|one| &one.source);
    let before = component.middleware.iter().map(|one| &one.source);
    for source in leaves.chain(before).chain([&component.source]) {
        let name = source.strip_prefix(Path::new(FOLDER).join(BLOBS)).ok();
        let name = name.and_then(Path::to_str).unwrap_or_default();
        let digest = Digest::parse(&name.replacen('-', ":", 1));
        assert!(digest.is_some(), "{}", source.display());
    }
    for files in &component.files {
        let own = Path::new(FOLDER).join("files").join(&component.id);
        assert!(matches!(files, Files::Placed { source, .. } if *source == own));
    }
}
