//! Measured latency and utilisation of models by batch size and partition size.
//!
//! Nothing is interpolated: a point that was not measured is an error that names it.

use crate::{Interference, PackError};
use std::collections::{BTreeMap, BTreeSet};
use sublet_units::Time;

/// How much of the second-level cache's and the memory's bandwidth a run uses, as shares between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Utilisation {
    pub l2: f64,
    pub dram: f64,
}

/// What was measured of every model on one kind of GPU.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    models: BTreeMap<String, ModelProfile>,
}

#[derive(Clone, Debug, Default)]
struct ModelProfile {
    /// By (partition size, batch).
    latency: BTreeMap<(u32, u32), Time>,
    /// By (partition size, batch), as measured on that partition.
    measured: BTreeMap<(u32, u32), Utilisation>,
    /// By batch, as measured on the whole GPU: a partition is taken to use its share of it.
    whole: BTreeMap<u32, Utilisation>,
}

impl Profile {
    /// Adds a latency; a later one of the same point replaces it.
    ///
    /// # Errors
    /// A latency of zero, or a batch or partition of zero.
    pub fn add_latency(
        &mut self,
        model: &str,
        size: u32,
        batch: u32,
        latency: Time,
    ) -> Result<(), PackError> {
        let place = || format!("the latency of {model} at batch {batch} on a partition of {size}");
        if latency == Time::ZERO || size == 0 || batch == 0 {
            return Err(PackError::Invalid {
                place: place(),
                what: "latency, batch and partition must be positive".into(),
            });
        }
        self.entry(model).latency.insert((size, batch), latency);
        Ok(())
    }

    /// Adds a utilisation: measured on a partition of `size`, or on the whole GPU when `size` is `None`.
    ///
    /// # Errors
    /// A share that is not between 0 and 1.
    pub fn add_utilisation(
        &mut self,
        model: &str,
        size: Option<u32>,
        batch: u32,
        used: Utilisation,
    ) -> Result<(), PackError> {
        for (name, value) in [("cache", used.l2), ("memory", used.dram)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(PackError::Number {
                    place: format!("the {name} utilisation of {model} at batch {batch}"),
                    value,
                    want: "a share between 0 and 1",
                });
            }
        }
        let entry = self.entry(model);
        match size {
            Some(size) => entry.measured.insert((size, batch), used),
            None => entry.whole.insert(batch, used),
        };
        Ok(())
    }

    fn entry(&mut self, model: &str) -> &mut ModelProfile {
        self.models.entry(model.to_owned()).or_default()
    }

    pub fn has(&self, model: &str) -> bool {
        self.models.get(model).is_some_and(|profile| !profile.latency.is_empty())
    }

    /// The models with a latency, in order of their names.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models
            .iter()
            .filter(|(_, profile)| !profile.latency.is_empty())
            .map(|(name, _)| name.as_str())
    }

    /// Every batch size at which the model was measured on some partition.
    pub fn batches(&self, model: &str) -> BTreeSet<u32> {
        let points = self.models.get(model).into_iter().flat_map(|profile| profile.latency.keys());
        points.map(|(_, batch)| *batch).collect()
    }

    /// How long one run takes alone on a partition.
    pub fn latency(&self, model: &str, size: u32, batch: u32) -> Option<Time> {
        self.models.get(model)?.latency.get(&(size, batch)).copied()
    }

    /// What one run uses: as measured on that partition, else the partition's share (`size` of `whole`) of what it
    /// uses of the whole GPU (gpulet, section 4.4).
    pub fn utilisation(
        &self,
        model: &str,
        size: u32,
        whole: u32,
        batch: u32,
    ) -> Option<Utilisation> {
        let profile = self.models.get(model)?;
        let share = f64::from(size) / f64::from(whole);
        profile.measured.get(&(size, batch)).copied().or_else(|| {
            profile
                .whole
                .get(&batch)
                .map(|used| Utilisation { l2: used.l2 * share, dram: used.dram * share })
        })
    }

    /// The same measurements of one model under another name.
    ///
    /// # Errors
    /// `model` is not in the profile.
    pub fn alias(&mut self, name: &str, model: &str) -> Result<(), PackError> {
        let found = self.models.get(model).cloned().ok_or_else(|| PackError::Invalid {
            place: format!("model {name}"),
            what: format!("the profile has no {model} to take its place"),
        })?;
        self.models.insert(name.to_owned(), found);
        Ok(())
    }

    /// Checks that every batch at which `model` was measured anywhere was measured on each of `sizes`, with its
    /// utilisation where `interference` asks for it.
    pub(crate) fn require(
        &self,
        kind: &str,
        model: &str,
        sizes: &[u32],
        whole: u32,
        interference: &Interference,
    ) -> Result<(), PackError> {
        for batch in self.batches(model) {
            for &size in sizes {
                let (kind, model) = (kind.to_owned(), model.to_owned());
                if self.latency(&model, size, batch).is_none() {
                    return Err(PackError::MissingLatency { kind, model, batch, size });
                }
                if matches!(interference, Interference::Linear(_))
                    && self.utilisation(&model, size, whole, batch).is_none()
                {
                    return Err(PackError::MissingUtilisation { kind, model, batch, size });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_point_is_an_error_that_names_it() {
        let mut profile = Profile::default();
        profile.add_latency("a", 20, 1, Time::from_millis(2)).unwrap();
        profile.add_latency("a", 40, 2, Time::from_millis(2)).unwrap();
        let error = profile.require("gpu", "a", &[20, 40], 100, &Interference::None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the profile of gpu has no latency of a at batch 1 on a partition of 40"
        );
        assert!(profile.add_latency("a", 0, 1, Time(1)).is_err());
        assert!(profile.add_latency("a", 20, 1, Time::ZERO).is_err());
    }

    #[test]
    fn utilisation_is_the_measured_one_or_the_share_of_the_whole() {
        let mut profile = Profile::default();
        let whole = Utilisation { l2: 0.5, dram: 0.25 };
        profile.add_utilisation("a", None, 1, whole).unwrap();
        assert_eq!(profile.utilisation("a", 20, 100, 1), Some(Utilisation { l2: 0.1, dram: 0.05 }));
        profile.add_utilisation("a", Some(20), 1, whole).unwrap();
        assert_eq!(profile.utilisation("a", 20, 100, 1), Some(whole));
        assert_eq!(profile.utilisation("a", 20, 100, 2), None);
        let hostile = Utilisation { l2: f64::NAN, dram: 0.0 };
        assert!(profile.add_utilisation("a", None, 1, hostile).is_err());
    }
}
