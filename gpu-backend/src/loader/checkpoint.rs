//! A checkpoint's tensors: one safetensors file or an index of several, memory-mapped
//! and checked before any weight is used.
//! Knows nothing of which tensors a model needs.

#![expect(
    unsafe_code,
    reason = "memory-mapping a file is unsafe; see `Shard::open`"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;

use super::LoadError;

/// Length of the header's length at the start of a safetensors file.
const LENGTH_BYTES: usize = 8;

/// Fewer values than this are not worth another thread.
const WIDEN_MIN_VALUES: usize = 64 * 1024;

/// One mapped file.
struct Shard {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    /// Where tensor data begins.
    data: usize,
}

/// All files of a checkpoint.
pub(super) struct Checkpoint {
    shards: Vec<Shard>,
    /// Tensor name to shard.
    place: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(read)?;
        // SAFETY: the map is private to this process and read once while loading. A
        // file that is cut short meanwhile by somebody else would raise SIGBUS: the
        // model directory belongs to the operator, as the binary does.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|source| LoadError::Damaged {
                path: path.clone(),
                source,
            })?;
        Ok(Self {
            path,
            map,
            metadata,
            data: LENGTH_BYTES + header,
        })
    }
}

impl Checkpoint {
    /// Opens `dir/model.safetensors`, or the files of `dir/model.safetensors.index.json`.
    pub(super) fn open(dir: &Path) -> Result<Self, LoadError> {
        let single = dir.join("model.safetensors");
        let index_path = dir.join("model.safetensors.index.json");
        if single.is_file() || !index_path.is_file() {
            let shard = Shard::open(single)?;
            let place = shard
                .metadata
                .tensors()
                .into_keys()
                .map(|name| (name, 0))
                .collect();
            return Ok(Self {
                shards: vec![shard],
                place,
            });
        }
        let text = std::fs::read(&index_path).map_err(|source| LoadError::Read {
            path: index_path.clone(),
            source,
        })?;
        let index: Index = serde_json::from_slice(&text).map_err(|source| LoadError::Json {
            path: index_path.clone(),
            source,
        })?;
        let mut shards: Vec<Shard> = Vec::new();
        let mut numbers = BTreeMap::new();
        let mut place = BTreeMap::new();
        for (tensor, file) in index.weight_map {
            // A name with a folder in it could point out of the model's directory.
            if Path::new(&file).file_name() != Some(file.as_ref()) {
                return Err(LoadError::ShardName {
                    path: index_path,
                    file,
                });
            }
            let number = match numbers.get(&file) {
                Some(number) => *number,
                None => {
                    shards.push(Shard::open(dir.join(&file))?);
                    numbers.insert(file, shards.len() - 1);
                    shards.len() - 1
                }
            };
            place.insert(tensor, number);
        }
        Ok(Self { shards, place })
    }

    /// A tensor's values as f32, if it is there with this very shape.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let missing = || LoadError::Missing {
            tensor: name.to_owned(),
        };
        let shard = &self.shards[*self.place.get(name).ok_or_else(missing)?];
        let info = shard.metadata.info(name).ok_or_else(missing)?;
        if info.shape != shape {
            return Err(LoadError::Shape {
                tensor: name.to_owned(),
                want: shape.to_vec(),
                got: info.shape.clone(),
            });
        }
        let (start, end) = info.data_offsets;
        let bytes = &shard.map[shard.data + start..shard.data + end];
        match info.dtype {
            Dtype::F32 => Ok(widen(bytes, f32::from_le_bytes)),
            Dtype::F16 => Ok(widen(bytes, |b| f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => Ok(widen(bytes, |b| bf16::from_le_bytes(b).to_f32())),
            other => Err(LoadError::Dtype {
                path: shard.path.clone(),
                tensor: name.to_owned(),
                dtype: format!("{other:?}"),
            }),
        }
    }

    /// As [`Self::tensor`], if every value is a finite number.
    pub(super) fn finite(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let values = self.tensor(name, shape)?;
        let checked = values.par_iter().with_min_len(WIDEN_MIN_VALUES);
        if checked.all(|v| v.is_finite()) {
            Ok(values)
        } else {
            Err(LoadError::NotFinite {
                tensor: name.to_owned(),
            })
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }
}

/// In parallel: what a start waits for first is reading and widening all weights once.
fn widen<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    let chunks = bytes.as_chunks::<N>().0.par_iter();
    chunks
        .with_min_len(WIDEN_MIN_VALUES)
        .map(|chunk| value(*chunk))
        .collect()
}
