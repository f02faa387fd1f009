//! The check that a path holds a model in the format that is read, before any file is.
//! Knows nothing of what the files hold.

use std::path::Path;

use super::LoadError;

/// Other formats of weights, by the ends of their files' names.
const OTHERS: [(&str, &str); 7] = [
    ("gguf", "GGUF"),
    ("ggml", "GGML"),
    ("bin", "pickled PyTorch"),
    ("pt", "pickled PyTorch"),
    ("pth", "pickled PyTorch"),
    ("ckpt", "pickled PyTorch"),
    ("onnx", "ONNX"),
];

/// Checks that this is a directory, and that its weights are not in another format only.
///
/// # Errors
/// Names the format that is there and the one that is expected. A directory in which
/// something is missing is none: loading names what.
pub fn check_layout(path: &Path) -> Result<(), LoadError> {
    let wrong = |found: String| LoadError::Format {
        path: path.to_owned(),
        found,
    };
    if path.is_file() {
        return Err(wrong(match other_format(path) {
            Some(format) => format!("is a {format} file"),
            None => "is a file".to_owned(),
        }));
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let files: Vec<_> = entries.map(|entry| entry.path()).collect();
    let is_safe = |file: &Path| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")
    };
    if files.iter().any(|file| is_safe(file)) {
        return Ok(());
    }
    match files.iter().find_map(|file| other_format(file)) {
        Some(format) => Err(wrong(format!("holds its weights as {format} only"))),
        None => Ok(()),
    }
}

fn other_format(file: &Path) -> Option<&'static str> {
    let end = file.extension()?.to_str()?.to_ascii_lowercase();
    let known = OTHERS.into_iter().find(|(other, _)| *other == end);
    known.map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_named_and_the_expected_one_too() {
        for (files, says) in [
            (&["m.gguf"][..], Some("as GGUF only")),
            (&["config.json", "m-Q4_K_M.GGUF"], Some("as GGUF only")),
            (&["config.json", "pytorch_model.bin"], Some("PyTorch only")),
            (
                &["consolidated.00.pth", "params.json"],
                Some("PyTorch only"),
            ),
            (&["model.safetensors", "pytorch_model.bin"], None),
            (&["model.safetensors.index.json", "m.gguf"], None),
            (&["config.json"], None),
            (&[], None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for file in files {
                std::fs::write(dir.path().join(file), "").unwrap();
            }
            let checked = check_layout(dir.path()).map_err(|error| error.to_string());
            match says {
                None => assert_eq!(checked, Ok(()), "{files:?}"),
                Some(says) => {
                    let error = checked.unwrap_err();
                    assert!(error.contains(says), "{error}");
                    assert!(error.contains("weights in safetensors"), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_file_is_no_model() {
        let dir = tempfile::tempdir().unwrap();
        for (name, says) in [("m.gguf", "is a GGUF file"), ("m", "is a file")] {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            let error = check_layout(&path).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
