//! Which model files became which packed file, so that unchanged files need not be read again.

use super::Key;
use crate::repository::Fingerprint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Default, Serialize, Deserialize)]
pub(super) struct SourceIndex {
    /// By the path of the main file.
    sources: BTreeMap<PathBuf, Source>,
}

#[derive(Serialize, Deserialize)]
struct Source {
    /// Every file that was read, the main one first.
    files: Vec<Fingerprint>,
    key: Key,
}

impl SourceIndex {
    /// An index that is missing or broken is empty: everything in it can be found again.
    pub fn read(path: &Path) -> Self {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "passing over a broken index");
                SourceIndex::default()
            }),
            Err(_) => SourceIndex::default(),
        }
    }

    /// What it was packed as, and every file that was read for it.
    pub fn known(&self, main: &Fingerprint) -> Option<(Key, Vec<Fingerprint>)> {
        let source = self.sources.get(&main.path)?;
        let unchanged =
            source.files.first() == Some(main) && source.files.iter().all(Fingerprint::still_holds);
        unchanged.then(|| (source.key.clone(), source.files.clone()))
    }

    /// Returns the keys that no source has any more.
    pub fn remember(&mut self, files: Vec<Fingerprint>, key: Key) -> Vec<Key> {
        let Some(main) = files.first().map(|main| main.path.clone()) else { return Vec::new() };
        let mut unused = Vec::new();
        self.sources.retain(|path, source| {
            let keep = *path != main && path.exists();
            if !keep {
                unused.push(source.key.clone());
            }
            keep
        });
        self.sources.insert(main, Source { files, key });
        unused.retain(|key| self.sources.values().all(|source| source.key != *key));
        unused
    }

    /// Writes it beside its place and renames it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}
