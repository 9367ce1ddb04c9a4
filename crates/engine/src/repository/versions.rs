//! Finds the versions of a model among its files.

use super::files::{Files, join};
use super::name::check_name;
use crate::{EngineError, ErrorKind, VersionPolicy};
use std::collections::BTreeMap;

/// Where one version lies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VersionFiles {
    pub version: u64,
    /// Relative to the model's folder; empty when the files are there directly.
    pub folder: String,
    pub main: MainFile,
}

/// What kind of model it is, by the files it has. Paths are relative to the model's folder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MainFile {
    Onnx(String),
    /// A Hugging Face folder.
    Safetensors {
        config: String,
        weights: String,
    },
    /// A version without any known file.
    Missing {
        wanted: String,
    },
}

/// All versions, complete or not.
///
/// # Errors
/// `NotFound` when there is none, `Invalid` for an improper `filename` (`default_model_filename`).
pub(crate) fn versions(
    files: &Files,
    filename: Option<&str>,
) -> Result<BTreeMap<u64, VersionFiles>, EngineError> {
    let filename = filename.filter(|name| !name.is_empty());
    if let Some(name) = filename {
        check_name(name).map_err(|what| {
            EngineError::new(ErrorKind::Invalid, format!("default_model_filename: {what}"))
        })?;
    }
    let mut found = BTreeMap::new();
    for folder in files.folders() {
        if let Some(version) = parse_version(&folder) {
            let main = main_file(files, &folder, filename);
            found.insert(version, VersionFiles { version, folder, main });
        }
    }
    if found.is_empty() {
        let main = match files.only() {
            Some(name) => MainFile::Onnx(name.to_owned()),
            None => main_file(files, "", filename),
        };
        if let MainFile::Missing { wanted } = main {
            return Err(EngineError::new(
                ErrorKind::NotFound,
                format!("no version: neither a folder named by a number, nor {wanted}"),
            ));
        }
        found.insert(1, VersionFiles { version: 1, folder: String::new(), main });
    }
    Ok(found)
}

/// The versions to serve.
///
/// # Errors
/// `NotFound` for a version that the policy names and that does not exist.
pub(crate) fn select(
    found: BTreeMap<u64, VersionFiles>,
    policy: &VersionPolicy,
) -> Result<BTreeMap<u64, VersionFiles>, EngineError> {
    match policy {
        VersionPolicy::All => Ok(found),
        VersionPolicy::Latest { count } => {
            Ok(found.into_iter().rev().take(*count as usize).collect())
        }
        VersionPolicy::Specific(wanted) => {
            let mut found = found;
            let take = |version: &u64| match found.remove(version) {
                Some(files) => Ok((*version, files)),
                None => Err(EngineError::new(
                    ErrorKind::NotFound,
                    format!("version {version}, which `version_policy` names, does not exist"),
                )),
            };
            let mut wanted = wanted.clone();
            wanted.sort_unstable();
            wanted.dedup();
            wanted.iter().map(take).collect()
        }
    }
}

/// A folder's name as a version: a positive number.
pub(super) fn parse_version(name: &str) -> Option<u64> {
    let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|&version| digits && version > 0)
}

fn main_file(files: &Files, folder: &str, filename: Option<&str>) -> MainFile {
    let name = filename.unwrap_or("model.onnx");
    let path = join(folder, name);
    let (config, weights) = (join(folder, "config.json"), join(folder, "model.safetensors"));
    if files.contains(&path) && !path.ends_with(".safetensors") {
        MainFile::Onnx(path)
    } else if files.contains(&config) && files.contains(&weights) {
        MainFile::Safetensors { config, weights }
    } else {
        MainFile::Missing { wanted: format!("`{path}`, nor `{config}` with `{weights}`") }
    }
}
