//! Intervals between one process's arrivals, in nanoseconds.

use crate::draw::Draw;
use crate::error::WorkloadError;
use crate::spec::{MarkovState, Process};
use std::sync::Arc;

/// The law of one process's intervals.
#[derive(Clone, Debug)]
pub(crate) enum Gap {
    Constant { mean: f64, begun: bool },
    Exponential { mean: f64 },
    Gamma { shape: f64, scale: f64 },
    Pareto { least: f64, power: f64 },
    Lognormal { mu: f64, sigma: f64 },
    Markov(Modulated),
}

/// A Markov-modulated Poisson process: where it is, and how long it stays there.
#[derive(Clone, Debug)]
pub(crate) struct Modulated {
    states: Arc<[MarkovState]>,
    /// Factor on the states' rates.
    share: f64,
    current: usize,
    left: f64,
}

impl Gap {
    /// The intervals of a model that has `share` of the rate. The process must be one of intervals.
    pub fn new(process: &Process, share: f64, draw: &mut Draw) -> Result<Self, WorkloadError> {
        let positive = |field: &'static str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(value),
            false => Err(WorkloadError::field(field, format!("must be positive, not {value}"))),
        };
        let mean = |rate: f64| Ok(1e9 / (positive("arrivals.rate", rate)? * share));
        match process {
            Process::Constant { rate } => Ok(Gap::Constant { mean: mean(*rate)?, begun: false }),
            Process::Poisson { rate } => Ok(Gap::Exponential { mean: mean(*rate)? }),
            Process::Gamma { rate, cv } => {
                let square = positive("arrivals.cv", *cv)?.powi(2);
                Ok(Gap::Gamma { shape: 1.0 / square, scale: mean(*rate)? * square })
            }
            Process::Pareto { rate, alpha } => {
                if !(alpha.is_finite() && *alpha > 1.0) {
                    let reason = format!("must be above 1 for a mean to exist, is {alpha}");
                    return Err(WorkloadError::field("arrivals.alpha", reason));
                }
                // The mean of a Pareto variable is least · alpha ÷ (alpha − 1).
                Ok(Gap::Pareto { least: mean(*rate)? * (alpha - 1.0) / alpha, power: -1.0 / alpha })
            }
            Process::Lognormal { rate, sigma } => {
                let sigma = positive("arrivals.sigma", *sigma)?;
                // The mean of a log-normal variable is exp(mu + sigma² ÷ 2).
                Ok(Gap::Lognormal { mu: mean(*rate)?.ln() - sigma * sigma / 2.0, sigma })
            }
            Process::Markov { states } => Modulated::new(states, share, draw).map(Gap::Markov),
            Process::Piecewise { .. } | Process::Counts { .. } | Process::Timestamps { .. } => {
                unreachable!("not a process of intervals")
            }
        }
    }

    /// The next interval.
    #[inline]
    pub fn next(&mut self, draw: &mut Draw) -> u64 {
        let nanos = match self {
            Gap::Exponential { mean } => draw.exponential() * *mean,
            Gap::Constant { mean, begun } => {
                if *begun {
                    *mean
                } else {
                    *begun = true;
                    draw.unit() * *mean
                }
            }
            Gap::Gamma { shape, scale } => draw.gamma(*shape) * *scale,
            Gap::Pareto { least, power } => *least * draw.unit().powf(*power),
            Gap::Lognormal { mu, sigma } => (*mu + *sigma * draw.normal()).exp(),
            Gap::Markov(modulated) => modulated.next(draw),
        };
        // Saturates: a heavy tail may reach past the end of time.
        (nanos + 0.5) as u64
    }
}

impl Modulated {
    fn new(states: &[MarkovState], share: f64, draw: &mut Draw) -> Result<Self, WorkloadError> {
        let field = "arrivals.states";
        if states.is_empty() {
            return Err(WorkloadError::field(field, "there are none"));
        }
        for state in states {
            if !(state.rate.is_finite() && state.rate >= 0.0) || state.dwell.0 == 0 {
                let reason =
                    format!("rate {} with dwell {} means nothing", state.rate, state.dwell);
                return Err(WorkloadError::field(field, reason));
            }
        }
        if states.iter().all(|state| state.rate == 0.0) {
            return Err(WorkloadError::field(field, "all rates are zero"));
        }
        // Begins as it is found at a random moment: states last in proportion to their dwell times.
        let total: f64 = states.iter().map(|state| state.dwell.0 as f64).sum();
        let mut at = draw.unit() * total;
        let mut current = 0;
        while current + 1 < states.len() && at > states[current].dwell.0 as f64 {
            at -= states[current].dwell.0 as f64;
            current += 1;
        }
        let left = draw.exponential() * states[current].dwell.0 as f64;
        Ok(Modulated { states: states.into(), share, current, left })
    }

    fn next(&mut self, draw: &mut Draw) -> f64 {
        let mut gap = 0.0;
        loop {
            let state = self.states[self.current];
            // The exponential law forgets, so an interval cut by a change of state is drawn anew after it.
            if state.rate > 0.0 {
                let within = draw.exponential() * 1e9 / (state.rate * self.share);
                if within <= self.left {
                    self.left -= within;
                    return gap + within;
                }
            }
            gap += self.left;
            if gap > u64::MAX as f64 {
                return gap;
            }
            if self.states.len() > 1 {
                let other = draw.below(self.states.len() as u64 - 1) as usize;
                self.current = other + usize::from(other >= self.current);
            }
            self.left = draw.exponential() * self.states[self.current].dwell.0 as f64;
        }
    }
}
