//! The newest signed application of each repository that was run from a state folder, so
//! that nobody who holds the registry can bring an older one back.
//!
//! An artifact's age is its manifest's annotation `org.opencontainers.image.created`, which
//! the signature covers. It does NOT look at signatures.

use super::RegistryError;
use super::artifact::{Artifact, CREATED};
use crate::private;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The name of the file in the state folder.
const FILE: &str = "registry.json";
/// The largest file that is read: some 5,000 repositories.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    created: String,
    digest: String,
}

/// What was seen, and where that is kept.
#[derive(Debug)]
pub(super) struct Newest {
    path: PathBuf,
    /// By `REGISTRY/REPOSITORY`.
    seen: BTreeMap<String, Seen>,
}

impl Newest {
    /// Reads what is kept in the folder `state`. What cannot be read is an error: without it
    /// an old application would look new.
    pub(super) fn load(state: &Path) -> Result<Self, RegistryError> {
        let path = state.join(FILE);
        let wrong = |what: String| RegistryError::Wrong(format!("{}: {what}", path.display()));
        let seen = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(wrong(error.to_string())),
            Ok(file) if file.len() > FILE_BYTES_MAX => {
                return Err(wrong(format!("has more than {FILE_BYTES_MAX} bytes")));
            }
            Ok(_) => {
                let bytes = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
                serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?
            }
        };
        Ok(Self { path, seen })
    }

    /// Refuses an artifact that is older than what was seen of its repository.
    pub(super) fn check(&self, repository: &str, artifact: &Artifact) -> Result<(), RegistryError> {
        let digest = &artifact.digest;
        let refused = |what: String| {
            let message = format!("{repository}@{digest} {what}; --allow-older takes it");
            Err(RegistryError::Refused(message))
        };
        let Some(created) = artifact.created.as_deref().and_then(moment) else {
            return refused(format!("does not say when it was made ({CREATED})"));
        };
        match self.seen.get(repository) {
            Some(seen) if moment(&seen.created).is_none_or(|newest| created < newest) => {
                let made = artifact.created.as_deref().unwrap_or_default();
                refused(format!(
                    "was made at {made} and is older than {}, made at {}, which was run here",
                    seen.digest, seen.created
                ))
            }
            _ => Ok(()),
        }
    }

    /// Takes `artifact` as the newest from now on: it was checked, or an operator said so.
    pub(super) fn record(
        &mut self,
        repository: &str,
        artifact: &Artifact,
    ) -> Result<(), RegistryError> {
        let Some(created) = artifact
            .created
            .clone()
            .filter(|text| moment(text).is_some())
        else {
            return Ok(());
        };
        let seen = Seen {
            created,
            digest: artifact.digest.to_string(),
        };
        if self.seen.get(repository) == Some(&seen) {
            return Ok(());
        }
        self.seen.insert(repository.to_owned(), seen);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        private::folder(folder)?;
        let text = serde_json::to_vec_pretty(&self.seen).map_err(std::io::Error::from)?;
        Ok(private::write(&self.path, &text)?)
    }
}

fn moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Now, as it is written.
pub(super) fn now() -> Result<String, RegistryError> {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .map_err(|error| RegistryError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::digest::Digest;
    use super::*;

    fn artifact(created: &str) -> Artifact {
        Artifact {
            digest: Digest::of(created.as_bytes()),
            layers: Vec::new(),
            locked: Digest::of(b""),
            created: Some(created.to_owned()).filter(|text| !text.is_empty()),
        }
    }

    #[test]
    fn what_is_older_is_refused_until_it_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let load = || Newest::load(&state).unwrap();
        let new = artifact("2026-02-03T04:05:06.7Z");
        load().check("r/a", &new).unwrap();
        load().record("r/a", &new).unwrap();
        // Half a second and two hours later, written with an offset.
        for taken in ["2026-02-03T04:05:07.2Z", "2026-02-03T04:05:06.7+00:00"] {
            load().check("r/a", &artifact(taken)).unwrap();
        }
        for older in [
            "2026-02-03T04:05:06.6Z",
            "2026-02-03T05:05:06.8+02:00",
            "",
            "now",
        ] {
            let error = load()
                .check("r/a", &artifact(older))
                .unwrap_err()
                .to_string();
            assert!(error.contains("r/a@sha256:"), "{error}");
            assert!(error.contains("--allow-older"), "{error}");
        }
        let older = artifact("2020-01-01T00:00:00Z");
        load().check("r/b", &older).unwrap();
        load().record("r/a", &older).unwrap();
        load().check("r/a", &older).unwrap();
    }

    #[test]
    fn a_memory_that_cannot_be_read_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let error = Newest::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }

    #[test]
    fn now_is_a_moment() {
        assert!(moment(&now().unwrap()).is_some());
    }
}
