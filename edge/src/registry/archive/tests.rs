//! Archives of our own, of `tar`'s, and of somebody who means no good.

use super::super::limits::APPLICATION_BYTES_MAX;
use super::*;
use std::process::Command;
use tokio::io::AsyncWriteExt as _;

struct Fixture {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        Self { folder, cache }
    }

    async fn unpack(&self, layer: &[u8]) -> Result<(), RegistryError> {
        let path = self.folder.path().join("layer.tar.gz");
        std::fs::write(&path, layer).unwrap();
        unpack(&path, &self.cache, &mut Budget::new()).await
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        self.cache.holds(&Digest::of(bytes)).unwrap()
    }
}

fn files(contents: &[&[u8]]) -> Vec<(Digest, Bytes)> {
    let file = |bytes: &&[u8]| (Digest::of(bytes), Bytes::copy_from_slice(bytes));
    contents.iter().map(file).collect()
}

#[tokio::test]
async fn what_is_packed_is_unpacked() {
    let fixture = Fixture::new();
    let long = vec![b'x'; 3 * READ_BYTES + 1];
    let layer = pack(&files(&[b"", b"short", &long])).await.unwrap();
    fixture.unpack(&layer).await.unwrap();
    for bytes in [b"".as_slice(), b"short", &long] {
        assert!(fixture.holds(bytes));
    }
}

#[tokio::test]
async fn the_programs_archives_are_read_and_ours_by_it() {
    let fixture = Fixture::new();
    let made = fixture.folder.path().join("made");
    std::fs::create_dir_all(made.join("deep/er")).unwrap();
    std::fs::write(made.join("deep/er/file"), "of tar").unwrap();
    // Longer than a header's field, so that an entry before it has the name.
    std::fs::write(made.join("n".repeat(200)), "of a long name").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", made.join("link")).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let mut tar = Command::new("tar");
        tar.args(["--format", format]).current_dir(&made);
        if format == "ustar" {
            // It has no room for such a name.
            tar.arg("--exclude=nnn*");
        }
        tar.args(["-czf", "-", "."]);
        let made = tar.output().unwrap();
        assert!(made.status.success());
        fixture.unpack(&made.stdout).await.unwrap();
        assert!(fixture.holds(b"of tar"), "{format}");
    }
    assert!(fixture.holds(b"of a long name"));
    assert!(!fixture.holds(&std::fs::read("/etc/passwd").unwrap()));

    let layer = fixture.folder.path().join("ours.tar.gz");
    std::fs::write(&layer, pack(&files(&[b"ours"])).await.unwrap()).unwrap();
    let mut tar = Command::new("tar");
    let listed = tar.arg("-tzf").arg(&layer).output().unwrap().stdout;
    let name = format!("{}\n", Digest::of(b"ours").name());
    assert_eq!(String::from_utf8(listed).unwrap(), name);
}

#[tokio::test]
async fn no_name_in_an_archive_is_a_path() {
    let fixture = Fixture::new();
    let outside = fixture.folder.path().join("outside");
    let tar = Command::new("tar")
        .args(["-czPf", "-", "--transform"])
        .arg(format!("s,.*,../../{},", outside.display()))
        .arg("/etc/hostname")
        .output()
        .unwrap();
    fixture.unpack(&tar.stdout).await.unwrap();
    assert!(!outside.exists());
    let below: Vec<_> = std::fs::read_dir(fixture.folder.path()).unwrap().collect();
    assert_eq!(below.len(), 2, "the cache and the layer: {below:?}");
}

#[tokio::test]
async fn a_bomb_is_not_unpacked() {
    let fixture = Fixture::new();
    let mut header = [0; BLOCK];
    header[SIZE].copy_from_slice(format!("{BLOB_BYTES_MAX:011o}\0").as_bytes());
    header[TYPE] = b'5';
    let sum = format!("{:06o}\0 ", checksum(&header));
    header[CHECKSUM].copy_from_slice(sum.as_bytes());
    let mut bomb = async_compression::tokio::write::GzipEncoder::new(Vec::new());
    let zeros = vec![0; 1 << 20];
    for _ in 0..=APPLICATION_BYTES_MAX / BLOB_BYTES_MAX {
        bomb.write_all(&header).await.unwrap();
        for _ in 0..BLOB_BYTES_MAX >> 20 {
            bomb.write_all(&zeros).await.unwrap();
        }
    }
    bomb.shutdown().await.unwrap();
    let bomb = bomb.into_inner();
    assert!(bomb.len() < 4 << 20, "{} bytes", bomb.len());
    let error = fixture.unpack(&bomb).await.unwrap_err().to_string();
    assert!(error.contains("1024 MiB"), "{error}");
}

#[tokio::test]
async fn a_broken_archive_is_refused() {
    let fixture = Fixture::new();
    let layer = pack(&files(&[b"short"])).await.unwrap();
    let refused = async |layer: &[u8], words: &str| {
        let error = fixture.unpack(layer).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(b"no gzip", "broken").await;
    refused(&layer[..layer.len() / 2], "broken").await;
    let mut tar = Vec::new();
    let mut gzip = GzipDecoder::new(layer.as_slice());
    gzip.read_to_end(&mut tar).await.unwrap();
    let plain = async |change: &dyn Fn(&mut Vec<u8>), words: &str| {
        let mut tar = tar.clone();
        change(&mut tar);
        let done = unpack_tar(tar.as_slice(), &fixture.cache, &mut Budget::new()).await;
        let error = done.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    plain(&|tar| tar[0] ^= 1, "no tar").await;
    plain(&|tar| tar.truncate(BLOCK + 1), "broken").await;
    plain(&|tar| tar.truncate(2 * BLOCK), "broken").await;
}
