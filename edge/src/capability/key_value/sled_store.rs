//! A key-value store on sled, for what can be rebuilt: caches and counters.
//!
//! Invariant: nothing that must survive is kept here. A folder that sled cannot open is set
//! aside; one that was not closed lacks the last second's writes, so that a value in it may be
//! older than what its writer was told, and is emptied. What nobody writes for an hour goes.

use super::add;
use crate::private;
use async_trait::async_trait;
use edge_bindings::port::{ANSWER_BYTES_MAX, KeyValue, KeyValueError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Memory for sled's page cache.
const CACHE_BYTES: u64 = 64 << 20;
/// How often dirty pages go to disk; what is younger may be lost in a crash.
const FLUSH_EVERY_MS: u64 = 1_000;
/// How long an entry stays that nobody writes: far longer than any component believes one.
pub(super) const AGE_MAX: Duration = Duration::from_secs(3_600);
/// How often old entries are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How long a store that was dropped may hold its file: the threads of sled end after it.
const LOCKED_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether it still does.
const LOCKED_LOOK: Duration = Duration::from_millis(10);
/// Stands in the folder while the store is closed and whole.
const CLOSED: &str = "closed";
/// What it holds: the form of the entries (see `entry`).
const FORM: &str = "1";

pub(super) struct SledStore {
    db: sled::Db,
    path: PathBuf,
    sweeper: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl SledStore {
    /// Opens the store in `path`; a corrupt one is set aside, one that was not closed is emptied.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let closed = path.join(CLOSED);
        let whole = std::fs::read_to_string(&closed).is_ok_and(|form| form == FORM);
        private::folder(path).map_err(named)?;
        private::tighten(path).map_err(named)?;
        if !whole && path.join("db").exists() {
            tracing::info!(path = %path.display(), "cache was not closed: starting empty");
            remove_files(path).map_err(named)?;
        }
        if whole {
            std::fs::remove_file(&closed).map_err(named)?;
        }
        let db = match open_unlocked(path) {
            Ok(db) => db,
            Err(error) if is_locked(&error) => return Err(format!("{}: {error}", path.display())),
            Err(error) => {
                let aside = aside(path);
                tracing::error!(
                    path = %path.display(),
                    aside = %aside.display(),
                    error,
                    "cache is corrupt: set aside, starting empty"
                );
                std::fs::rename(path, &aside)
                    .map_err(|rename| format!("{}: {error}; {rename}", path.display()))?;
                try_open(path).map_err(|error| format!("{}: {error}", path.display()))?
            }
        };
        make_private(path).map_err(named)?;
        let sweeper = Some(start_sweeper(db.clone()).map_err(named)?);
        let path = path.to_owned();
        Ok(Self { db, path, sweeper })
    }

    fn load(&self, key: &str) -> Result<Option<sled::IVec>, KeyValueError> {
        self.db.get(key).map_err(failed)
    }

    /// False if the entry is no longer `before`.
    fn swap(
        &self,
        key: &str,
        before: Option<sled::IVec>,
        value: &[u8],
    ) -> Result<bool, KeyValueError> {
        let swapped = self
            .db
            .compare_and_swap(key, before, Some(entry(value, now_s())))
            .map_err(failed)?;
        Ok(swapped.is_ok())
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.sweeper.take() {
            drop(stop);
            let _ended = thread.join();
        }
        // The mark says that everything is on disk, so it comes last.
        let closed = self
            .db
            .flush()
            .map_err(|error| error.to_string())
            .and_then(|_| {
                std::fs::write(self.path.join(CLOSED), FORM).map_err(|error| error.to_string())
            });
        if let Err(error) = closed {
            tracing::warn!(path = %self.path.display(), error, "cache was not closed");
        }
    }
}

/// Takes what is in a folder from others. (Nobody else can enter it; a copy of it may be
/// elsewhere one day.)
fn make_private(path: &Path) -> std::io::Result<()> {
    for file in std::fs::read_dir(path)? {
        let file = file?;
        let kind = file.file_type()?;
        if kind.is_symlink() {
            continue;
        }
        match private::tighten(&file.path()) {
            // sled removes files meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(_) if kind.is_dir() => make_private(&file.path())?,
            tightened => drop(tightened?),
        }
    }
    Ok(())
}

/// Removes what sled keeps in a folder, and nothing else: the operator named the folder.
fn remove_files(path: &Path) -> std::io::Result<()> {
    for file in std::fs::read_dir(path)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name == "blobs" {
            std::fs::remove_dir_all(file.path())?;
        } else if name == "db" || name == "conf" || name.starts_with("snap.") {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Opens what was dropped just now, too.
fn open_unlocked(path: &Path) -> Result<sled::Db, String> {
    let end = Instant::now() + LOCKED_TIME_MAX;
    loop {
        match try_open(path) {
            Err(error) if is_locked(&error) && Instant::now() < end => {
                std::thread::sleep(LOCKED_LOOK);
            }
            opened => return opened,
        }
    }
}

/// Somebody has the files open, which says nothing of what is in them. (sled tells it by its
/// words alone.)
fn is_locked(error: &str) -> bool {
    error.contains("could not acquire lock")
}

fn try_open(path: &Path) -> Result<sled::Db, String> {
    // sled 0.34 reports some corruption by a panic.
    let opened = std::panic::catch_unwind(|| {
        sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .open()
    });
    match opened {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err("sled panicked while opening".to_owned()),
    }
}

/// An entry: when it was written, in seconds since the Unix epoch (8 bytes, big-endian), then
/// the value.
fn entry(value: &[u8], written_s: u64) -> Vec<u8> {
    let mut entry = Vec::with_capacity(WRITTEN_BYTES + value.len());
    entry.extend_from_slice(&written_s.to_be_bytes());
    entry.extend_from_slice(value);
    entry
}

const WRITTEN_BYTES: usize = size_of::<u64>();

fn value_of(entry: &[u8]) -> &[u8] {
    entry.get(WRITTEN_BYTES..).unwrap_or_default()
}

fn written_s(entry: &[u8]) -> u64 {
    let bytes = entry.first_chunk::<WRITTEN_BYTES>();
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn start_sweeper(db: sled::Db) -> std::io::Result<(mpsc::Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel::<()>();
    let run = move || {
        while stopped.recv_timeout(SWEEP_EVERY) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = sweep(&db, now_s()) {
                tracing::warn!(%error, "old cache entries could not be removed");
            }
        }
    };
    let thread = std::thread::Builder::new().name("cache-sweep".to_owned());
    Ok((stop, thread.spawn(run)?))
}

/// Removes entries of more than [`AGE_MAX`]; one that is written meanwhile stays.
fn sweep(db: &sled::Db, now_s: u64) -> Result<(), sled::Error> {
    for pair in db.iter() {
        let (key, entry) = pair?;
        if now_s.saturating_sub(written_s(&entry)) > AGE_MAX.as_secs() {
            let _kept_if_newer = db.compare_and_swap(key, Some(entry), None::<&[u8]>)?;
        }
    }
    Ok(())
}

fn aside(path: &Path) -> std::path::PathBuf {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".corrupt-{now}"));
    path.with_file_name(name)
}

fn failed(error: sled::Error) -> KeyValueError {
    tracing::error!(%error, "sled");
    KeyValueError::Other("the store failed".to_owned())
}

#[async_trait]
impl KeyValue for SledStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        Ok(self.load(key)?.map(|entry| value_of(&entry).to_vec()))
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        let entry = entry(&value, now_s());
        self.db.insert(key, entry).map_err(failed)?;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        self.db.remove(key).map_err(failed)?;
        Ok(())
    }

    async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        self.db.contains_key(key).map_err(failed)
    }

    async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        let mut keys = Vec::new();
        let mut bytes = 0;
        for key in self.db.iter().keys() {
            let key = String::from_utf8_lossy(&key.map_err(failed)?).into_owned();
            bytes += key.len() + size_of::<String>();
            if bytes > ANSWER_BYTES_MAX {
                return Err(KeyValueError::Other("there are too many keys".to_owned()));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        loop {
            let before = self.load(key)?;
            let sum = add(before.as_deref().map(value_of), delta)?;
            if self.swap(key, before, sum.to_string().as_bytes())? {
                return Ok(sum);
            }
        }
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        loop {
            let before = self.load(key)?;
            if before.as_deref().map(value_of) != expected.as_deref() {
                return Ok(false);
            }
            // Somebody else may have written the same value again.
            if self.swap(key, before, &value)? {
                return Ok(true);
            }
        }
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        let mut batch = sled::Batch::default();
        for (key, value) in pairs {
            batch.insert(key.into_bytes(), entry(&value, now_s()));
        }
        self.db.apply_batch(batch).map_err(failed)
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        let mut batch = sled::Batch::default();
        for key in keys {
            batch.remove(key.into_bytes());
        }
        self.db.apply_batch(batch).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_store_is_kept_and_one_that_was_not_closed_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let store = SledStore::open(&path).unwrap();
        store.set("a", b"1".to_vec()).await.unwrap();
        drop(store);
        let store = SledStore::open(&path).unwrap();
        assert_eq!(store.get("a").await.unwrap(), Some(b"1".to_vec()));
        assert!(!path.join(CLOSED).exists(), "it is open");
        drop(store);
        // As after `kill -9`: no mark, whatever the files hold.
        std::fs::remove_file(path.join(CLOSED)).unwrap();
        std::fs::write(path.join("not-sleds"), "x").unwrap();
        let store = SledStore::open(&path).unwrap();
        assert_eq!(store.get("a").await.unwrap(), None);
        assert!(path.join("not-sleds").exists());
    }

    #[test]
    fn one_that_is_in_use_is_told_from_a_corrupt_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let db = try_open(&path).unwrap();
        assert!(is_locked(&try_open(&path).unwrap_err()));
        drop(db);
        assert!(open_unlocked(&path).is_ok());
        std::fs::write(path.join("conf"), "not sled's").unwrap();
        assert!(!is_locked(&open_unlocked(&path).unwrap_err()));
    }

    #[tokio::test]
    async fn entries_that_nobody_writes_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(&folder.path().join("cache")).unwrap();
        let age = AGE_MAX.as_secs();
        for (key, written_s) in [("old", 1_000), ("young", 1_001)] {
            store.db.insert(key, entry(b"x", written_s)).unwrap();
        }
        sweep(&store.db, 1_001 + age).unwrap();
        assert_eq!(store.keys().await.unwrap(), ["young"]);
        sweep(&store.db, 500).unwrap();
        assert!(
            store.exists("young").await.unwrap(),
            "a clock that was put back removes nothing"
        );
    }
}
