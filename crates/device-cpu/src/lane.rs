//! A lane: one thread that runs launches in order, in an arena of its own.

use crate::device::Shared;
use crate::execute::{Prepared, Prepped, Weights};
use crate::region::Region;
use crate::{View, parts};
use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak, atomic::Ordering};
use sublet_device::{AlignedBuffer, Completion, DeviceError, Launch, RunOutput, RunTiming};
use sublet_graph::WeightId;
use sublet_plan::Plan;
use sublet_units::{Bytes, Time};

/// Plans whose preparation a lane keeps.
const PREPARED_MAX: usize = 256;

/// The lane's arena grows in steps of this size.
const ARENA_STEP: usize = 1 << 20;

pub struct Lane<'a> {
    shared: &'a Shared,
    arena: AlignedBuffer,
    prepared: PreparedPlans,
}

impl<'a> Lane<'a> {
    pub fn new(shared: &'a Shared) -> Self {
        Lane { shared, arena: AlignedBuffer::default(), prepared: PreparedPlans::default() }
    }

    /// Runs launches until all senders are gone.
    pub fn run(&mut self, launches: &Receiver<Launch>) {
        while let Ok(launch) = launches.recv() {
            let at = Cell::new(None);
            let result = catch_unwind(AssertUnwindSafe(|| self.launch(&launch, &at)));
            let result = result.unwrap_or_else(|panic| Err(panicked(&*panic, &launch, at.get())));
            // What happened on a device that is gone counts for nothing.
            let result = self.shared.check_alive().and(result);
            self.shared.report(Completion::Ran { run: launch.run, result });
        }
    }

    fn launch(
        &mut self,
        launch: &Launch,
        at: &Cell<Option<usize>>,
    ) -> Result<RunOutput, DeviceError> {
        let shared = self.shared;
        shared.check_alive()?;
        let region = shared.region(launch.model).ok_or_else(|| DeviceError::Invalid {
            what: "a model that is not attached".into(),
            place: format!("run {} of {}", launch.run, launch.model),
        })?;
        let plan = launch.plan.plan()?;
        let prepared = self.prepared.get(&plan);
        let prepped = Prepped { plan: &plan, prepared: &prepared };
        self.grow_arena(plan.arena_bytes)?;
        let clock = shared.clock();
        let started = clock.now();
        parts::gather(&plan, &launch.parts, &mut self.arena)?;
        let gathered = clock.now();
        let mut weights = ResidentWeights::new(shared, &region);
        let ran = prepped.run(&mut weights, &mut self.arena, at);
        let computed = clock.now();
        let stalled = weights.stalled;
        let busy = computed.saturating_sub(gathered).saturating_sub(stalled);
        shared.counters.busy_ns.fetch_add(busy.0, Ordering::Relaxed);
        let held = ran?;
        let mut outputs: Vec<Vec<_>> =
            launch.parts.iter().map(|_| Vec::with_capacity(plan.outputs.len())).collect();
        for (index, output) in plan.outputs.iter().enumerate() {
            let view = prepped.output(index, &weights, &self.arena, &held);
            parts::divide(&output.name, view, &launch.parts, &mut outputs)?;
        }
        let timing = RunTiming {
            input: gathered.saturating_sub(started),
            compute: busy,
            stalled,
            output: clock.now().saturating_sub(computed),
        };
        Ok(RunOutput { parts: outputs, timing })
    }

    fn grow_arena(&mut self, wanted: usize) -> Result<(), DeviceError> {
        if wanted <= self.arena.len() {
            return Ok(());
        }
        let max = self.shared.options.arena_max;
        if Bytes::from(wanted) > max {
            let place = format!("an arena of at most {max}");
            return Err(DeviceError::OutOfMemory { wanted: Bytes::from(wanted), place });
        }
        let len = wanted.next_multiple_of(ARENA_STEP);
        let grown = (len - self.arena.len()) as u64;
        self.arena = AlignedBuffer::default();
        self.arena = AlignedBuffer::zeroed(len);
        self.shared.counters.arena_bytes.fetch_add(grown, Ordering::Relaxed);
        Ok(())
    }
}

/// A bug in a kernel: the run fails, the lane goes on.
fn panicked(panic: &(dyn Any + Send), launch: &Launch, at: Option<usize>) -> DeviceError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let step = at.and_then(|index| Some(launch.plan.plan().ok()?.steps.get(index)?.name.clone()));
    DeviceError::Invalid {
        what: format!("an internal error (panic: {text})"),
        place: step.unwrap_or_else(|| format!("run {} of {}", launch.run, launch.model)),
    }
}

/// Weights in device memory, some of which may still be coming.
struct ResidentWeights<'a> {
    shared: &'a Shared,
    region: &'a Region,
    /// The leading segments that have arrived.
    segments: Vec<Arc<AlignedBuffer>>,
    stalled: Time,
}

impl<'a> ResidentWeights<'a> {
    fn new(shared: &'a Shared, region: &'a Region) -> Self {
        let mut segments = Vec::with_capacity(region.image.layout.segments.len());
        region.gather(&mut segments);
        ResidentWeights { shared, region, segments, stalled: Time::ZERO }
    }
}

impl Weights for ResidentWeights<'_> {
    fn wait_for(&mut self, segments: u32) -> Result<(), DeviceError> {
        let wanted = segments as usize;
        if wanted <= self.segments.len() {
            return Ok(());
        }
        self.region.gather(&mut self.segments);
        let started = self.shared.clock().now();
        while self.segments.len() < wanted {
            let next = self.region.wait_for(self.segments.len() as u32)?;
            self.segments.push(next);
        }
        self.stalled += self.shared.clock().now().saturating_sub(started);
        Ok(())
    }

    fn view(&self, id: WeightId) -> View<'_> {
        let image = &self.region.image;
        let (weight, place) = (image.weight(id), image.layout.weight(id));
        let start = place.offset - image.layout.segments[place.segment as usize].offset;
        let bytes = &self.segments[place.segment as usize][start..start + place.len];
        View { dtype: weight.dtype, shape: &weight.shape, bytes }
    }
}

/// What was prepared for the plans that ran last.
#[derive(Default)]
struct PreparedPlans {
    /// By the plan's address, which nothing else can have while the weak reference lives.
    plans: HashMap<*const Plan, PreparedPlan>,
    /// Counts uses.
    now: u64,
}

struct PreparedPlan {
    plan: Weak<Plan>,
    prepared: Arc<Prepared>,
    last_used: u64,
}

impl PreparedPlans {
    fn get(&mut self, plan: &Arc<Plan>) -> Arc<Prepared> {
        self.now += 1;
        let key = Arc::as_ptr(plan);
        if let Some(known) = self.plans.get_mut(&key) {
            known.last_used = self.now;
            return known.prepared.clone();
        }
        self.plans.retain(|_, known| known.plan.strong_count() > 0);
        if self.plans.len() >= PREPARED_MAX {
            let oldest = self.plans.iter().min_by_key(|(_, known)| known.last_used);
            if let Some(key) = oldest.map(|(&key, _)| key) {
                self.plans.remove(&key);
            }
        }
        let prepared = Arc::new(Prepared::new(plan));
        let known = PreparedPlan {
            plan: Arc::downgrade(plan),
            prepared: prepared.clone(),
            last_used: self.now,
        };
        self.plans.insert(key, known);
        prepared
    }
}
