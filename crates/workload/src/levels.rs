//! Loads of intervals, from [`Levels`].

use crate::draw::Draw;
use crate::error::WorkloadError;
use crate::spec::{Level, Levels};

/// Where a sequence of loads is.
#[derive(Clone, Debug)]
pub(crate) struct LevelWalk {
    levels: Levels,
    /// State, or number of the interval.
    current: usize,
    begun: bool,
}

impl LevelWalk {
    pub fn new(levels: &Levels) -> Result<Self, WorkloadError> {
        levels.check()?;
        Ok(LevelWalk { levels: levels.clone(), current: 0, begun: false })
    }

    /// The next interval's load in requests per second.
    pub fn next(&mut self, draw: &mut Draw) -> f64 {
        match &self.levels {
            Levels::Lognormal { mu, sigma } => (mu + sigma * draw.normal()).exp(),
            Levels::Explicit { rates } => {
                let rate = rates[self.current];
                self.current = (self.current + 1) % rates.len();
                rate
            }
            Levels::Markov { states } => {
                if !self.begun {
                    self.begun = true;
                    self.current = first(states, draw);
                } else if states.len() > 1 && !draw.chance(states[self.current].stay) {
                    let other = draw.below(states.len() as u64 - 1) as usize;
                    self.current = other + usize::from(other >= self.current);
                }
                let Level { mu, sigma, .. } = states[self.current];
                (mu + sigma * draw.normal()).exp()
            }
        }
    }
}

/// A state as it is found at a random moment.
fn first(states: &[Level], draw: &mut Draw) -> usize {
    let shares = stationary(states);
    let mut at = draw.unit();
    for (index, share) in shares.iter().enumerate() {
        if at <= *share {
            return index;
        }
        at -= share;
    }
    states.len() - 1
}

/// How much of the time each state has. Leaving is symmetric, so the flow out of every state is the same: shares are in
/// proportion to 1 ÷ (1 − stay).
fn stationary(states: &[Level]) -> Vec<f64> {
    let weights: Vec<f64> = states.iter().map(|state| 1.0 / (1.0 - state.stay)).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

impl Levels {
    /// The mean load in requests per second.
    pub(crate) fn mean(&self) -> f64 {
        let lognormal = |mu: f64, sigma: f64| (mu + sigma * sigma / 2.0).exp();
        match self {
            Levels::Lognormal { mu, sigma } => lognormal(*mu, *sigma),
            Levels::Markov { states } if states.len() == 1 => {
                lognormal(states[0].mu, states[0].sigma)
            }
            Levels::Markov { states } => {
                let shares = stationary(states);
                let loads = states.iter().map(|state| lognormal(state.mu, state.sigma));
                loads.zip(shares).map(|(load, share)| load * share).sum()
            }
            Levels::Explicit { rates } => rates.iter().sum::<f64>() / rates.len() as f64,
        }
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        match self {
            Levels::Lognormal { mu, .. } => *mu += factor.ln(),
            Levels::Markov { states } => {
                states.iter_mut().for_each(|state| state.mu += factor.ln());
            }
            Levels::Explicit { rates } => rates.iter_mut().for_each(|rate| *rate *= factor),
        }
    }

    fn check(&self) -> Result<(), WorkloadError> {
        let wrong = |reason: String| Err(WorkloadError::field("arrivals.levels", reason));
        let parameters = |mu: f64, sigma: f64| mu.is_finite() && sigma.is_finite() && sigma >= 0.0;
        match self {
            Levels::Lognormal { mu, sigma } if !parameters(*mu, *sigma) => {
                wrong(format!("mu {mu} with sigma {sigma} means nothing"))
            }
            Levels::Markov { states } if states.is_empty() => wrong("there are no states".into()),
            Levels::Markov { states } => {
                let alone = states.len() == 1;
                let bad = states.iter().find(|state| {
                    !parameters(state.mu, state.sigma)
                        || !(0.0..=1.0).contains(&state.stay)
                        || (state.stay == 1.0 && !alone)
                });
                match bad {
                    Some(bad) => wrong(format!("{bad:?} means nothing: stay lies in [0, 1)")),
                    None => Ok(()),
                }
            }
            Levels::Explicit { rates } => {
                match rates.iter().find(|r| !(r.is_finite() && **r >= 0.0)) {
                    Some(bad) => wrong(format!("{bad} is not a rate")),
                    None if rates.iter().sum::<f64>() <= 0.0 => wrong("there is no load".into()),
                    None => Ok(()),
                }
            }
            Levels::Lognormal { .. } => Ok(()),
        }
    }
}
