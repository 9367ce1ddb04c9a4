//! A lane: one thread that runs launches in order, on a stream and in an arena of its own.

use crate::bring::{self, Bringing};
use crate::copiers::{self, Copiers};
use crate::driver::{CudaError, Event, Function, Stream};
use crate::lower::Gpu;
use crate::memory::{Arrival, LaneArena, Region, Staged, Staging};
use crate::prepared::{Prepared, PreparedPlans};
use crate::shared::Shared;
use crate::trace::Trace;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use sublet_device::{Completion, DeviceError, Launch, Part, RunOutput, RunTiming, parts};
use sublet_graph::Literal;
use sublet_plan::Plan;
use sublet_units::Time;

use crate::program::ProgramOutput;

pub struct Lane<'a> {
    shared: &'a Shared,
    name: String,
    gpu: Gpu,
    stream: Stream,
    arena: LaneArena,
    staging: Staging,
    /// The kernel that brings inputs.
    bring: Function,
    copiers: Arc<Copiers>,
    marks: Marks,
    /// Where tracing is on: the pieces of the run under way, by the leading segments that they need.
    pieces: RefCell<Vec<(u32, Event, Event)>>,
    prepared: PreparedPlans,
}

/// Times of one run on the device.
struct Marks {
    /// Before the inputs are brought.
    begin: Event,
    /// Before the program.
    start: Event,
    /// Behind the program.
    end: Event,
    /// When the outputs have been brought back.
    done: Event,
}

/// Outputs on their way to the host.
struct Coming {
    /// The code of a fault that a kernel found, in 4 bytes.
    fault: Staged,
    /// In the order of the plan; `None` for what was known beforehand.
    outputs: Vec<Option<Staged>>,
}

impl Marks {
    fn new() -> Result<Marks, CudaError> {
        let event = || Event::new(true);
        Ok(Marks { begin: event()?, start: event()?, end: event()?, done: event()? })
    }
}

/// Looks at an empty queue before its thread sleeps: about a millisecond's.
pub const IDLE_SPINS: u32 = 20_000;

impl<'a> Lane<'a> {
    /// A lane in the current context.
    pub fn new(
        shared: &'a Shared,
        index: usize,
        gpu: Gpu,
        copiers: Arc<Copiers>,
    ) -> Result<Self, CudaError> {
        let bring = gpu.jit.function(bring::SOURCE, "bring", 0)?;
        Ok(Lane {
            shared,
            name: format!("lane {index}"),
            gpu,
            bring,
            copiers,
            marks: Marks::new()?,
            pieces: RefCell::default(),
            stream: Stream::new(true)?,
            arena: LaneArena::new(shared.context.ordinal(), shared.options.arena_max)?,
            staging: Staging::new(shared.context.clone()),
            prepared: PreparedPlans::default(),
        })
    }

    /// Runs launches until all senders are gone.
    pub fn run(&mut self, launches: &Receiver<Launch>) {
        while let Some(launch) = receive(launches) {
            let result = catch_unwind(AssertUnwindSafe(|| self.launch(&launch)));
            let result = result.unwrap_or_else(|panic| Err(panicked(&*panic, &launch)));
            if let Err(error @ DeviceError::Lost(_)) = &result {
                self.shared.lose(error.clone());
            }
            // What happened on a device that is gone counts for nothing.
            let result = self.shared.check_alive().and(result);
            self.shared.report(Completion::Ran { run: launch.run, result });
            let inputs = launch.parts.iter().flat_map(|part| &part.inputs);
            if inputs.map(|input| input.bytes().len()).sum::<usize>() >= copiers::BYTES_MIN {
                self.copiers.rouse();
            }
        }
    }

    fn launch(&mut self, launch: &Launch) -> Result<RunOutput, DeviceError> {
        let place = || format!("run {} of {}", launch.run, launch.model);
        self.shared.check_alive()?;
        let region = self.shared.region(launch.model).ok_or_else(|| DeviceError::Invalid {
            what: "a model that is not attached".into(),
            place: place(),
        })?;
        let plan = launch.plan.plan()?;
        let prepared = self.prepare(&plan, &region)?;
        let clock = self.shared.clock().clone();
        let began = clock.now();
        let begun = self.bring_inputs(&plan, &prepared, &launch.parts)?;
        let gathered = clock.now();
        let was_warm = self.compute(&plan, &prepared, &region)?;
        let enqueued = clock.now();
        let coming = self.enqueue_outputs(&prepared)?;
        // What can be told when the program has ended is told while its outputs are brought back.
        let marks = &self.marks;
        wait(&marks.end).map_err(|error| error.at("running a plan"))?;
        let between = |later: &Event, earlier: &Event| {
            later.since_ns(earlier).map(Time).map_err(|error| error.at(&place()))
        };
        let device = between(&marks.end, &marks.start)?;
        let input = begun.saturating_sub(began) + between(&marks.start, &marks.begin)?;
        let compute = prepared.compute_time(device, was_warm);
        self.shared.counters.busy_ns.fetch_add(device.0, Ordering::Relaxed);
        let outputs = self.take_outputs(&plan, &prepared, &launch.parts, coming)?;
        if let Some(trace) = &self.shared.trace {
            let host = [began, gathered, enqueued, clock.now()];
            self.note(launch, trace, &host);
            if was_warm && prepared.is_first_profile(trace.takes()) {
                self.profile(&prepared, trace).map_err(|error| error.at(&place()))?;
            }
        }
        let (stalled, output) = (device.saturating_sub(compute), between(&marks.done, &marks.end)?);
        let timing = RunTiming { input, compute, stalled, output };
        Ok(RunOutput { parts: outputs, timing })
    }

    /// The plan's program on this lane, lowered when it is first asked for.
    fn prepare(&mut self, plan: &Arc<Plan>, region: &Region) -> Result<Rc<Prepared>, DeviceError> {
        if let Some(prepared) = self.prepared.find(plan, region.address()) {
            return Ok(prepared);
        }
        let prepared = Prepared::new(&self.gpu, plan, region, self.arena.address());
        let prepared = Rc::new(prepared?);
        let before = self.arena.bytes();
        self.arena
            .grow(prepared.program.arena_bytes)
            .map_err(|error| error.at(&format!("the arena of {}", self.name)))?;
        let grown = (self.arena.bytes() - before) as u64;
        self.shared.counters.arena_bytes.fetch_add(grown, Ordering::Relaxed);
        self.prepared.keep(plan, region.address(), prepared.clone());
        Ok(prepared)
    }

    /// Stages the inputs and enqueues bringing them. Returns when the mark of their beginning was recorded.
    fn bring_inputs(
        &self,
        plan: &Plan,
        prepared: &Prepared,
        given: &[Part],
    ) -> Result<Time, DeviceError> {
        let failed = |error: CudaError| error.at("bringing inputs");
        let mut bringing = Bringing::new(
            &self.bring,
            &self.stream,
            &self.copiers,
            &self.staging,
            &self.marks.begin,
            &**self.shared.clock(),
            &prepared.program.inputs,
        )
        .map_err(failed)?;
        let mut enqueued = Ok(());
        let gathered = parts::gather(plan, given, |input, at, bytes| {
            if enqueued.is_ok() {
                enqueued = bringing.stage(input, at, bytes);
            }
        });
        let (block, finished) = match bringing.finish() {
            Ok((block, begun)) => (block, Ok(begun)),
            Err((error, block)) => (block, Err(error)),
        };
        match gathered.and(enqueued.and(finished).map_err(failed)) {
            Ok(begun) => {
                *self.prepared.inputs.borrow_mut() = Some(block);
                Ok(begun)
            }
            Err(error) => {
                // What was enqueued reads the block, which is used again from here on.
                self.stream.synchronize().map_err(failed)?;
                Err(error)
            }
        }
    }

    /// Enqueues the program. Returns whether all weights were there from the start.
    fn compute(
        &self,
        plan: &Plan,
        prepared: &Prepared,
        region: &Region,
    ) -> Result<bool, DeviceError> {
        let failed = |error: CudaError| error.at("running a plan");
        let Marks { start, end, .. } = &self.marks;
        let is_warm = region.has(plan.segments);
        if is_warm {
            let graph = prepared.warm(&self.stream)?;
            start.record(&self.stream).map_err(failed)?;
            if let Some(graph) = graph {
                graph.launch(&self.stream).map_err(failed)?;
            }
        } else {
            let layout = &region.image().layout;
            let arrives = |segments| self.shared.link_rate.time_for(layout.start_of(segments).0);
            let pieces = prepared.pieces(&self.stream, arrives)?;
            start.record(&self.stream).map_err(failed)?;
            for piece in pieces.iter() {
                self.wait_for(region, piece.segments)?;
                let started = self.mark_piece().map_err(failed)?;
                piece.graph.launch(&self.stream).map_err(failed)?;
                if let (Some(started), Some(ended)) = (started, self.mark_piece().map_err(failed)?)
                {
                    self.pieces.borrow_mut().push((piece.segments, started, ended));
                }
            }
            // An output may be a weight that no step reads.
            self.wait_for(region, plan.segments)?;
        }
        end.record(&self.stream).map_err(failed)?;
        Ok(is_warm)
    }

    /// Lets what follows on the stream wait for leading segments.
    fn wait_for(&self, region: &Region, segments: u32) -> Result<(), DeviceError> {
        match region.wait_for(segments)? {
            Arrival::Resident => Ok(()),
            Arrival::After(event) => {
                self.stream.wait(&event).map_err(|error| error.at("waiting for weights"))
            }
        }
    }

    /// Where tracing is on: this point of the stream.
    fn mark_piece(&self) -> Result<Option<Event>, CudaError> {
        if self.shared.trace.is_none() {
            return Ok(None);
        }
        let event = Event::new(true)?;
        event.record(&self.stream)?;
        Ok(Some(event))
    }

    /// Notes a run's spans: on the device, and of this thread between the times `host`.
    fn note(&self, launch: &Launch, trace: &Trace, host: &[Time; 4]) {
        let marks = &self.marks;
        let name = format!("{} {}", launch.model, launch.run);
        trace.note(&self.name, format!("{name} inputs"), &marks.begin, &marks.start);
        trace.note(&self.name, name.clone(), &marks.start, &marks.end);
        trace.note(&self.name, format!("{name} outputs"), &marks.end, &marks.done);
        let track = format!("{} pieces", self.name);
        for (segments, started, ended) in self.pieces.take() {
            trace.note(&track, format!("{name} behind {segments} segments"), &started, &ended);
        }
        let track = format!("{} host", self.name);
        for (what, span) in ["stages inputs", "enqueues", "waits"].iter().zip(host.windows(2)) {
            trace.note_host(&track, format!("{name} {what}"), span[0], span[1]);
        }
    }

    /// Runs the program once more, action by action, and notes a span for each: a replay as a graph shows only the whole.
    fn profile(&self, prepared: &Prepared, trace: &Trace) -> Result<(), CudaError> {
        let actions = &prepared.program.actions;
        let mut marks = Vec::with_capacity(actions.len() + 1);
        let mark = || -> Result<Event, CudaError> {
            let event = Event::new(true)?;
            event.record(&self.stream)?;
            Ok(event)
        };
        marks.push(mark()?);
        for timed in actions {
            timed.action.enqueue(&self.stream)?;
            marks.push(mark()?);
        }
        self.stream.synchronize()?;
        let track = format!("{} actions", self.name);
        for (timed, span) in actions.iter().zip(marks.windows(2)) {
            let name = format!("{} [step {}]", timed.action.name(), timed.step);
            trace.note(&track, name, &span[0], &span[1]);
        }
        Ok(())
    }

    /// Enqueues bringing the outputs back.
    fn enqueue_outputs(&self, prepared: &Prepared) -> Result<Coming, DeviceError> {
        let failed = |error: CudaError| error.at("bringing outputs");
        let mut fault = self.staging.take(4).map_err(failed)?;
        if prepared.has_faults() {
            // SAFETY: the word lies at the start of the arena; the block is larger.
            unsafe { self.stream.copy_out(fault.as_mut_ptr(), self.arena.address(), 4) }
                .map_err(failed)?;
        } else {
            fault.as_mut()[..4].fill(0);
        }
        let mut outputs = Vec::with_capacity(prepared.program.outputs.len());
        for output in &prepared.program.outputs {
            let ProgramOutput::Computed { address, bytes, .. } = output else {
                outputs.push(None);
                continue;
            };
            let mut block = self.staging.take(*bytes).map_err(failed)?;
            if *bytes > 0 {
                // SAFETY: the block holds `bytes`, the arena or region holds as many from `address` on; the block is
                // read only after `take_outputs` has waited for it.
                unsafe { self.stream.copy_out(block.as_mut_ptr(), *address, *bytes) }
                    .map_err(failed)?;
            }
            outputs.push(Some(block));
        }
        self.marks.done.record(&self.stream).map_err(failed)?;
        Ok(Coming { fault, outputs })
    }

    /// Waits for everything, and divides the outputs among the parts.
    fn take_outputs(
        &self,
        plan: &Plan,
        prepared: &Prepared,
        given: &[Part],
        coming: Coming,
    ) -> Result<Vec<Vec<Literal>>, DeviceError> {
        wait(&self.marks.done).map_err(|error| error.at("running a plan"))?;
        let Coming { fault, outputs: brought } = coming;
        *self.prepared.inputs.borrow_mut() = None;
        prepared
            .check_faults(u32::from_le_bytes(fault.as_ref()[..4].try_into().expect("4 bytes")))?;

        let mut outputs: Vec<Vec<Literal>> =
            given.iter().map(|_| Vec::with_capacity(plan.outputs.len())).collect();
        for ((output, place), block) in
            plan.outputs.iter().zip(&prepared.program.outputs).zip(brought)
        {
            let (shape, bytes) = match (place, block) {
                (ProgramOutput::Known(known), _) => (known.shape().to_vec(), known.bytes().clone()),
                (ProgramOutput::Computed { bytes, shape, .. }, Some(block)) => {
                    (shape.clone(), block.into_bytes().slice(..*bytes))
                }
                (ProgramOutput::Computed { .. }, None) => unreachable!("enqueued before"),
            };
            let shares = parts::divide(&output.name, &shape, bytes.len(), given)?;
            for ((shape, range), outputs) in shares.into_iter().zip(&mut outputs) {
                let literal = Literal::new(output.dtype, shape, bytes.slice(range));
                outputs.push(literal.expect("an output is as long as its shape says"));
            }
        }
        Ok(outputs)
    }
}

/// The next of a queue, `None` when all senders are gone. What comes soon is not slept for: waking a thread takes longer
/// than a small model runs.
fn receive<T>(queue: &Receiver<T>) -> Option<T> {
    for _ in 0..IDLE_SPINS {
        match queue.try_recv() {
            Ok(next) => return Some(next),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
        }
    }
    queue.recv().ok()
}

/// Waits on the host for an event. Most runs are short, so the thread does not sleep at first.
fn wait(event: &Event) -> Result<(), CudaError> {
    const LOOKS: u32 = 2_000;
    for _ in 0..LOOKS {
        if event.is_done()? {
            return Ok(());
        }
        breathe();
    }
    while !event.is_done()? {
        std::thread::yield_now();
    }
    Ok(())
}

/// A microsecond or so without asking the driver, which serves one thread at a time.
pub fn breathe() {
    for _ in 0..32 {
        std::hint::spin_loop();
    }
}

/// A bug: the run fails, the lane goes on.
fn panicked(panic: &(dyn Any + Send), launch: &Launch) -> DeviceError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    DeviceError::Invalid {
        what: format!("an internal error (panic: {text})"),
        place: format!("run {} of {}", launch.run, launch.model),
    }
}
