//! The model repository: folders of models as Triton lays them out, and what may be read from them.
//!
//! `name` says what a model may be called, `file` reads one file safely, `files` is the files of one model (on
//! disk, or given with a load request), `versions` finds the versions among them.

mod file;
mod files;
mod name;
mod versions;

pub(crate) use file::Fingerprint;
pub(crate) use files::{Contents, Files};
pub(crate) use name::check_name;
pub(crate) use versions::{MainFile, VersionFiles, select, versions};

use crate::{EngineError, ErrorKind};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// All folders of models.
pub(crate) struct Repository {
    /// Without symlinks.
    roots: Vec<PathBuf>,
    /// Largest file read.
    bytes_max: u64,
}

impl Repository {
    /// # Errors
    /// `Invalid` for a folder that does not exist.
    pub fn open(roots: &[PathBuf], bytes_max: u64) -> Result<Self, EngineError> {
        let canonical = |root: &PathBuf| {
            let found = root.canonicalize().and_then(|root| fs::read_dir(&root).map(|_| root));
            found.map_err(|error| {
                let message = format!("model repository {}: {error}", root.display());
                EngineError::new(ErrorKind::Invalid, message)
            })
        };
        let roots = roots.iter().map(canonical).collect::<Result<Vec<_>, _>>()?;
        Ok(Repository { roots, bytes_max })
    }

    /// The names of all models there are, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names = BTreeMap::new();
        for root in &self.roots {
            // A folder that cannot be read now (being remounted, say) is as good as empty.
            for entry in fs::read_dir(root).into_iter().flatten().flatten() {
                let Some(file_name) = entry.file_name().to_str().map(str::to_owned) else {
                    continue;
                };
                let path = entry.path();
                let name = match path.is_dir() {
                    true if looks_like_a_model(&path) => Some(file_name.as_str()),
                    true => None,
                    false => file_name.strip_suffix(".onnx"),
                };
                if let Some(name) = name.filter(|name| check_name(name).is_ok()) {
                    names.insert(name.to_owned(), ());
                }
            }
        }
        names.into_keys().collect()
    }

    /// The files of one model.
    ///
    /// # Errors
    /// `Invalid` for an improper name or one that stands for several models, `NotFound`.
    pub fn find(&self, name: &str) -> Result<Files, EngineError> {
        check_name(name).map_err(|what| EngineError::new(ErrorKind::Invalid, what))?;
        let mut found = Vec::new();
        for root in &self.roots {
            let folder = root.join(name);
            if folder.is_dir() {
                found.push((root, folder, None));
            }
            let file_name = format!("{name}.onnx");
            if root.join(&file_name).is_file() {
                found.push((root, root.clone(), Some(file_name)));
            }
        }
        match found.len() {
            0 => Err(EngineError::new(
                ErrorKind::NotFound,
                format!("model `{name}` is not in the repository"),
            )),
            1 => {
                let (root, folder, only) = found.remove(0);
                Files::on_disk(root, &folder, only, self.bytes_max)
            }
            _ => Err(EngineError::new(
                ErrorKind::Invalid,
                format!("model `{name}` is in the repository more than once"),
            )),
        }
    }
}

/// Whether a folder holds something that a model consists of; other folders (`.git`, `lost+found`) are passed over.
fn looks_like_a_model(folder: &Path) -> bool {
    ["config.pbtxt", "model.onnx", "config.json"].iter().any(|name| folder.join(name).exists())
        || fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
            entry.file_name().to_str().is_some_and(|name| versions::parse_version(name).is_some())
        })
}

#[cfg(test)]
mod tests;
