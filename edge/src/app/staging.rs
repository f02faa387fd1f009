//! The files that are copied for one version of the application, and go with it.
//!
//! It does NOT know which files.

use std::path::Path;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// A folder of its own, as long as it is kept.
pub(super) struct Staging(Option<TempDir>);

impl Staging {
    pub(super) fn new(parent: &Path) -> Result<Self, String> {
        let made = std::fs::create_dir_all(parent).and_then(|()| TempDir::new_in(parent));
        match made {
            Ok(folder) => Ok(Self(Some(folder))),
            Err(error) => Err(format!("{}: {error}", parent.display())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), TempDir::path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let folder = self.0.take();
        // The last instance of a version ends on a thread that serves requests.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(folder))),
            Err(_) => drop(folder),
        }
    }
}
