//! The files of the built page: the only way from a request's path to a file.
//!
//! It knows names and bytes; it does not know HTTP methods, headers or status codes.
//!
//! Invariant: a path that leaves the folder cannot be expressed. A name is accepted only if each
//! of its segments is made of letters, digits, `.`, `_` and `-` and does not begin with a dot, so
//! `..`, percent-encoding, backslashes and hidden files never reach the file system.

use std::io::{self, Read};
use std::path::PathBuf;

/// The largest file that is served. The build's own files are far below it (the script is about
/// 200 kB); a larger one in the folder is a mistake, and it would be held in memory whole.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The longest request path that can name a file, in bytes.
const PATH_BYTES_MAX: usize = 256;

/// The deepest file: `assets/name` is two.
const SEGMENTS_MAX: usize = 4;

/// The name of a file of the page, relative to the folder, such as `assets/index-Bx3.js`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// The page itself.
    pub fn index() -> Self {
        Self("index.html".to_owned())
    }

    /// The file that a request path names; `/` names the page. `None` if no file can have it.
    pub fn from_request_path(path: &str) -> Option<Self> {
        if path == "/" {
            return Some(Self::index());
        }
        let name = path.strip_prefix('/')?;
        let segments = name.split('/');
        let fits = path.len() <= PATH_BYTES_MAX && segments.clone().count() <= SEGMENTS_MAX;
        // The compressed forms are chosen by `accept-encoding`, never asked for by name.
        let stored_form = name.ends_with(".br") || name.ends_with(".gz");
        (fits && !stored_form && segments.into_iter().all(is_plain_segment))
            .then(|| Self(name.to_owned()))
    }

    /// The name as text, with `/` between segments.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name carries a hash of the content, so that the bytes under it never change.
    /// The build puts such files, and only such files, into `assets/`.
    pub fn is_hashed(&self) -> bool {
        self.0.starts_with("assets/")
    }

    /// The part after the last dot of the last segment.
    pub fn extension(&self) -> Option<&str> {
        let last = self.0.rsplit('/').next()?;
        last.rsplit_once('.').map(|(_, extension)| extension)
    }
}

fn is_plain_segment(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(plain)
}

/// The folder that the build filled.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`; it need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The bytes stored as `name` + `suffix` (`""`, `".br"`, `".gz"`), or `None` if there is no
    /// such regular file.
    ///
    /// # Errors
    /// Any failure other than absence, and a file larger than [`FILE_BYTES_MAX`].
    pub fn read(&self, name: &FileName, suffix: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.root.join(format!("{}{suffix}", name.as_str()));
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if is_absence(error.kind()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(metadata.len().min(FILE_BYTES_MAX) as usize);
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(Some(bytes))
    }
}

fn is_absence(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(kind, NotFound | NotADirectory | IsADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_build_are_accepted() {
        let check = |path: &str, name: &str| {
            let parsed = FileName::from_request_path(path);
            assert_eq!(parsed.as_ref().map(FileName::as_str), Some(name), "{path}");
        };
        check("/", "index.html");
        check("/index.html", "index.html");
        check("/favicon.svg", "favicon.svg");
        check("/assets/index-Bx3_9-k.js", "assets/index-Bx3_9-k.js");
    }

    #[test]
    fn names_outside_the_folder_cannot_be_expressed() {
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        for path in [
            "",
            "x",
            "//",
            "/..",
            "/../etc/passwd",
            "/assets/../../x",
            "/assets/..",
            "/./x",
            "/%2e%2e/x",
            "/..%2fx",
            "/..\\x",
            "/assets//x",
            "/assets/",
            "/.env",
            "/a/.git/config",
            "/a\0b",
            "/a b",
            "/é",
            "/C:/x",
            "/a;b",
            "/assets/x.js.br",
            "/index.html.gz",
            "/a/b/c/d/e",
            &long,
        ] {
            assert_eq!(FileName::from_request_path(path), None, "{path:?}");
        }
    }

    #[test]
    fn only_assets_are_hashed() {
        let hashed = |path| FileName::from_request_path(path).map(|name| name.is_hashed());
        assert_eq!(hashed("/assets/a-1.css"), Some(true));
        assert_eq!(hashed("/assets.html"), Some(false));
        assert_eq!(hashed("/"), Some(false));
    }
}
