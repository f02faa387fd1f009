//! Files and folders that only their owner may read: states, keys, logins.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// Whatever this process makes from now on is its owner's alone, where nothing else is said.
#[expect(unsafe_code, reason = "the mask of a process is set by a system call")]
pub(crate) fn by_default() {
    // SAFETY: umask(2) takes any number and cannot fail.
    unsafe { libc::umask(OTHERS as libc::mode_t) };
}

/// Takes a file or folder from everybody but its owner. Was that needed?
///
/// # Errors
/// It belongs to somebody else, who has to do it.
pub(crate) fn tighten(path: &Path) -> io::Result<bool> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    let own = Permissions::from_mode(mode & 0o700);
    std::fs::set_permissions(path, own).map_err(|error| {
        let kind = error.kind();
        io::Error::new(
            kind,
            format!("others may read it, and that stays so: {error}"),
        )
    })?;
    Ok(true)
}

/// Makes an empty file that only its owner may read, or takes one that is there from others. Such
/// a one is not opened: closing it would release locks that this process has on it (fcntl(2)).
pub(crate) fn file(path: &Path) -> io::Result<()> {
    let made = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => tighten(path).map(drop),
    }
}

/// Makes a folder that only its owner may enter. One that is there stays as it is.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Writes a file that only its owner may read, durably, and whole or not at all. Its folder
/// must be there.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read_what_is_written() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a/b");
        super::folder(&folder).unwrap();
        let path = folder.join("c");
        for text in ["first", "second"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        assert!(write(&folder.join("none/c"), b"").is_err());
    }

    #[test]
    fn what_others_could_read_they_no_longer_can() {
        let outer = tempfile::tempdir().unwrap();
        let (folder, path) = (outer.path().join("a"), outer.path().join("a/b"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        std::fs::write(&path, "kept").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        assert!(tighten(&folder).unwrap());
        assert!(!tighten(&folder).unwrap());
        file(&path).unwrap();
        file(&folder.join("c")).unwrap();
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        assert_eq!(mode(&folder.join("c")), 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        assert!(tighten(&folder.join("none")).is_err());
    }
}
