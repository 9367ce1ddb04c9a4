//! The files of one model, wherever they are.

use super::file::{self, Fingerprint};
use crate::{EngineError, ErrorKind};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// How deep, and how many files, are looked at to see whether a model changed.
const DEPTH_MAX: usize = 4;
const ENTRIES_MAX: usize = 10_000;

/// The files of one model. Paths are relative to its folder, with `/`.
pub(crate) struct Files {
    place: Place,
    bytes_max: u64,
}

enum Place {
    Disk {
        /// The repository, which no path leads out of. Without symlinks, as is `folder`.
        root: PathBuf,
        folder: PathBuf,
        /// The model is this one file of the folder.
        only: Option<String>,
    },
    /// Given with a load request.
    Memory(BTreeMap<String, Bytes>),
}

/// One file, read.
#[derive(Clone)]
pub(crate) struct Contents {
    pub bytes: Bytes,
    /// `None` for a file that was never on disk.
    pub print: Option<Fingerprint>,
}

impl Files {
    /// # Errors
    /// `Invalid` when the folder leads out of `root`.
    pub(super) fn on_disk(
        root: &Path,
        folder: &Path,
        only: Option<String>,
        bytes_max: u64,
    ) -> Result<Self, EngineError> {
        let folder = inside(root, folder)?;
        Ok(Files { place: Place::Disk { root: root.to_owned(), folder, only }, bytes_max })
    }

    pub fn in_memory(files: BTreeMap<String, Bytes>, bytes_max: u64) -> Self {
        Files { place: Place::Memory(files), bytes_max }
    }

    /// Files of a single model outside any repository: a model file, or its folder.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for a path without a file name.
    pub fn standalone(path: &Path, bytes_max: u64) -> Result<Self, EngineError> {
        let path = path.canonicalize().map_err(|error| {
            EngineError::new(ErrorKind::NotFound, format!("{}: {error}", path.display()))
        })?;
        if path.is_dir() {
            return Files::on_disk(&path, &path, None, bytes_max);
        }
        match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(folder), Some(name)) => {
                Files::on_disk(folder, folder, Some(name.to_owned()), bytes_max)
            }
            _ => Err(EngineError::new(
                ErrorKind::Invalid,
                format!("{}: not a model file", path.display()),
            )),
        }
    }

    /// The file that is the whole model, where it has no folder of its own.
    pub fn only(&self) -> Option<&str> {
        match &self.place {
            Place::Disk { only, .. } => only.as_deref(),
            Place::Memory(_) => None,
        }
    }

    pub fn contains(&self, path: &str) -> bool {
        match &self.place {
            Place::Disk { folder, .. } => folder.join(path).exists(),
            Place::Memory(files) => files.contains_key(path),
        }
    }

    /// Names of the folders directly below.
    pub fn folders(&self) -> Vec<String> {
        match &self.place {
            Place::Disk { only: Some(_), .. } => Vec::new(),
            Place::Disk { folder, .. } => fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.path().is_dir())
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect(),
            Place::Memory(files) => {
                let first = |path: &String| Some(path.split_once('/')?.0.to_owned());
                let mut folders: Vec<_> = files.keys().filter_map(first).collect();
                folders.dedup();
                folders
            }
        }
    }

    /// # Errors
    /// `NotFound`; `Invalid` for what may not be read; `Internal` when reading fails.
    pub fn read(&self, path: &str) -> Result<Contents, EngineError> {
        match &self.place {
            Place::Disk { root, folder, .. } => {
                let (bytes, print) =
                    file::read(&inside(root, &folder.join(path))?, self.bytes_max)?;
                Ok(Contents { bytes, print: Some(print) })
            }
            Place::Memory(files) => match files.get(path) {
                Some(bytes) if bytes.len() as u64 > self.bytes_max => Err(EngineError::new(
                    ErrorKind::Invalid,
                    format!(
                        "{path}: {} bytes: at most {} are accepted",
                        bytes.len(),
                        self.bytes_max
                    ),
                )),
                Some(bytes) => Ok(Contents { bytes: bytes.clone(), print: None }),
                None => Err(EngineError::new(
                    ErrorKind::NotFound,
                    format!("no file `{path}` was given"),
                )),
            },
        }
    }

    /// Reads a file that a model file in `version` (a folder, or empty) names, such as its external data.
    ///
    /// # Errors
    /// `Invalid` for a path that leads out of that folder; as [`Files::read`].
    pub fn read_beside(&self, version: &str, location: &str) -> Result<Contents, EngineError> {
        let mut parts = Vec::new();
        for part in Path::new(location).components() {
            match part {
                Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
                Component::CurDir => {}
                _ => parts.push(""),
            }
        }
        if parts.is_empty() || parts.contains(&"") || location.contains(['\0', '\\']) {
            return Err(EngineError::new(
                ErrorKind::Invalid,
                format!("external data at {location:?}: the path must stay in the model's folder"),
            ));
        }
        let path = join(version, &parts.join("/"));
        if let Place::Disk { folder, .. } = &self.place {
            inside(&folder.join(version).canonicalize().map_err(lost)?, &folder.join(&path))?;
        }
        self.read(&path)
    }

    /// The fingerprint of one file, without reading it; `None` for files in memory and those not to be read.
    pub fn fingerprint(&self, path: &str) -> Option<Fingerprint> {
        let Place::Disk { root, folder, .. } = &self.place else { return None };
        let path = inside(root, &folder.join(path)).ok()?;
        path.metadata().ok().map(|found| Fingerprint::new(&path, &found))
    }

    /// One entry for each file, to see whether anything changed. Empty for files in memory.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let mut prints = Vec::new();
        match &self.place {
            Place::Disk { folder, only: Some(name), .. } => {
                let path = folder.join(name);
                prints.extend(path.metadata().ok().map(|found| Fingerprint::new(&path, &found)));
            }
            Place::Disk { folder, only: None, .. } => collect(folder, 0, &mut prints),
            Place::Memory(_) => {}
        }
        prints.sort();
        prints
    }
}

/// `folder/name`, or `name` where the folder is the model's own.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The path without symlinks, if it stays in `root`.
fn inside(root: &Path, path: &Path) -> Result<PathBuf, EngineError> {
    let found = path.canonicalize().map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        };
        EngineError::new(kind, format!("{}: {error}", path.display()))
    })?;
    if found.starts_with(root) {
        return Ok(found);
    }
    let message = format!("{}: a link leads out of {}", path.display(), root.display());
    Err(EngineError::new(ErrorKind::Invalid, message))
}

fn lost(error: std::io::Error) -> EngineError {
    EngineError::new(ErrorKind::NotFound, format!("the model's folder is gone: {error}"))
}

fn collect(folder: &Path, depth: usize, prints: &mut Vec<Fingerprint>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = path.metadata() else { continue };
        if prints.len() == ENTRIES_MAX {
            return;
        }
        if metadata.is_file() {
            prints.push(Fingerprint::new(&path, &metadata));
        } else if metadata.is_dir() && depth < DEPTH_MAX {
            collect(&path, depth + 1, prints);
        }
    }
}
