//! The model store: packed models on disk, so that a second start neither imports nor hashes anything.
//!
//! `packed` is a packed model in memory, `format` writes and reads it as a safetensors file, `index` remembers which
//! model files became which packed file. Packed files are named by the contents that they were made from.

mod format;
mod index;
mod packed;

pub use format::{PackedError, check_packed};
pub(crate) use packed::{Packed, Platform, pack};

use crate::repository::Fingerprint;
use crate::{EngineError, ErrorKind};
use index::SourceIndex;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use sublet_graph::{Precision, RewriteOptions};
use sublet_plan::LayoutOptions;

/// Counts changes of the packing and of the rewrites before it: packed files of another version are not used.
const PACKER_VERSION: u32 = 1;

/// Name of a packed model: the hash of everything that it was made from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Key(String);

pub(crate) struct Store {
    folder: PathBuf,
    index_path: PathBuf,
    index: Mutex<SourceIndex>,
}

impl Key {
    /// `files` are the model's files, always in the same order.
    pub fn of<'a>(
        files: impl Iterator<Item = &'a [u8]>,
        rewrites: &RewriteOptions,
        layout: &LayoutOptions,
    ) -> Key {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("sublet {PACKER_VERSION} {rewrites:?} {layout:?}").as_bytes());
        for file in files {
            // The length keeps apart what is cut into files differently.
            hasher.update(&(file.len() as u64).to_le_bytes());
            hasher.update(file);
        }
        Key(hasher.finalize().to_hex().to_string())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Store {
    /// Creates the folder if need be. Models packed in different precisions share it, each with an index of its own.
    ///
    /// # Errors
    /// `Invalid` when it cannot be created.
    pub fn open(folder: &Path, precision: Option<Precision>) -> Result<Store, EngineError> {
        fs::create_dir_all(folder).map_err(|error| {
            let message = format!("model store {}: {error}", folder.display());
            EngineError::new(ErrorKind::Invalid, message)
        })?;
        let index_path = folder.join(match precision {
            None => "index.json".to_owned(),
            Some(precision) => format!("index-{precision}.json"),
        });
        let index = Mutex::new(SourceIndex::read(&index_path));
        Ok(Store { folder: folder.to_owned(), index_path, index })
    }

    /// The packed model, if it is there and whole. A broken file is removed.
    pub fn get(&self, key: &Key) -> Option<Packed> {
        let path = self.path(key);
        let read = File::open(&path).map_err(PackedError::from).and_then(|file| {
            let len = file.metadata()?.len();
            format::read(BufReader::new(file), len)
        });
        match read {
            Ok(packed) => Some(packed),
            Err(PackedError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "removing a broken packed model");
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove it");
                }
                None
            }
        }
    }

    /// Writes a packed model beside its final place and renames it, so that a crash leaves no half of one.
    ///
    /// # Errors
    /// When writing fails, or for a graph that its text form does not hold exactly.
    pub fn put(&self, key: &Key, packed: &Packed) -> Result<(), PackedError> {
        let header = format::header(packed)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        format::write(&header, packed, file.as_file_mut())?;
        file.as_file().sync_all()?;
        file.persist(self.path(key)).map_err(|error| error.error)?;
        Ok(())
    }

    /// What the model file with this fingerprint was packed as, if neither it nor its companions changed since.
    /// With the fingerprints of all of them.
    pub fn known(&self, main: &Fingerprint) -> Option<(Key, Vec<Fingerprint>)> {
        let index = self.index.lock().expect("no thread panics while it holds the index");
        index.known(main)
    }

    /// Remembers what a model's files (the first one naming it) were packed as; drops what they were packed as before.
    pub fn remember(&self, files: Vec<Fingerprint>, key: &Key) {
        let mut index = self.index.lock().expect("no thread panics while it holds the index");
        let unused = index.remember(files, key.clone());
        for key in unused {
            // Not there or not removable: it only takes room.
            let _ = fs::remove_file(self.path(&key));
        }
        if let Err(error) = index.write(&self.index_path) {
            tracing::warn!(%error, "cannot write the index of the model store");
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{key}.safetensors"))
    }
}

#[cfg(test)]
mod tests;
