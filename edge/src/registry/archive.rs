//! Archive layers: many files in one layer, as a compressed tar (POSIX.1-2024 `pax`, "ustar
//! Interchange Format").
//!
//! Invariant: no name in an archive becomes a path. The locked application names a file by
//! its digest, so each goes into the cache under the digest of its bytes; links, devices and
//! folders are passed over.

use super::RegistryError;
use super::cache::Cache;
use super::digest::Digest;
use super::limits::{BLOB_BYTES_MAX, Budget};
use async_compression::tokio::bufread::{GzipDecoder, GzipEncoder};
use bytes::Bytes;
use std::path::Path;
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};

/// Everything in a tar is of whole blocks.
const BLOCK: usize = 512;
/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// Where a header has its fields.
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;

/// Puts the files of the layer at `path` into the cache.
pub(super) async fn unpack(
    path: &Path,
    cache: &Cache,
    budget: &mut Budget,
) -> Result<(), RegistryError> {
    let file = tokio::fs::File::open(path).await?;
    unpack_tar(GzipDecoder::new(BufReader::new(file)), cache, budget).await
}

/// The same, of what is not compressed.
pub(super) async fn unpack_tar(
    mut tar: impl AsyncRead + Unpin,
    cache: &Cache,
    budget: &mut Budget,
) -> Result<(), RegistryError> {
    let mut header = [0; BLOCK];
    let mut buffer = vec![0; READ_BYTES];
    loop {
        tar.read_exact(&mut header).await.map_err(broken)?;
        // A block of zeros ends it.
        if header == [0; BLOCK] {
            return Ok(());
        }
        let size = size_of(&header)?;
        let whole = size.next_multiple_of(BLOCK as u64);
        budget.take(BLOCK as u64 + whole)?;
        // 0 and NUL are files, 7 is one that once was to be contiguous.
        let is_file = matches!(header[TYPE], b'0' | 0 | b'7');
        let mut incoming = is_file.then(|| cache.incoming()).transpose()?;
        let mut left = whole;
        while left > 0 {
            let part = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            tar.read_exact(&mut buffer[..part]).await.map_err(broken)?;
            if let Some(incoming) = &mut incoming {
                let wanted = usize::try_from(size - incoming.bytes).unwrap_or(usize::MAX);
                incoming.write(&buffer[..part.min(wanted)])?;
            }
            left -= part as u64;
        }
        if let Some(incoming) = incoming {
            cache.keep(incoming)?;
        }
    }
}

fn broken(error: std::io::Error) -> RegistryError {
    RegistryError::Refused(format!("an archive layer is broken: {error}"))
}

/// The size of the entry's content.
fn size_of(header: &[u8; BLOCK]) -> Result<u64, RegistryError> {
    let refused = |what: &str| RegistryError::Refused(format!("an archive layer {what}"));
    if octal(&header[CHECKSUM]) != Some(checksum(header)) {
        return Err(refused("is no tar"));
    }
    octal(&header[SIZE])
        .filter(|size| *size <= BLOB_BYTES_MAX)
        .ok_or_else(|| refused("has a file of more than 256 MiB"))
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

/// The sum of a header's bytes, those of the sum itself being spaces.
fn checksum(header: &[u8; BLOCK]) -> u64 {
    let sum: u64 = header.iter().copied().map(u64::from).sum();
    let own: u64 = header[CHECKSUM].iter().copied().map(u64::from).sum();
    sum - own + CHECKSUM.len() as u64 * u64::from(b' ')
}

/// An archive layer of files, each under the name of its digest.
pub(super) async fn pack(files: &[(Digest, Bytes)]) -> Result<Vec<u8>, RegistryError> {
    let mut tar = Vec::new();
    for (digest, bytes) in files {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, &digest.name());
        put(100, "0000644\0");
        put(SIZE.start, &format!("{:011o}\0", bytes.len()));
        put(136, "00000000000\0");
        put(TYPE, "0");
        put(257, "ustar\x0000");
        let sum = checksum(&header);
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    let mut layer = Vec::new();
    GzipEncoder::new(tar.as_slice())
        .read_to_end(&mut layer)
        .await?;
    Ok(layer)
}

#[cfg(test)]
mod tests;
