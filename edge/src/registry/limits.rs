//! What a registry may make this process take: bytes, files, memory and time.
//!
//! A blob is bounded by what its manifest says of it, and a manifest by its size. What
//! `oci-client` itself reads whole (manifests, tokens and errors) it does not bound, so the
//! memory of the process is watched while it works.

use super::RegistryError;
use crate::overload::resident_bytes;
use std::time::Duration;
use tokio::time::sleep;

/// The largest blob: a component of 256 MiB is the largest that is read.
pub(super) const BLOB_BYTES_MAX: u64 = 256 << 20;
/// The largest manifest: the specification asks registries for 4 MiB.
pub(super) const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// The largest locked application: 10,000 files of 128 bytes take 4 MiB.
pub(super) const LOCKED_BYTES_MAX: u64 = 16 << 20;
/// What one application has: in its layers, in its archives, and laid out.
pub(super) const APPLICATION_BYTES_MAX: u64 = 1 << 30;
/// Layers of one artifact that every known registry takes; the figure is Spin's.
pub(super) const LAYERS_MAX: usize = 500;
/// Files of one application, as many as are copied for a component.
pub(super) const FILES_MAX: usize = 10_000;

/// How long a connection may take.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a registry may be silent.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a push or a pull may take: 1 GiB at 5 Mbit/s.
const TIME_MAX: Duration = Duration::from_secs(1_800);
/// Memory that talking with a registry may take; blobs go to files.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is left of a number of bytes and files.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: u64,
    files: usize,
}

impl Budget {
    /// For one application.
    pub(super) fn new() -> Self {
        Self {
            bytes: APPLICATION_BYTES_MAX,
            files: FILES_MAX,
        }
    }

    /// Takes the bytes of one more file.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), RegistryError> {
        let left = (self.bytes.checked_sub(bytes), self.files.checked_sub(1));
        let (Some(bytes), Some(files)) = left else {
            return Err(RegistryError::Refused(format!(
                "the application has more than {FILES_MAX} files or {} MiB",
                APPLICATION_BYTES_MAX >> 20
            )));
        };
        *self = Self { bytes, files };
        Ok(())
    }
}

/// Does `work`, which talks with a registry, until it takes too long or too much memory.
pub(super) async fn bounded<T>(
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    within(MEMORY_BYTES_MAX, TIME_MAX, work).await
}

async fn within<T>(
    memory_max: u64,
    time_max: Duration,
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let used = || resident_bytes(std::process::id()).unwrap_or(0);
    let most = used() + memory_max;
    let too_much = async {
        while used() <= most {
            sleep(LOOK).await;
        }
    };
    let failed = |what: String| Err(RegistryError::Failed(what));
    tokio::select! {
        done = work => done,
        () = too_much => failed(format!(
            "the registry's answers take more than {} MiB of memory", memory_max >> 20
        )),
        () = sleep(time_max) => failed(format!(
            "the registry takes more than {} s", time_max.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends() {
        let mut budget = Budget::new();
        budget.take(APPLICATION_BYTES_MAX).unwrap();
        assert!(budget.take(1).is_err());
        let mut budget = Budget::new();
        assert!((0..FILES_MAX).all(|_| budget.take(0).is_ok()));
        assert!(budget.take(0).is_err());
    }

    #[tokio::test]
    async fn a_registry_that_sends_without_end_is_given_up() {
        let endless = async {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                all.push(vec![1; 8 << 20]);
                sleep(Duration::from_millis(1)).await;
            }
        };
        let done: Result<(), _> = within(64 << 20, TIME_MAX, endless).await;
        let error = done.unwrap_err().to_string();
        assert!(error.contains("64 MiB"), "{error}");
        let silent = std::future::pending();
        let done: Result<(), _> = within(1 << 30, Duration::from_millis(30), silent).await;
        assert!(done.unwrap_err().to_string().contains("takes more than"));
    }
}
