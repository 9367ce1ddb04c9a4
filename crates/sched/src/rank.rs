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
    #[inline]
    pub fn rekey(
        &mut self,
        model: ModelId,
        current: &mut Option<Urgency>,
        new: Option<Urgency>,
    ) -> bool {
        if *current == new {
            return false;
        }
        if let Some(old) = std::mem::replace(current, new) {
            self.remove(pack(old, model));
        }
        if let Some(key) = new {
            self.insert(pack(key, model));
        }
        new.is_some()
    }

    pub fn len(&self) -> usize {
        self.0.len()
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

    fn insert(&mut self, key: u128) {
        match (self.0.front(), self.0.back()) {
            (Some(_), Some(last)) if *last < key => self.0.push_back(key),
            (Some(first), Some(_)) if *first > key => self.0.push_front(key),
            (None, None) => self.0.push_back(key),
            _ => {
                let at = self.0.binary_search(&key).expect_err("a model has one entry");
                self.0.insert(at, key);
            }
        }
    }

    fn remove(&mut self, key: u128) {
        if self.0.front() == Some(&key) {
            self.0.pop_front();
        } else if self.0.back() == Some(&key) {
            self.0.pop_back();
        } else {
            let at = self.0.binary_search(&key).expect("an entry that is there");
            self.0.remove(at);
        }
    }
}

fn pack(urgency: Urgency, model: ModelId) -> u128 {
    u128::from(urgency.class) << 96 | u128::from(urgency.when.0) << 32 | u128::from(model.0)
}

fn unpack(key: u128) -> (Urgency, ModelId) {
    let urgency = Urgency { class: (key >> 96) as u32, when: Time((key >> 32) as u64) };
    (urgency, ModelId(key as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Against a plain map, with urgencies that change at random.
    #[test]
    fn a_ranking_is_in_order_whatever_comes_and_goes() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut ranking, mut plain) = (Ranking::default(), BTreeMap::new());
        for _ in 0..5_000 {
            let model = ModelId(rng.u32(0..30));
            let urgency = Urgency { class: rng.u32(0..2), when: Time(rng.u64(0..40)) };
            let new = (rng.u32(0..3) > 0).then_some(urgency);
            let mut current = plain.get(&model).copied();
            let moves_in = current != new && new.is_some();
            assert_eq!(ranking.rekey(model, &mut current, new), moves_in);
            assert_eq!(current, new);
            plain.remove(&model);
            plain.extend(new.map(|urgency| (model, urgency)));
            let mut sorted: Vec<(Urgency, ModelId)> =
                plain.iter().map(|(&model, &urgency)| (urgency, model)).collect();
            sorted.sort_unstable();
            assert!(ranking.iter().eq(sorted.iter().copied()));
            assert_eq!(ranking.first(), sorted.first().copied());
        }
    }
}
