//! Follows changes in the repository.

use super::Lifecycle;
use super::jobs::Job;
use crate::LoadOverride;
use crate::repository::Fingerprint;
use std::collections::BTreeMap;
use std::time::Duration;

/// What each model's files looked like when it was last loaded, or tried.
pub(crate) type Seen = BTreeMap<String, Vec<Fingerprint>>;

impl Lifecycle {
    /// What there is now.
    pub fn survey(&self) -> Seen {
        let repository = self.preparer.repository();
        let look = |name: String| {
            // A model that is there twice, or leads out of the repository, fails when it is loaded.
            let prints = repository.find(&name).map(|files| files.fingerprints());
            (name, prints.unwrap_or_default())
        };
        repository.names().into_iter().map(look).collect()
    }

    /// Compares the repository with what was `seen` and follows, until the engine stops. For a thread of its own.
    pub fn poll(&self, every: Duration, mut seen: Seen) {
        while self.jobs.pause(every) {
            let now = self.survey();
            let changed: Vec<_> = now
                .iter()
                .filter(|(name, prints)| seen.get(*name) != Some(prints))
                .map(|(name, _)| name.clone())
                .collect();
            let removed: Vec<_> =
                seen.keys().filter(|name| !now.contains_key(*name)).cloned().collect();
            for name in &changed {
                tracing::info!(model = name, "changed on disk");
            }
            let job =
                |name| Job { name, over: LoadOverride::default(), done: None, startup: false };
            self.jobs.add(changed.into_iter().map(job).collect());
            for name in removed {
                tracing::info!(model = name, "removed from the repository");
                if let Err(error) = self.begin_unload(&name) {
                    tracing::debug!(model = name, %error, "not unloaded");
                }
            }
            self.core.registry.forget_unless(|name| now.contains_key(name));
            seen = now;
        }
    }
}
