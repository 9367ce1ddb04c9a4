//! Models in order of urgency.

use crate::policy::Urgency;
use std::collections::VecDeque;
use sublet_units::{ModelId, Time};

/// Models with their urgencies, the most urgent first; equals in order of ids. An entry is one number, so that
/// comparing is cheap; a sorted row instead of a tree, since most come and go near its ends.
#[derive(Debug, Default)]
pub(crate) struct Ranking(VecDeque<u128>);

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
            let at = self.0.binary_search(&pack(old, model)).expect("an entry that is there");
            self.0.remove(at);
        }
        if let Some(key) = new {
            let key = pack(key, model);
            match self.0.back() {
                Some(last) if *last > key => {
                    let at = self.0.binary_search(&key).expect_err("a model has one entry");
                    self.0.insert(at, key);
                }
                _ => self.0.push_back(key),
            }
        }
        *current = new;
        new.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Option<(Urgency, ModelId)> {
        self.0.front().map(|&key| unpack(key))
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
