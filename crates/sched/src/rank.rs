//! Models in order of urgency.

use crate::policy::Urgency;
use std::collections::BTreeSet;
use sublet_units::{ModelId, Time};

/// Models with their urgencies, the most urgent first; equals in order of ids. An entry is one number, so that
/// comparing is cheap.
#[derive(Debug, Default)]
pub(crate) struct Ranking(BTreeSet<u128>);

impl Ranking {
    /// Moves a model to another place, or in or out. Returns whether it got a new place.
    pub fn rekey(
        &mut self,
        model: ModelId,
        current: &mut Option<Urgency>,
        new: Option<Urgency>,
    ) -> bool {
        if *current == new {
            return false;
        }
        if let Some(old) = current.take() {
            self.0.remove(&pack(old, model));
        }
        if let Some(key) = new {
            self.0.insert(pack(key, model));
        }
        *current = new;
        new.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Option<(Urgency, ModelId)> {
        self.0.first().map(|&key| unpack(key))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Urgency, ModelId)> {
        self.0.iter().map(|&key| unpack(key))
    }
}

fn pack(urgency: Urgency, model: ModelId) -> u128 {
    u128::from(urgency.class) << 96 | u128::from(urgency.when.0) << 32 | u128::from(model.0)
}

fn unpack(key: u128) -> (Urgency, ModelId) {
    let urgency = Urgency { class: (key >> 96) as u32, when: Time((key >> 32) as u64) };
    (urgency, ModelId(key as u32))
}
