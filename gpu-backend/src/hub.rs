//! Fetches a model's files from the model hub into its usual cache, and tells how far
//! it is.
//! Knows nothing of what the files mean.

/// A model cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("this binary was built without the feature `hub`")]
    NotBuilt,
    #[error("fetching {file} from the model hub failed: {problem}")]
    Fetch { file: String, problem: String },
}

/// How far one file is: told at its beginning, now and then, and at its end.
#[derive(Clone, Copy, Debug)]
pub struct Fetching<'a> {
    pub file: &'a str,
    pub bytes: u64,
    pub bytes_of: u64,
}

/// Fetches `OWNER/NAME` and returns the directory of its files.
///
/// # Errors
/// There is no network, no such model, or no such file.
#[cfg(not(feature = "hub"))]
pub fn fetch(_name: &str, _tell: &dyn Fn(Fetching<'_>)) -> Result<std::path::PathBuf, HubError> {
    Err(HubError::NotBuilt)
}

#[cfg(feature = "hub")]
pub use files::fetch;

#[cfg(feature = "hub")]
mod files {
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use hf_hub::api::Progress;
    use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
    use hf_hub::{Cache, CacheRepo};

    use super::{Fetching, HubError};

    /// Between two tellings of one file.
    const TELL_EVERY: Duration = Duration::from_secs(5);
    /// Times that a download which broke off goes on where it was.
    const RETRIES_MAX: usize = 5;

    const OPTIONAL: [&str; 5] = [
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
        "chat_template.json",
        "suggestions.json",
    ];
    const INDEX: &str = "model.safetensors.index.json";

    /// Fetches `OWNER/NAME` and returns the directory of its files.
    ///
    /// # Errors
    /// There is no network, no such model, or no such file.
    pub fn fetch(name: &str, tell: &dyn Fn(Fetching<'_>)) -> Result<PathBuf, HubError> {
        let api = ApiBuilder::from_env()
            .with_retries(RETRIES_MAX)
            .build()
            .map_err(|error| failed("its settings", &error))?;
        let files = Files {
            cache: Cache::from_env().model(name.to_owned()),
            repository: api.model(name.to_owned()),
            tell,
        };
        let config = files.need("config.json")?;
        files.need("tokenizer.json")?;
        for file in OPTIONAL {
            // Absent from many models; what is needed and missing is named when loading.
            let _ = files.get(file);
        }
        match files.get(INDEX) {
            Ok(index) => {
                for file in shards(&index) {
                    files.need(&file)?;
                }
            }
            Err(_) => {
                files.need("model.safetensors")?;
            }
        }
        Ok(config.parent().map(PathBuf::from).unwrap_or_default())
    }

    fn failed(file: &str, error: &ApiError) -> HubError {
        HubError::Fetch {
            file: file.to_owned(),
            problem: error.to_string(),
        }
    }

    /// The files that an index names, each once.
    fn shards(index: &Path) -> Vec<String> {
        let text = std::fs::read(index).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let map = json.get("weight_map").and_then(|map| map.as_object());
        let names = map.into_iter().flat_map(|map| map.values());
        let mut files: Vec<String> = names
            .filter_map(|v| v.as_str())
            .map(str::to_owned)
            .collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    struct Files<'a> {
        cache: CacheRepo,
        repository: ApiRepo,
        tell: &'a dyn Fn(Fetching<'_>),
    }

    impl Files<'_> {
        fn need(&self, file: &str) -> Result<PathBuf, HubError> {
            self.get(file).map_err(|error| failed(file, &error))
        }

        fn get(&self, file: &str) -> Result<PathBuf, ApiError> {
            if let Some(path) = self.cache.get(file) {
                return Ok(path);
            }
            let told = Told {
                tell: self.tell,
                file: file.to_owned(),
                bytes: 0,
                bytes_of: 0,
                told: None,
            };
            self.repository.download_with_progress(file, told)
        }
    }

    /// One download, told of.
    struct Told<'a> {
        tell: &'a dyn Fn(Fetching<'_>),
        file: String,
        bytes: u64,
        bytes_of: u64,
        told: Option<Instant>,
    }

    impl Told<'_> {
        fn tell(&mut self) {
            self.told = Some(Instant::now());
            (self.tell)(Fetching {
                file: &self.file,
                bytes: self.bytes,
                bytes_of: self.bytes_of,
            });
        }
    }

    impl Progress for Told<'_> {
        /// Called again where a download goes on after it broke off.
        fn init(&mut self, size: usize, _file: &str) {
            (self.bytes, self.bytes_of) = (0, size as u64);
            if self.told.is_none() {
                self.tell();
            }
        }

        fn update(&mut self, size: usize) {
            self.bytes += size as u64;
            if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                self.tell();
            }
        }

        fn finish(&mut self) {
            self.tell();
        }
    }
}
