//! Fetches a model's files from the model hub into its usual cache.
//! Knows nothing of what the files mean.

use std::path::PathBuf;

/// A model cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("this binary was built without the feature `hub`")]
    NotBuilt,
    #[error("fetching {file} from the model hub failed: {problem}")]
    Fetch { file: String, problem: String },
}

/// Fetches `OWNER/NAME` and returns the directory of its files.
///
/// # Errors
/// There is no network, no such model, or no such file.
#[cfg(not(feature = "hub"))]
pub fn fetch(_name: &str) -> Result<PathBuf, HubError> {
    Err(HubError::NotBuilt)
}

/// Fetches `OWNER/NAME` and returns the directory of its files.
///
/// # Errors
/// There is no network, no such model, or no such file.
#[cfg(feature = "hub")]
pub fn fetch(name: &str) -> Result<PathBuf, HubError> {
    const OPTIONAL: [&str; 3] = [
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
    ];
    const INDEX: &str = "model.safetensors.index.json";

    let failed = |file: &str| {
        let file = file.to_owned();
        move |error: hf_hub::api::sync::ApiError| HubError::Fetch {
            file,
            problem: error.to_string(),
        }
    };
    let api = hf_hub::api::sync::ApiBuilder::from_env()
        .with_progress(false)
        .build()
        .map_err(failed("its settings"))?;
    let repository = api.model(name.to_owned());
    let config = repository
        .get("config.json")
        .map_err(failed("config.json"))?;
    repository
        .get("tokenizer.json")
        .map_err(failed("tokenizer.json"))?;
    for file in OPTIONAL {
        // Absent from many models; what is needed and missing is named when loading.
        let _ = repository.get(file);
    }
    match repository.get(INDEX) {
        Ok(index) => {
            let text = std::fs::read(&index).unwrap_or_default();
            let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
            let map = json.get("weight_map").and_then(|map| map.as_object());
            let mut files: Vec<&str> = map
                .into_iter()
                .flat_map(|m| m.values())
                .filter_map(|v| v.as_str())
                .collect();
            files.sort_unstable();
            files.dedup();
            for file in files {
                repository.get(file).map_err(failed(file))?;
            }
        }
        Err(_) => {
            let file = "model.safetensors";
            repository.get(file).map_err(failed(file))?;
        }
    }
    Ok(config.parent().map(PathBuf::from).unwrap_or_default())
}
