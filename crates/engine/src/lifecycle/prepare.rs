//! Makes model versions ready to be served: configuration, program, and the checks of one against the other.

use super::import::{Imported, import};
use crate::config_text::{ConfigText, complete, parse_config_json, parse_config_text};
use crate::core::stopping;
use crate::repository::{
    Files, Fingerprint, MainFile, Repository, VersionFiles, check_name, select, versions,
};
use crate::served::{Program, Served, Source};
use crate::store::{Key, Packed, Store, pack};
use crate::{EngineError, ErrorKind, LoadOverride};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use sublet_graph::{Evaluate, InferError, RewriteOptions, rewrite};
use sublet_plan::{CompileOptions, LayoutOptions, Plan, PlanError};
use sublet_units::ModelId;

pub(crate) struct Preparer {
    pub repository: Repository,
    pub store: Store,
    pub evaluator: Arc<dyn Evaluate>,
    pub rewrites: RewriteOptions,
    pub compile: CompileOptions,
    pub plans_max: usize,
    pub bytes_max: u64,
    pub models_made: AtomicU32,
}

/// Why a load failed; `version` where it is about one.
pub(super) struct LoadFailure {
    pub version: Option<u64>,
    pub error: EngineError,
}

/// What [`Preparer::prepare`] works on.
struct Request<'a> {
    name: &'a str,
    files: Files,
    config: Option<ConfigText>,
}

impl Preparer {
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Makes every version that is to be served. Those of `serving` that did not change are returned as they are.
    /// Gives up between steps once `stop` says so.
    pub(super) fn prepare(
        &self,
        name: &str,
        over: &LoadOverride,
        serving: &BTreeMap<u64, Arc<Served>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Arc<Served>>, LoadFailure> {
        let general =
            |error: EngineError| LoadFailure { version: None, error: named(name, &error) };
        let request = self.request(name, over).map_err(general)?;
        let selected = self.select(&request).map_err(general)?;
        let mut prepared = Vec::new();
        for (number, version) in selected {
            if stop() {
                return Err(LoadFailure { version: None, error: stopping() });
            }
            let unchanged = serving.get(&number).filter(|served| {
                served.source.as_ref().is_some_and(|source| source.still_holds(&request.config))
            });
            let served = match unchanged {
                Some(served) => served.clone(),
                None => {
                    Arc::new(self.version(&request, &version).map_err(|error| LoadFailure {
                        version: Some(number),
                        error: named(&format!("{name}` version `{number}"), &error),
                    })?)
                }
            };
            prepared.push(served);
        }
        Ok(prepared)
    }

    fn request<'a>(&self, name: &'a str, over: &LoadOverride) -> Result<Request<'a>, EngineError> {
        let files = if over.files.is_empty() {
            self.repository.find(name)?
        } else {
            check_name(name).map_err(|what| EngineError::new(ErrorKind::Invalid, what))?;
            Files::in_memory(over.files.clone(), self.bytes_max)
        };
        let config = match &over.config_json {
            Some(json) => {
                Some(parse_config_json(json).map_err(|error| config_error("config", &error))?)
            }
            None => read_config(&files)?,
        };
        Ok(Request { name, files, config })
    }

    fn select(&self, request: &Request<'_>) -> Result<BTreeMap<u64, VersionFiles>, EngineError> {
        let config = request.config.as_ref();
        let filename = config.and_then(|config| config.default_model_filename.as_deref());
        let found = versions(&request.files, filename)?;
        let policy = config.and_then(|config| config.version_policy.clone()).unwrap_or_default();
        select(found, &policy)
    }

    fn version(
        &self,
        request: &Request<'_>,
        version: &VersionFiles,
    ) -> Result<Served, EngineError> {
        let (packed, files) = self.packed(&request.files, version)?;
        // Each file was read whole, but a model may have several, which must belong together.
        if !files.iter().all(Fingerprint::still_holds) {
            let message = "its files changed while it was loaded: load it again";
            return Err(EngineError::new(ErrorKind::Invalid, message));
        }
        let program =
            Arc::new(Program { packed, evaluator: self.evaluator.clone(), options: self.compile });
        let trial = trial_plan(&program)?;
        let file = program.model_file(trial.as_ref());
        let completed = complete(request.name, request.config.as_ref(), &file)?;
        let id = ModelId(self.models_made.fetch_add(1, Ordering::Relaxed));
        let source = (!files.is_empty()).then(|| Source { files, config: request.config.clone() });
        Ok(Served::new(id, version.version, program, completed, source, self.plans_max))
    }

    /// From the store where it is there, otherwise from the files. Also returns the fingerprints of the files, none
    /// for those in memory.
    fn packed(
        &self,
        files: &Files,
        version: &VersionFiles,
    ) -> Result<(Packed, Vec<Fingerprint>), EngineError> {
        let known = match &version.main {
            MainFile::Onnx(path) | MainFile::Safetensors { weights: path, .. } => {
                files.fingerprint(path).and_then(|main| self.store.known(&main))
            }
            MainFile::Missing { .. } => None,
        };
        if let Some((key, prints)) = known
            && let Some(packed) = self.store.get(&key)
        {
            tracing::debug!(%key, "unchanged: taken from the model store");
            return Ok((packed, prints));
        }
        let imported = import(files, version, self.bytes_max)?;
        let contents = imported.files.iter().map(|file| &file.bytes[..]);
        let key = Key::of(contents, &self.rewrites, &LayoutOptions::default());
        let prints: Option<Vec<_>> = imported.files.iter().map(|file| file.print.clone()).collect();
        let packed = match self.store.get(&key) {
            Some(packed) => packed,
            None => self.pack(imported, &key, prints.is_some()),
        };
        let prints = prints.unwrap_or_default();
        if !prints.is_empty() {
            self.store.remember(prints.clone(), &key);
        }
        Ok((packed, prints))
    }

    fn pack(&self, imported: Imported, key: &Key, keep: bool) -> Packed {
        let Imported { mut model, platform, files } = imported;
        let report = rewrite(&mut model, &*self.evaluator, &self.rewrites);
        tracing::info!(%report, "rewritten");
        let packed = pack(model, platform, LayoutOptions::default());
        drop(files);
        if keep && let Err(error) = self.store.put(key, &packed) {
            // Only the next start is slower.
            tracing::warn!(%error, "the packed model cannot be kept in the model store");
        }
        packed
    }
}

/// The settings beside a model, if any.
pub(crate) fn read_config(files: &Files) -> Result<Option<ConfigText>, EngineError> {
    const NAME: &str = "config.pbtxt";
    if files.only().is_some() || !files.contains(NAME) {
        return Ok(None);
    }
    let text = files.read(NAME)?;
    let text = std::str::from_utf8(&text.bytes).map_err(|error| {
        let message = format!("{NAME}: not UTF-8 at byte {}", error.valid_up_to());
        EngineError::new(ErrorKind::Invalid, message)
    })?;
    parse_config_text(text).map(Some).map_err(|error| config_error(NAME, &error))
}

fn config_error(what: &str, error: &crate::ConfigError) -> EngineError {
    let kind = if error.unsupported { ErrorKind::Unsupported } else { ErrorKind::Invalid };
    EngineError::new(kind, format!("{what}:{error}"))
}

fn named(name: &str, error: &EngineError) -> EngineError {
    EngineError::new(error.kind(), format!("model `{name}`: {error}"))
}

/// A plan for the smallest shapes, so that what is not supported shows when the model is loaded. `None` when these
/// shapes are only a guess and happen not to suit the model.
fn trial_plan(program: &Program) -> Result<Option<Plan>, EngineError> {
    let Some((shapes, guessed)) = program.smallest_shapes() else { return Ok(None) };
    match program.compile(&shapes) {
        Ok(plan) => Ok(Some(plan)),
        Err(error @ PlanError::Infer { error: InferError::Unsupported(_), .. }) => {
            Err(EngineError::new(ErrorKind::Unsupported, error.to_string()))
        }
        Err(error) if guessed => {
            tracing::debug!(%error, "no plan for the smallest shapes");
            Ok(None)
        }
        Err(error) => Err(EngineError::new(ErrorKind::Invalid, error.to_string())),
    }
}
