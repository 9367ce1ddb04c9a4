//! Which versions of which models are served now, and why others are not.

use crate::served::Served;
use crate::{EngineError, ErrorKind, IndexEntry, ModelState};
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[derive(Default)]
pub(crate) struct Registry {
    models: RwLock<BTreeMap<String, Record>>,
}

/// One model.
#[derive(Default)]
struct Record {
    versions: BTreeMap<u64, Version>,
    /// Being loaded for the first time, so that no version is known yet.
    loading: bool,
    /// Why there is no version.
    reason: String,
}

struct Version {
    state: ModelState,
    reason: String,
    /// Set while it is served or drains.
    served: Option<Arc<Served>>,
}

pub(crate) enum Resolved {
    Served(Arc<Served>),
    /// The model was never loaded: whether it exists, the repository knows.
    Unknown,
}

/// What a switch of versions changed.
pub(super) struct Switched {
    pub ready: Vec<Arc<Served>>,
    /// Took the place of by another of the same version.
    pub replaced: Vec<Arc<Served>>,
    /// Of versions that are served no more.
    pub dropped: Vec<Arc<Served>>,
}

impl Registry {
    /// The version asked for, or the newest that is ready.
    ///
    /// # Errors
    /// `NotFound` for a version that does not exist, `Unavailable` for one that is not ready.
    pub fn resolve(&self, name: &str, version: Option<u64>) -> Result<Resolved, EngineError> {
        let models = self.read();
        let Some(record) = models.get(name) else { return Ok(Resolved::Unknown) };
        let unavailable = |reason: &str| {
            let message = match reason {
                "" => format!("model `{name}` is not ready"),
                reason => format!("model `{name}` is not ready: {reason}"),
            };
            Err(EngineError::new(ErrorKind::Unavailable, message))
        };
        let Some(version) = version else {
            let newest = record.versions.values().rev().find_map(Version::ready);
            return match newest {
                Some(served) => Ok(Resolved::Served(served.clone())),
                None if record.loading => unavailable("it is being loaded"),
                None => unavailable(record.why_not()),
            };
        };
        match record.versions.get(&version) {
            Some(found) => match found.ready() {
                Some(served) => Ok(Resolved::Served(served.clone())),
                None => unavailable(&found.reason),
            },
            None if record.loading => unavailable("it is being loaded"),
            None if record.versions.is_empty() => unavailable(&record.reason),
            None => Err(EngineError::new(
                ErrorKind::NotFound,
                format!("model `{name}` has no version {version}"),
            )),
        }
    }

    pub fn ready_versions(&self, name: &str) -> Vec<u64> {
        let models = self.read();
        let versions = models.get(name).into_iter().flat_map(|record| &record.versions);
        versions.filter(|(_, found)| found.ready().is_some()).map(|(&number, _)| number).collect()
    }

    /// Every version that is ready, by name and version.
    pub fn all_ready(&self) -> Vec<Arc<Served>> {
        let models = self.read();
        let versions = models.values().flat_map(|record| record.versions.values());
        versions.filter_map(Version::ready).cloned().collect()
    }

    /// The versions of one model that are ready.
    pub fn serving(&self, name: &str) -> BTreeMap<u64, Arc<Served>> {
        let models = self.read();
        let versions = models.get(name).into_iter().flat_map(|record| &record.versions);
        versions.filter_map(|(&number, found)| Some((number, found.ready()?.clone()))).collect()
    }

    pub fn entries(&self) -> Vec<IndexEntry> {
        let mut entries = Vec::new();
        for (name, record) in self.read().iter() {
            let entry = |version, state, reason: &str| IndexEntry {
                name: name.clone(),
                version,
                state,
                reason: reason.to_owned(),
            };
            for (&number, version) in &record.versions {
                entries.push(entry(Some(number), version.state, &version.reason));
            }
            if record.versions.is_empty() {
                let (state, reason) = match record.loading {
                    true => (ModelState::Loading, ""),
                    false => (ModelState::Unavailable, record.reason.as_str()),
                };
                entries.push(entry(None, state, reason));
            }
        }
        entries
    }

    /// A load begins. What is served goes on being served.
    pub(super) fn loading(&self, name: &str) {
        self.write().entry(name.to_owned()).or_default().loading = true;
    }

    /// A load failed, in one version or before any was known; what was served before still is.
    pub(super) fn failed(&self, name: &str, version: Option<u64>, reason: &str) {
        let mut models = self.write();
        let record = models.entry(name.to_owned()).or_default();
        record.loading = false;
        record.reason = reason.to_owned();
        if let Some(version) = version {
            let unavailable =
                || Version { state: ModelState::Unavailable, reason: String::new(), served: None };
            record.versions.entry(version).or_insert_with(unavailable).reason = reason.to_owned();
        } else {
            for version in record.versions.values_mut() {
                version.reason = reason.to_owned();
            }
        }
    }

    /// Serves exactly these versions from now on.
    pub(super) fn switch(&self, name: &str, versions: Vec<Arc<Served>>) -> Switched {
        let mut models = self.write();
        let record = models.entry(name.to_owned()).or_default();
        record.loading = false;
        record.reason.clear();
        let mut before = std::mem::take(&mut record.versions);
        let mut switched =
            Switched { ready: Vec::new(), replaced: Vec::new(), dropped: Vec::new() };
        for served in versions {
            let old = before.remove(&served.version).and_then(|old| old.served);
            let same = old.as_ref().is_some_and(|old| old.id == served.id);
            if !same {
                switched.replaced.extend(old);
                switched.ready.push(served.clone());
            }
            let (number, reason) = (served.version, String::new());
            let ready = Version { state: ModelState::Ready, reason, served: Some(served) };
            record.versions.insert(number, ready);
        }
        for (number, mut old) in before {
            if let Some(served) = old.served.clone() {
                if old.state == ModelState::Ready {
                    old.state = ModelState::Unloading;
                    switched.dropped.push(served);
                }
                record.versions.insert(number, old);
            }
        }
        switched
    }

    pub fn knows(&self, name: &str) -> bool {
        self.read().contains_key(name)
    }

    /// Marks all versions as unloading and returns those that drain; `None` for an unknown model.
    pub(super) fn unload(&self, name: &str) -> Option<Vec<Arc<Served>>> {
        let mut models = self.write();
        let record = models.get_mut(name)?;
        record.reason = "unloaded".into();
        let mut draining = Vec::new();
        for version in record.versions.values_mut() {
            if let Some(served) = version.served.clone() {
                version.state = ModelState::Unloading;
                version.reason = "being unloaded".into();
                draining.push(served);
            }
        }
        Some(draining)
    }

    /// Forgets the models that are not to be kept, once they have drained.
    pub(super) fn forget_unless(&self, keep: impl Fn(&str) -> bool) {
        self.write().retain(|name, record| {
            let drained = record.versions.values().all(|version| version.served.is_none());
            keep(name) || record.loading || !drained
        });
    }

    /// A version has left every device; returns whether it was still shown as unloading.
    pub fn gone(&self, served: &Served) -> bool {
        let mut models = self.write();
        let record = models.get_mut(&served.name);
        let version = record.and_then(|record| record.versions.get_mut(&served.version));
        match version {
            Some(version)
                if version.state == ModelState::Unloading
                    && version.served.as_ref().is_some_and(|shown| shown.id == served.id) =>
            {
                *version = Version {
                    state: ModelState::Unavailable,
                    reason: "unloaded".into(),
                    served: None,
                };
                true
            }
            _ => false,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Record>> {
        self.models.read().expect("no thread panics while it holds the registry")
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Record>> {
        self.models.write().expect("no thread panics while it holds the registry")
    }
}

impl Record {
    /// Why no version is ready.
    fn why_not(&self) -> &str {
        let reasons = self.versions.values().rev().map(|version| version.reason.as_str());
        reasons.into_iter().find(|reason| !reason.is_empty()).unwrap_or(&self.reason)
    }
}

impl Version {
    fn ready(&self) -> Option<&Arc<Served>> {
        self.served.as_ref().filter(|_| self.state == ModelState::Ready)
    }
}
