//! How much slower a run becomes because of what the GPU's other partitions run.
//!
//! The factor is at least 1. With several models in another partition the worst of them counts, because any of them may
//! be running. With several other partitions their additions to the linear model are summed; a table of pairs says
//! nothing of three partitions, and is refused there.

use crate::PackError;
use std::collections::BTreeMap;

/// What predicts the slowdown.
#[derive(Clone, Debug, Default)]
pub enum Interference {
    /// Partitions do not disturb each other.
    #[default]
    None,
    Linear(Linear),
    Table(PairTable),
}

/// Slowdown = `l2_self`·own cache utilisation + `l2_other`·the other's + `dram_self`·own memory utilisation +
/// `dram_other`·the other's + `constant` (gpulet, section 4.4; utilisations as shares on their partitions).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    pub l2_self: f64,
    pub l2_other: f64,
    pub dram_self: f64,
    pub dram_other: f64,
    pub constant: f64,
}

impl Linear {
    /// The coefficients in the order of the formula.
    pub fn coefficients(&self) -> [f64; 5] {
        [self.l2_self, self.l2_other, self.dram_self, self.dram_other, self.constant]
    }

    /// # Errors
    /// A coefficient that is not finite, or larger than 1000.
    pub fn new(coefficients: [f64; 5]) -> Result<Linear, PackError> {
        for value in coefficients {
            if !value.is_finite() || value.abs() > 1000.0 {
                return Err(PackError::Number {
                    place: "a coefficient of the interference model".into(),
                    value,
                    want: "finite and at most 1000",
                });
            }
        }
        let [l2_self, l2_other, dram_self, dram_other, constant] = coefficients;
        Ok(Linear { l2_self, l2_other, dram_self, dram_other, constant })
    }
}

/// A run of one model: name, batch.
pub(crate) type RunKey = (String, u32);

/// Measured slowdowns of pairs: of a run on a partition, beside a run on the rest of the GPU.
#[derive(Clone, Debug, Default)]
pub struct PairTable {
    slowdown: BTreeMap<(RunKey, u32), BTreeMap<RunKey, f64>>,
}

impl PairTable {
    /// Adds the measured slowdown of `model` at `batch` on `size`, beside `other` at `other_batch`. A factor below 1
    /// (noise) counts as 1.
    ///
    /// # Errors
    /// A factor that is not finite and positive.
    pub fn add(
        &mut self,
        (model, batch, size): (&str, u32, u32),
        (other, other_batch): (&str, u32),
        factor: f64,
    ) -> Result<(), PackError> {
        if !(factor.is_finite() && factor > 0.0) {
            return Err(PackError::Number {
                place: format!("the slowdown of {model} beside {other}"),
                value: factor,
                want: "a positive factor",
            });
        }
        self.slowdown
            .entry(((model.to_owned(), batch), size))
            .or_default()
            .insert((other.to_owned(), other_batch), factor.max(1.0));
        Ok(())
    }

    pub fn get(
        &self,
        (model, batch, size): (&str, u32, u32),
        (other, other_batch): (&str, u32),
    ) -> Option<f64> {
        let row = self.slowdown.get(&((model.to_owned(), batch), size))?;
        row.get(&(other.to_owned(), other_batch)).copied()
    }

    /// How many pairs were measured.
    pub fn len(&self) -> usize {
        self.slowdown.values().map(BTreeMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
