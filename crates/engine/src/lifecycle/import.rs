//! From a version's files to a graph with weights.

use super::external::FilesBeside;
use crate::repository::{Contents, Files, MainFile, VersionFiles};
use crate::store::Platform;
use crate::{EngineError, ErrorKind};
use sublet_graph::Model;
use sublet_import::{ImportError, Limits, import_bert, import_onnx};

/// A model as its files have it.
pub(crate) struct Imported {
    pub model: Model,
    pub platform: Platform,
    /// Every file that was read, the main one first and the others in a fixed order.
    pub files: Vec<Contents>,
}

/// `bytes_max` bounds each file, and all weights together.
///
/// # Errors
/// `NotFound` for a version without a model file, `Unsupported` and `Invalid` as the import says, naming the node.
pub(crate) fn import(
    files: &Files,
    version: &VersionFiles,
    bytes_max: u64,
) -> Result<Imported, EngineError> {
    let limits = Limits { weights_bytes: bytes_max, ..Limits::default() };
    match &version.main {
        MainFile::Onnx(path) => {
            let main = files.read(path)?;
            let beside = FilesBeside::new(files, &version.folder, bytes_max);
            let model = import_onnx(main.bytes.clone(), &beside, &limits)
                .map_err(|error| import_error(path, error))?;
            let files = std::iter::once(main).chain(beside.into_contents()).collect();
            Ok(Imported { model, platform: Platform::Onnx, files })
        }
        MainFile::Safetensors { config, weights } => {
            let main = files.read(weights)?;
            let settings = files.read(config)?;
            let model = import_bert(&settings.bytes, main.bytes.clone(), &limits)
                .map_err(|error| import_error(weights, error))?;
            Ok(Imported { model, platform: Platform::Bert, files: vec![main, settings] })
        }
        MainFile::Missing { wanted } => {
            Err(EngineError::new(ErrorKind::NotFound, format!("no model file: neither {wanted}")))
        }
    }
}

fn import_error(path: &str, error: ImportError) -> EngineError {
    let kind = match error {
        ImportError::Unsupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Invalid,
    };
    EngineError::new(kind, format!("{path}: {error}"))
}
