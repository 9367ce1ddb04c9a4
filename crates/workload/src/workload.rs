//! A description made ready: checked, its traces read, its shares drawn.

use crate::alias::Alias;
use crate::counts::{Replay, ReplayWalk, check_kept, factor, rounded};
use crate::draw::Draw;
use crate::error::{TraceError, WorkloadError};
use crate::levels::LevelWalk;
use crate::schedule::{Arrival, Schedule};
use crate::spec::{Assignment, Process, WorkloadSpec};
use crate::stream::{Arrivals, Drawn, Kind, Merged, Piecewise};
use crate::trace::{CountTable, Recorded, timestamps};
use std::sync::Arc;
use sublet_units::Time;

/// A workload for a number of models and a seed. It gives the same arrivals each time it is asked.
#[derive(Clone, Debug)]
pub struct Workload {
    models: u32,
    /// Everything at its beginning.
    start: Arrivals,
    span: Option<Time>,
}

/// Copies of a recorded request are moved by up to this.
const JITTER: Time = Time::from_secs(1);

impl Workload {
    /// Makes `spec` ready for `models` models. `resolve` gives the bytes of a trace's file, or says why not; it is not
    /// called for other processes.
    pub fn new(
        spec: &WorkloadSpec,
        models: u32,
        seed: u64,
        resolve: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, WorkloadError> {
        if models == 0 {
            return Err(WorkloadError::field("models", "there are none"));
        }
        // Stream 0 is for what all models share; model i has stream i + 1.
        let mut draw = Draw::new(seed, 0);
        let shares = spec.split.shares(models, &mut draw)?;
        let mut span = None;
        let kind = match &spec.arrivals {
            Process::Piecewise { every, levels } => {
                if every.0 == 0 {
                    return Err(WorkloadError::field("arrivals.every", "must not be zero"));
                }
                let piecewise = Piecewise {
                    levels: LevelWalk::new(levels)?,
                    every: every.0,
                    split: spec.split.clone(),
                    alias: Alias::new(&shares),
                    shares,
                    draw,
                    at: 0,
                    end: 0,
                    gap: f64::INFINITY,
                };
                Kind::Piecewise(Box::new(piecewise))
            }
            Process::Counts { file, .. } => {
                let bytes = bytes(file, resolve)?;
                let replay = counts(&spec.arrivals, models, &bytes)?;
                span = Some(replay.span());
                Kind::Replay(ReplayWalk::new(Arc::new(replay), draw))
            }
            Process::Timestamps { file, .. } => {
                let bytes = bytes(file, resolve)?;
                let (arrivals, length) = recorded(&spec.arrivals, models, &shares, draw, &bytes)?;
                span = Some(length);
                Kind::Fixed { arrivals: arrivals.into(), given: 0 }
            }
            process => match (process, spec.assign) {
                (Process::Poisson { .. }, _) | (_, Assignment::Drawn) => {
                    Kind::Drawn(Drawn::new(process, &shares, draw)?)
                }
                _ => Kind::Merged(Merged::new(process, &shares, seed)?),
            },
        };
        Ok(Workload { models, start: Arrivals(kind), span })
    }

    pub fn models(&self) -> u32 {
        self.models
    }

    /// How long a replay lasts; `None` for processes, which have no end.
    pub fn span(&self) -> Option<Time> {
        self.span
    }

    /// The arrivals one at a time, from the beginning.
    pub fn arrivals(&self) -> Arrivals {
        self.start.clone()
    }

    /// All arrivals before `until`.
    pub fn schedule(&self, until: Time) -> Schedule {
        let arrivals = self.arrivals().take_while(|arrival| arrival.at < until).collect();
        Schedule { models: self.models, span: until, arrivals }
    }
}

fn bytes(
    file: &str,
    resolve: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, WorkloadError> {
    resolve(file).map_err(|reason| WorkloadError::Missing { file: file.to_owned(), reason })
}

fn counts(process: &Process, models: u32, bytes: &[u8]) -> Result<Replay, WorkloadError> {
    let Process::Counts { file, format, spread, scale, rate, minute, first, minutes } = process
    else {
        unreachable!("called for counts");
    };
    if minute.0 == 0 {
        return Err(WorkloadError::field("arrivals.minute", "must not be zero"));
    }
    let trace = |source: TraceError| WorkloadError::Trace { file: file.clone(), source };
    let table = CountTable::read(*format, bytes).map_err(trace)?;
    let replay = Replay::new(&table, models, (*first, *minutes), *minute, *spread);
    replay.map_err(trace)?.scaled(*scale, *rate)
}

/// A timestamp trace's part, repeated and sped up as asked; and how long it lasts.
fn recorded(
    process: &Process,
    models: u32,
    shares: &[f64],
    mut draw: Draw,
    bytes: &[u8],
) -> Result<(Vec<Arrival>, Time), WorkloadError> {
    let Process::Timestamps { file, format, scale, rate, speed, from, length } = process else {
        unreachable!("called for timestamps");
    };
    if !(speed.is_finite() && *speed > 0.0) {
        let reason = format!("must be positive, not {speed}");
        return Err(WorkloadError::field("arrivals.speed", reason));
    }
    let trace = |source: TraceError| WorkloadError::Trace { file: file.clone(), source };
    let all = timestamps(*format, bytes).map_err(trace)?;
    let end = from.0.saturating_add(length.0);
    let part: Vec<Recorded> =
        all.into_iter().filter(|request| (from.0..end).contains(&request.at)).collect();
    let last = part.last().ok_or(TraceError::Empty).map_err(trace)?.at;
    let played = |nanos: u64| (nanos as f64 / speed) as u64;
    // A part without a stated end lasts until just after its last request.
    let span = match *length {
        Time::MAX => Time(played(last - from.0) + 1),
        length => Time(played(length.0).max(1)),
    };
    let factor = factor(*scale, *rate, part.len() as f64 / span.as_secs_f64())?;
    check_kept(part.len() as f64 * factor)?;
    let alias = Alias::new(shares);
    let mut arrivals = Vec::with_capacity((part.len() as f64 * factor) as usize);
    for request in part {
        for copy in 0..rounded(factor, &mut draw) {
            let moved = if copy == 0 { 0 } else { draw.below(JITTER.0) };
            let at = Time((played(request.at - from.0) + moved).min(span.0 - 1));
            let model = match request.function {
                Some(function) => function % models,
                None => alias.draw(&mut draw),
            };
            arrivals.push(Arrival { at, model, size: request.size });
        }
    }
    arrivals.sort_unstable();
    Ok((arrivals, span))
}
