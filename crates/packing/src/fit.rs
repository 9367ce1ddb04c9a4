//! Fitting the linear interference model to measured pairs, and how well it fits.

use crate::formats::PairRow;
use crate::{Linear, PackError, Profile};
use std::collections::BTreeMap;

/// How far predictions are from measurements, relative to the measured slowdown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitError {
    pub mean: f64,
    pub p90: f64,
    pub worst: f64,
    /// The share of pairs within a tenth.
    pub within_tenth: f64,
}

/// A fitted model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    pub linear: Linear,
    pub pairs: usize,
    /// On the pairs that it was fitted to.
    pub seen: FitError,
    /// On each couple of models, by a fit to all others: what to expect of models that were not measured together.
    pub unseen: FitError,
}

/// One measured pair: utilisations (own and other's cache, own and other's memory, 1) and the slowdown.
struct Sample<'a> {
    couple: (&'a str, &'a str),
    terms: [f64; 5],
    slowdown: f64,
}

/// Relative errors beyond this count linearly, not squared: a few runs that met something else do not bend the model.
const OUTLIER: f64 = 0.05;
/// Rounds of reweighting; the coefficients settle well before.
const ROUNDS: usize = 30;

/// Fits the linear model by least squares of relative errors, large ones counted linearly (Huber 1964). The other run is taken to have the rest of a GPU of `whole`.
///
/// # Errors
/// A point that the profile lacks, or pairs too few or too alike to determine five coefficients.
pub fn fit(profile: &Profile, pairs: &[PairRow], whole: u32) -> Result<Fit, PackError> {
    let samples: Vec<Sample> =
        pairs.iter().map(|row| sample(profile, row, whole)).collect::<Result<_, _>>()?;
    let all: Vec<&Sample> = samples.iter().collect();
    let linear = solve(&all)?;
    let seen = all.iter().map(|sample| error(&linear, sample)).collect();
    let mut couples: BTreeMap<(&str, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in &samples {
        couples.entry(sample.couple).or_default().push(sample);
    }
    let mut unseen = Vec::new();
    for (couple, held_out) in &couples {
        let others: Vec<&Sample> =
            samples.iter().filter(|sample| sample.couple != *couple).collect();
        let linear = solve(&others)?;
        unseen.extend(held_out.iter().map(|sample| error(&linear, sample)));
    }
    Ok(Fit { linear, pairs: samples.len(), seen: summary(seen), unseen: summary(unseen) })
}

/// How well given coefficients predict measured pairs.
///
/// # Errors
/// A point that the profile lacks, or no pairs.
pub fn assess(
    linear: &Linear,
    profile: &Profile,
    pairs: &[PairRow],
    whole: u32,
) -> Result<FitError, PackError> {
    let errors: Vec<f64> = pairs
        .iter()
        .map(|row| Ok(error(linear, &sample(profile, row, whole)?)))
        .collect::<Result<_, PackError>>()?;
    if errors.is_empty() {
        return Err(PackError::Invalid {
            place: "the pairs".into(),
            what: "there are none".into(),
        });
    }
    Ok(summary(errors))
}

fn sample<'a>(profile: &Profile, row: &'a PairRow, whole: u32) -> Result<Sample<'a>, PackError> {
    let kind = || "the pairs' GPU".to_owned();
    let alone = profile.latency(&row.model, row.size, row.batch).ok_or_else(|| {
        PackError::MissingLatency {
            kind: kind(),
            model: row.model.clone(),
            batch: row.batch,
            size: row.size,
        }
    })?;
    let used = |model: &str, size: u32, batch: u32| {
        profile.utilisation(model, size, whole, batch).ok_or_else(|| {
            PackError::MissingUtilisation { kind: kind(), model: model.to_owned(), batch, size }
        })
    };
    let own = used(&row.model, row.size, row.batch)?;
    let rest =
        whole.checked_sub(row.size).filter(|rest| *rest > 0).ok_or_else(|| PackError::Invalid {
            place: format!("a pair with {} on a partition of {}", row.model, row.size),
            what: format!("nothing is left of {whole} for {}", row.other),
        })?;
    let other = used(&row.other, rest, row.other_batch)?;
    Ok(Sample {
        couple: (&row.model, &row.other),
        terms: [own.l2, other.l2, own.dram, other.dram, 1.0],
        slowdown: row.latency.as_millis_f64() / alone.as_millis_f64(),
    })
}

/// Least squares, then again with weights by how far each sample was off.
fn solve(samples: &[&Sample]) -> Result<Linear, PackError> {
    let mut weights: Vec<f64> = samples.iter().map(|sample| sample.slowdown.powi(-2)).collect();
    let mut linear = least_squares(samples, &weights)?;
    for _ in 0..ROUNDS {
        for (weight, sample) in weights.iter_mut().zip(samples) {
            let trust = (OUTLIER / error(&linear, sample).max(1e-12)).min(1.0);
            *weight = trust * sample.slowdown.powi(-2);
        }
        linear = least_squares(samples, &weights)?;
    }
    Ok(linear)
}

/// The normal equations `XᵀWX c = XᵀWy`, solved by elimination with the largest pivot.
fn least_squares(samples: &[&Sample], weights: &[f64]) -> Result<Linear, PackError> {
    let mut rows = [[0.0; 6]; 5];
    for (sample, weight) in samples.iter().zip(weights) {
        for (row, own) in rows.iter_mut().zip(sample.terms) {
            for (cell, term) in row.iter_mut().zip(sample.terms) {
                *cell += weight * own * term;
            }
            row[5] += weight * own * sample.slowdown;
        }
    }
    for column in 0..5 {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..5).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        if rows[pivot][column].abs() < 1e-9 {
            return Err(PackError::Invalid {
                place: "the pairs".into(),
                what: "they are too few or too alike to determine five coefficients".into(),
            });
        }
        rows.swap(column, pivot);
        let of_pivot = rows[column];
        for (_, row) in rows.iter_mut().enumerate().filter(|(index, _)| *index != column) {
            let factor = row[column] / of_pivot[column];
            row.iter_mut().zip(of_pivot).for_each(|(cell, pivot)| *cell -= factor * pivot);
        }
    }
    let mut coefficients = [0.0; 5];
    for (index, coefficient) in coefficients.iter_mut().enumerate() {
        *coefficient = rows[index][5] / rows[index][index];
    }
    Linear::new(coefficients)
}

fn error(linear: &Linear, sample: &Sample) -> f64 {
    let terms = linear.coefficients().into_iter().zip(sample.terms);
    let predicted = terms.map(|(factor, term)| factor * term).sum::<f64>().max(1.0);
    (predicted - sample.slowdown).abs() / sample.slowdown
}

fn summary(mut errors: Vec<f64>) -> FitError {
    errors.sort_by(f64::total_cmp);
    let count = errors.len();
    let rank = (count * 9).div_ceil(10).clamp(1, count);
    FitError {
        mean: errors.iter().sum::<f64>() / count as f64,
        p90: errors[rank - 1],
        worst: errors[count - 1],
        within_tenth: errors.iter().filter(|error| **error <= 0.1).count() as f64 / count as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Utilisation;
    use sublet_units::Time;

    fn profile(models: &[&str]) -> Profile {
        let mut draw = fastrand::Rng::with_seed(1);
        let mut profile = Profile::default();
        for model in models {
            for size in [20, 40, 60, 80] {
                for batch in [1, 4] {
                    profile.add_latency(model, size, batch, Time::from_millis(10)).unwrap();
                    let used = Utilisation { l2: draw.f64(), dram: draw.f64() };
                    profile.add_utilisation(model, Some(size), batch, used).unwrap();
                }
            }
        }
        profile
    }

    #[test]
    fn finds_the_coefficients_that_made_the_pairs() {
        let models = ["a", "b", "c"];
        let profile = profile(&models);
        let true_model = Linear::new([0.2, 0.7, 0.3, 0.1, 1.05]).unwrap();
        let mut pairs = Vec::new();
        for model in models {
            for other in models {
                for size in [20, 40, 60, 80] {
                    let mut row = PairRow {
                        model: model.into(),
                        batch: 1,
                        size,
                        other: other.into(),
                        other_batch: 4,
                        latency: Time(1),
                    };
                    let terms = sample(&profile, &row, 100).unwrap().terms;
                    let factor: f64 =
                        true_model.coefficients().iter().zip(terms).map(|(c, t)| c * t).sum();
                    row.latency = Time((10e6 * factor) as u64);
                    pairs.push(row);
                }
            }
        }
        let found = fit(&profile, &pairs, 100).unwrap();
        for (a, b) in found.linear.coefficients().iter().zip(true_model.coefficients()) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        assert!(found.unseen.worst < 1e-4 && found.seen.within_tenth == 1.0);
        assert!(fit(&profile, &pairs[..2], 100).is_err());
        pairs[0].batch = 2;
        assert!(fit(&profile, &pairs, 100).unwrap_err().to_string().contains("batch 2"));
        assert!(assess(&true_model, &profile, &[], 100).is_err());
    }
}
