//! What a lane keeps of a plan: its program, and the graphs captured from it.

use crate::cuts::{self, Stretch};
use crate::driver::{Address, CudaError, Graph, Stream, capture};
use crate::lower::{Gpu, lower};
use crate::memory::{Region, Staged};
use crate::program::{Program, Timed};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use sublet_device::DeviceError;
use sublet_plan::Plan;
use sublet_units::Time;

/// Plans that a lane keeps.
const PREPARED_MAX: usize = 512;

/// A program with its graphs, which stay valid while weights come and go.
pub struct Prepared {
    pub program: Program,
    fault: u64,
    /// The whole program: replayed when all weights are there.
    warm: OnceCell<Option<Graph>>,
    /// The program cut where it waits for further segments: replayed behind the copies.
    cut: RefCell<Option<Cut>>,
    /// The take of the trace in which its actions were last traced one by one.
    profiled: Cell<Option<u64>>,
    /// The shortest time that the device took with all weights there.
    quickest: Cell<Option<Time>>,
}

/// Consecutive actions, and the leading segments that they need.
pub struct Piece {
    pub segments: u32,
    actions: Range<usize>,
    pub graph: Graph,
}

/// A program in pieces.
struct Cut {
    /// Whether it was known how long the program takes, or guessed.
    is_timed: bool,
    pieces: Rc<[Piece]>,
}

/// What an action is taken to last before the program has run with all weights there.
const ACTION_GUESS: Time = Time::from_micros(3);

/// What the device loses between two graphs of which the second waits for an event: seen on an H200.
const PAUSE: Time = Time::from_micros(8);

impl Prepared {
    /// Lowers a plan for a region and the arena at `arena`.
    pub fn new(
        gpu: &Gpu,
        plan: &Plan,
        region: &Region,
        arena: u64,
    ) -> Result<Prepared, DeviceError> {
        let program = lower(gpu, plan, region.image(), region.address(), arena)?;
        Ok(Prepared {
            program,
            fault: arena,
            warm: OnceCell::new(),
            cut: RefCell::new(None),
            profiled: Cell::new(None),
            quickest: Cell::new(None),
        })
    }

    /// The graph of the whole program; `None` when there is nothing to do.
    pub fn warm(&self, stream: &Stream) -> Result<Option<&Graph>, DeviceError> {
        if self.warm.get().is_none() {
            let actions = &self.program.actions;
            let graph = match actions[..] {
                [] => None,
                _ => Some(self.capture(stream, actions, true)?),
            };
            let _ = self.warm.set(graph);
        }
        Ok(self.warm.get().expect("set above").as_ref())
    }

    /// The graphs between which the program waits for weights. `arrives`: when that many leading segments are there, from
    /// the start of a load. What was cut by a guess is cut again, once, when the program's time is known.
    pub fn pieces(
        &self,
        stream: &Stream,
        arrives: impl Fn(u32) -> Time,
    ) -> Result<Rc<[Piece]>, DeviceError> {
        let mut cut = self.cut.borrow_mut();
        let is_timed = self.quickest.get().is_some();
        if let Some(known) = &*cut
            && (known.is_timed || !is_timed)
        {
            return Ok(known.pieces.clone());
        }
        let ranges = self.cuts(arrives);
        if let Some(known) = &mut *cut
            && known.pieces.iter().map(|piece| &piece.actions).eq(&ranges)
        {
            known.is_timed = is_timed;
            return Ok(known.pieces.clone());
        }
        let pieces: Rc<[Piece]> = ranges
            .into_iter()
            .map(|range| {
                let actions = &self.program.actions[range.clone()];
                let segments = actions.last().map_or(0, |last| last.segments);
                let graph = self.capture(stream, actions, range.start == 0)?;
                Ok(Piece { segments, actions: range, graph })
            })
            .collect::<Result<_, DeviceError>>()?;
        *cut = Some(Cut { is_timed, pieces: pieces.clone() });
        Ok(pieces)
    }

    /// The actions of each piece.
    fn cuts(&self, arrives: impl Fn(u32) -> Time) -> Vec<Range<usize>> {
        let actions = &self.program.actions;
        let guess = Time(ACTION_GUESS.0 * actions.len() as u64);
        let whole = self.quickest.get().unwrap_or(guess);
        let mut starts = vec![0];
        let mut stretches = Vec::new();
        for same in actions.chunk_by(|one, next| one.segments == next.segments) {
            starts.push(starts[starts.len() - 1] + same.len());
            stretches.push(Stretch {
                arrives: arrives(same[0].segments),
                compute: Time(whole.0 * same.len() as u64 / actions.len() as u64),
            });
        }
        let pieces = cuts::pieces(&stretches, PAUSE);
        pieces.into_iter().map(|piece| starts[piece.start]..starts[piece.end]).collect()
    }

    /// Notes the device's time of a run, and tells how much of it was computing.
    pub fn compute_time(&self, device: Time, was_warm: bool) -> Time {
        if was_warm {
            let quickest = self.quickest.get().map_or(device, |quickest| quickest.min(device));
            self.quickest.set(Some(quickest));
            return device;
        }
        self.quickest.get().map_or(device, |quickest| quickest.min(device))
    }

    /// True the first time since the trace was taken for the `takes`th time.
    pub fn is_first_profile(&self, takes: u64) -> bool {
        self.profiled.replace(Some(takes)) != Some(takes)
    }

    /// Whether a kernel of the program checks a request's values.
    pub fn has_faults(&self) -> bool {
        !self.program.faults.is_empty()
    }

    /// # Errors
    /// [`DeviceError::Invalid`] when a kernel left the code of a fault.
    pub fn check_faults(&self, code: u32) -> Result<(), DeviceError> {
        let Some(index) = (code as usize).checked_sub(1) else { return Ok(()) };
        Err(match self.program.faults.get(index) {
            Some(fault) => {
                DeviceError::Invalid { what: fault.what.clone(), place: fault.step.clone() }
            }
            None => DeviceError::Lost(format!("a kernel reported the fault {code}, which is none")),
        })
    }

    fn capture(
        &self,
        stream: &Stream,
        actions: &[Timed],
        is_first: bool,
    ) -> Result<Graph, DeviceError> {
        let mut step = 0;
        let graph = capture::<CudaError>(stream, || {
            if is_first && self.has_faults() {
                // SAFETY: the word lies at the start of the lane's arena.
                unsafe { stream.fill(self.fault, 0, 4) }?;
            }
            for timed in actions {
                step = timed.step;
                timed.action.enqueue(stream)?;
            }
            Ok(())
        });
        graph.map_err(|error| error.at(&format!("capturing a plan, step {step}")))
    }
}

/// The plans that ran last, by the plan's address, which nothing else can have while the weak reference lives, and by
/// the region that they were lowered for.
#[derive(Default)]
pub struct PreparedPlans {
    plans: HashMap<(*const Plan, Address), Kept>,
    /// Counts uses.
    now: u64,
    /// The inputs of the run under way: kept until the device has read them.
    pub inputs: RefCell<Option<Staged>>,
}

struct Kept {
    plan: Weak<Plan>,
    prepared: Rc<Prepared>,
    last_used: u64,
}

impl PreparedPlans {
    pub fn find(&mut self, plan: &Arc<Plan>, region: Address) -> Option<Rc<Prepared>> {
        self.now += 1;
        let known = self.plans.get_mut(&(Arc::as_ptr(plan), region))?;
        known.last_used = self.now;
        Some(known.prepared.clone())
    }

    pub fn keep(&mut self, plan: &Arc<Plan>, region: Address, prepared: Rc<Prepared>) {
        self.plans.retain(|_, known| known.plan.strong_count() > 0);
        if self.plans.len() >= PREPARED_MAX {
            let oldest = self.plans.iter().min_by_key(|(_, known)| known.last_used);
            if let Some(key) = oldest.map(|(&key, _)| key) {
                self.plans.remove(&key);
            }
        }
        let kept = Kept { plan: Arc::downgrade(plan), prepared, last_used: self.now };
        self.plans.insert((Arc::as_ptr(plan), region), kept);
    }
}
