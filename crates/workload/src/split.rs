//! Shares of the models, from a [`Split`].

use crate::draw::Draw;
use crate::error::WorkloadError;
use crate::spec::Split;

impl Split {
    /// One share per model; they sum to 1.
    pub(crate) fn shares(&self, models: u32, draw: &mut Draw) -> Result<Vec<f64>, WorkloadError> {
        let positive = |field: &'static str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(value),
            false => Err(WorkloadError::field(field, format!("must be positive, not {value}"))),
        };
        let mut shares = vec![1.0; models as usize];
        match self {
            Split::Uniform => {}
            Split::Zipf { exponent } => {
                if !(exponent.is_finite() && *exponent >= 0.0) {
                    let reason = format!("must not be negative, is {exponent}");
                    return Err(WorkloadError::field("split.exponent", reason));
                }
                let rank = |(index, share): (usize, &mut f64)| {
                    *share = 1.0 / ((index + 1) as f64).powf(*exponent);
                };
                shares.iter_mut().enumerate().for_each(rank);
            }
            Split::PowerLaw { exponent } => {
                let exponent = positive("split.exponent", *exponent)?;
                shares.fill_with(|| draw.unit().powf(exponent));
            }
            Split::Dirichlet { concentration } => {
                draw.dirichlet(positive("split.concentration", *concentration)?, &mut shares);
            }
            Split::Explicit { weights } => {
                let bad = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0));
                if let Some(bad) = bad {
                    let reason = format!("must not be negative, one is {bad}");
                    return Err(WorkloadError::field("split.weights", reason));
                }
                if weights.len() > models as usize {
                    let reason = format!("{} weights for {models} models", weights.len());
                    return Err(WorkloadError::field("split.weights", reason));
                }
                if weights.is_empty() {
                    return Err(WorkloadError::field("split.weights", "there are none"));
                }
                shares.iter_mut().zip(weights.iter().cycle()).for_each(|(share, w)| *share = *w);
            }
        }
        let sum: f64 = shares.iter().sum();
        if sum <= 0.0 {
            return Err(WorkloadError::field("split.weights", "all are zero"));
        }
        shares.iter_mut().for_each(|share| *share /= sum);
        Ok(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_their_formula() {
        let mut draw = Draw::new(1, 0);
        let zipf = Split::Zipf { exponent: 1.0 }.shares(3, &mut draw).unwrap();
        assert!((zipf[0] / zipf[1] - 2.0).abs() < 1e-12 && (zipf[0] / zipf[2] - 3.0).abs() < 1e-12);
        let explicit = Split::Explicit { weights: vec![10.0, 1.0] }.shares(4, &mut draw).unwrap();
        assert_eq!(explicit, [10.0 / 22.0, 1.0 / 22.0, 10.0 / 22.0, 1.0 / 22.0]);
        for split in [
            Split::Uniform,
            Split::PowerLaw { exponent: 2.0 },
            Split::Dirichlet { concentration: 0.3 },
        ] {
            let shares = split.shares(50, &mut draw).unwrap();
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{split:?}");
        }
    }

    #[test]
    fn meaningless_shares_are_refused() {
        let refused = |split: Split| split.shares(2, &mut Draw::new(1, 0)).unwrap_err().to_string();
        assert!(refused(Split::Explicit { weights: vec![0.0, 0.0] }).contains("zero"));
        assert!(
            refused(Split::Explicit { weights: vec![1.0; 3] }).contains("3 weights for 2 models")
        );
        assert!(refused(Split::Explicit { weights: vec![-1.0] }).contains("-1"));
        assert!(refused(Split::Dirichlet { concentration: 0.0 }).contains("positive"));
        assert!(refused(Split::Zipf { exponent: f64::NAN }).contains("NaN"));
    }
}
