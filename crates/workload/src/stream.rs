//! Arrivals one at a time, without keeping them: nothing is allocated per arrival.

use crate::alias::Alias;
use crate::counts::ReplayWalk;
use crate::draw::Draw;
use crate::error::WorkloadError;
use crate::gap::Gap;
use crate::levels::LevelWalk;
use crate::schedule::{Arrival, Size};
use crate::spec::{Process, Split};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;
use sublet_units::Time;

/// The arrivals of a workload in order of time. Endless, except for replays.
#[derive(Clone, Debug)]
pub struct Arrivals(pub(crate) Kind);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Drawn(Drawn),
    Merged(Merged),
    Piecewise(Box<Piecewise>),
    Replay(ReplayWalk),
    Fixed { arrivals: Arc<[Arrival]>, given: usize },
}

impl Iterator for Arrivals {
    type Item = Arrival;

    #[inline]
    fn next(&mut self) -> Option<Arrival> {
        match &mut self.0 {
            Kind::Drawn(drawn) => drawn.next(),
            Kind::Merged(merged) => merged.next(),
            Kind::Piecewise(piecewise) => piecewise.next(),
            Kind::Replay(walk) => walk.next(),
            Kind::Fixed { arrivals, given } => {
                let arrival = arrivals.get(*given).copied();
                *given += usize::from(arrival.is_some());
                arrival
            }
        }
    }
}

/// One process whose arrivals are given to models by their shares. Independent Poisson processes are the same thing.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    gap: Gap,
    alias: Alias,
    draw: Draw,
    at: u64,
}

impl Drawn {
    pub fn new(process: &Process, shares: &[f64], mut draw: Draw) -> Result<Self, WorkloadError> {
        let gap = Gap::new(process, 1.0, &mut draw)?;
        Ok(Drawn { gap, alias: Alias::new(shares), draw, at: 0 })
    }

    #[inline]
    fn next(&mut self) -> Option<Arrival> {
        self.at = self.at.checked_add(self.gap.next(&mut self.draw))?;
        let model = self.alias.draw(&mut self.draw);
        Some(Arrival { at: Time(self.at), model, size: Size::default() })
    }
}

/// A process per model; the earliest next arrival lies on top of a heap.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    next: BinaryHeap<Reverse<(u64, u32)>>,
    processes: Vec<(Gap, Draw)>,
}

impl Merged {
    /// Each model's process has a stream of random numbers of its own, so that another model changes nothing for it.
    pub fn new(process: &Process, shares: &[f64], seed: u64) -> Result<Self, WorkloadError> {
        let mut next = Vec::with_capacity(shares.len());
        let mut processes = Vec::with_capacity(shares.len());
        for (model, share) in shares.iter().enumerate() {
            let mut draw = Draw::new(seed, 1 + model as u64);
            // A model without a share keeps its place and never arrives.
            let mut gap = Gap::new(process, if *share > 0.0 { *share } else { 1.0 }, &mut draw)?;
            if *share > 0.0 {
                next.push(Reverse((gap.next(&mut draw), model as u32)));
            }
            processes.push((gap, draw));
        }
        Ok(Merged { next: next.into(), processes })
    }

    fn next(&mut self) -> Option<Arrival> {
        let mut top = self.next.peek_mut()?;
        let Reverse((at, model)) = *top;
        let (gap, draw) = &mut self.processes[model as usize];
        match at.checked_add(gap.next(draw)) {
            Some(later) => *top = Reverse((later, model)),
            None => drop(PeekMut::pop(top)),
        }
        Some(Arrival { at: Time(at), model, size: Size::default() })
    }
}

/// Loads that change every interval; Poisson within one.
#[derive(Clone, Debug)]
pub(crate) struct Piecewise {
    pub levels: LevelWalk,
    pub every: u64,
    /// Drawn anew for each interval when it is a Dirichlet split.
    pub split: Split,
    pub shares: Vec<f64>,
    pub alias: Alias,
    pub draw: Draw,
    pub at: u64,
    /// End of the current interval.
    pub end: u64,
    /// Mean interval between requests in nanoseconds; infinite without load.
    pub gap: f64,
}

impl Piecewise {
    fn next(&mut self) -> Option<Arrival> {
        loop {
            // Saturates when there is no load.
            let gap = (self.draw.exponential() * self.gap + 0.5) as u64;
            match self.at.checked_add(gap) {
                Some(at) if at < self.end => {
                    self.at = at;
                    let model = self.alias.draw(&mut self.draw);
                    return Some(Arrival { at: Time(at), model, size: Size::default() });
                }
                // The exponential law forgets: the cut interval is drawn anew after the change.
                _ => self.change()?,
            }
        }
    }

    fn change(&mut self) -> Option<()> {
        self.at = self.end;
        self.end = self.end.checked_add(self.every)?;
        self.gap = 1e9 / self.levels.next(&mut self.draw);
        if let Split::Dirichlet { concentration } = self.split {
            self.draw.dirichlet(concentration, &mut self.shares);
            self.alias.set(&self.shares);
        }
        Some(())
    }
}
