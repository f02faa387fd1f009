//! Machine code, made by a process of its own and kept between starts under the hash of
//! everything that it depends on.
//!
//! It knows bytes and the engine; it does NOT know what a component does. A file of the
//! cache is loaded as code, so the cache lies in the state folder, which only the owner may
//! write.

pub(crate) mod apart;

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads the machine code of `wasm` from `cache`, or compiles it and puts it there.
pub(crate) fn compile(
    engine: &Engine,
    wasm: &[u8],
    cache: &Path,
    id: &str,
) -> Result<Component, String> {
    let path = path_of(engine, wasm, cache);
    if path.is_file() {
        match load(engine, &path) {
            Ok(component) => return Ok(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), error, "cached code is unusable; compiling");
            }
        }
    }
    let start = Instant::now();
    apart::compile(wasm, &path)?;
    tracing::info!(
        component = id,
        wasm_kb = wasm.len() / 1024,
        ms = start.elapsed().as_millis() as u64,
        "compiled"
    );
    load(engine, &path)
}

#[expect(unsafe_code, reason = "machine code is loaded as such")]
fn load(engine: &Engine, path: &Path) -> Result<Component, String> {
    // SAFETY: the file was written by `store` of this program, under the hash of its input;
    // the folder belongs to the user who runs it and is closed to others.
    unsafe { Component::deserialize_file(engine, path) }.map_err(|error| format!("{error:#}"))
}

/// Writes beside the target and renames, so that no half file is ever loaded.
fn store(bytes: &[u8], path: &Path) -> Result<(), String> {
    let folder = path.parent().ok_or("the cache has no folder")?;
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let file = tempfile::NamedTempFile::new_in(folder).map_err(|error| error.to_string())?;
    std::fs::write(file.path(), bytes).map_err(|error| error.to_string())?;
    file.persist(path).map_err(|error| error.to_string())?;
    Ok(())
}

fn path_of(engine: &Engine, wasm: &[u8], cache: &Path) -> PathBuf {
    let mut hasher = Hash256(Sha256::new());
    hasher.0.update(wasm);
    // wasmtime's version, its configuration and the processor's features.
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut name = String::with_capacity(70);
    for byte in hasher.0.finalize() {
        let _ = write!(name, "{byte:02x}");
    }
    cache.join(name + ".cwasm")
}

/// Lets a `Hash` feed SHA-256.
struct Hash256(Sha256);

impl Hasher for Hash256 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
