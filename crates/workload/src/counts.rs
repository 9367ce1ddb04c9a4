//! Replays of counts per minute, folded onto the models.

use crate::draw::Draw;
use crate::error::{TraceError, WorkloadError};
use crate::schedule::{Arrival, Size};
use crate::spec::Spread;
use crate::trace::CountTable;
use std::sync::Arc;
use sublet_units::Time;

/// Requests per model and minute.
#[derive(Debug)]
pub(crate) struct Replay {
    models: u32,
    minutes: usize,
    /// `models × minutes`.
    counts: Vec<u32>,
    /// Factor on every count.
    scale: f64,
    /// Length of a minute.
    minute: Time,
    spread: Spread,
}

impl Replay {
    /// Takes minutes `first..first + minutes`. With fewer models than functions, functions are added up (function i goes
    /// to model i mod models); with more, functions are used several times (model i follows function i mod functions).
    pub fn new(
        table: &CountTable,
        models: u32,
        (first, minutes): (usize, Option<usize>),
        minute: Time,
        spread: Spread,
    ) -> Result<Self, TraceError> {
        let minutes = minutes.unwrap_or(usize::MAX).min(table.minutes.saturating_sub(first));
        let functions = table.functions();
        let mut counts = vec![0u32; models as usize * minutes];
        for function in 0..functions.max(models as usize) {
            let row = function % functions * table.minutes;
            let from = &table.counts[row + first.min(table.minutes)..][..minutes];
            let into = &mut counts[function % models as usize * minutes..][..minutes];
            into.iter_mut().zip(from).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
        }
        if counts.iter().all(|count| *count == 0) {
            return Err(TraceError::Empty);
        }
        Ok(Replay { models, minutes, counts, scale: 1.0, minute, spread })
    }

    /// Multiplies the counts by `scale`, or by what gives the mean `rate`.
    pub fn scaled(mut self, scale: Option<f64>, rate: Option<f64>) -> Result<Self, WorkloadError> {
        let total: f64 = self.counts.iter().map(|count| f64::from(*count)).sum();
        let as_recorded = total / self.span().as_secs_f64();
        self.scale = factor(scale, rate, as_recorded)?;
        let of_minute = |minute: usize| -> f64 {
            let counts = self.counts.iter().skip(minute).step_by(self.minutes);
            counts.map(|count| f64::from(*count) * self.scale).sum()
        };
        check_kept((0..self.minutes).map(of_minute).fold(0.0, f64::max))?;
        Ok(self)
    }

    pub fn span(&self) -> Time {
        Time(self.minute.0.saturating_mul(self.minutes as u64))
    }
}

/// Arrivals that are kept at once, at most: a minute's, or a whole trace's of single requests.
const KEPT_MAX: f64 = 5e7;

/// Refuses what would fill the memory.
pub(crate) fn check_kept(arrivals: f64) -> Result<(), WorkloadError> {
    match arrivals <= KEPT_MAX {
        true => Ok(()),
        false => {
            let reason = format!("makes {arrivals:.0} requests at once, more than {KEPT_MAX:.0}");
            Err(WorkloadError::field("arrivals.scale", reason))
        }
    }
}

/// The factor that `scale` or `rate` ask for.
pub(crate) fn factor(
    scale: Option<f64>,
    rate: Option<f64>,
    as_recorded: f64,
) -> Result<f64, WorkloadError> {
    let factor = match (scale, rate) {
        (Some(_), Some(_)) => {
            return Err(WorkloadError::field("arrivals.scale", "give either scale or rate"));
        }
        (Some(scale), None) => scale,
        (None, Some(rate)) => rate / as_recorded,
        (None, None) => 1.0,
    };
    match factor.is_finite() && factor > 0.0 {
        true => Ok(factor),
        false => Err(WorkloadError::field("arrivals.scale", format!("{factor} means nothing"))),
    }
}

/// `count · scale`, rounded up or down at random so that the mean is kept.
pub(crate) fn rounded(count: f64, draw: &mut Draw) -> u64 {
    let whole = count.floor();
    whole as u64 + u64::from(count > whole && draw.chance(count - whole))
}

/// The arrivals of a [`Replay`], one minute at a time.
#[derive(Clone, Debug)]
pub(crate) struct ReplayWalk {
    replay: Arc<Replay>,
    draw: Draw,
    minute: usize,
    /// The current minute's arrivals, and how many were given out.
    pending: Vec<Arrival>,
    given: usize,
}

impl ReplayWalk {
    pub fn new(replay: Arc<Replay>, draw: Draw) -> Self {
        ReplayWalk { replay, draw, minute: 0, pending: Vec::new(), given: 0 }
    }

    pub fn next(&mut self) -> Option<Arrival> {
        while self.given == self.pending.len() {
            if self.minute == self.replay.minutes {
                return None;
            }
            self.fill();
        }
        self.given += 1;
        Some(self.pending[self.given - 1])
    }

    fn fill(&mut self) {
        let replay = &self.replay;
        let begin = replay.minute.0.saturating_mul(self.minute as u64);
        self.pending.clear();
        self.given = 0;
        for model in 0..replay.models {
            let count = replay.counts[model as usize * replay.minutes + self.minute];
            let count = rounded(f64::from(count) * replay.scale, &mut self.draw);
            let phase = match replay.spread {
                Spread::Even if count > 0 => self.draw.below(replay.minute.0.max(1)),
                _ => 0,
            };
            for index in 0..count {
                let within = match replay.spread {
                    Spread::Random => self.draw.below(replay.minute.0.max(1)),
                    Spread::Even => {
                        let step =
                            u128::from(replay.minute.0) * u128::from(index) / u128::from(count);
                        (phase + step as u64) % replay.minute.0.max(1)
                    }
                };
                let at = Time(begin.saturating_add(within));
                self.pending.push(Arrival { at, model, size: Size::default() });
            }
        }
        self.pending.sort_unstable();
        self.minute += 1;
    }
}
