//! A lane: one thread that runs launches in order, on a stream and in an arena of its own.

use crate::driver::{Address, CudaError, Event, Function, LaunchShape, Stream};
use crate::lower::Gpu;
use crate::memory::{LaneArena, Region, Staging};
use crate::prepared::{Prepared, PreparedPlans};
use crate::shared::Shared;
use crate::trace::Trace;
use std::any::Any;
use std::ffi::c_void;
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
    marks: Marks,
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

impl Marks {
    fn new() -> Result<Marks, CudaError> {
        let event = || Event::new(true);
        Ok(Marks { begin: event()?, start: event()?, end: event()?, done: event()? })
    }
}

/// Looks at an empty queue before its thread sleeps: about a millisecond's.
pub const IDLE_SPINS: u32 = 20_000;

/// Bytes of an input that are staged before they are brought: a multiple of 16.
const PIECE_BYTES: usize = 128 << 10;

/// Blocks of the kernel that brings inputs, at most: enough reads in flight to fill the link.
const BRING_BLOCKS_MAX: usize = 64;

impl<'a> Lane<'a> {
    /// A lane in the current context.
    pub fn new(shared: &'a Shared, index: usize, gpu: Gpu) -> Result<Self, CudaError> {
        let bring = gpu.jit.function(include_str!("kernels/bring.cu"), "bring", 0)?;
        Ok(Lane {
            shared,
            name: format!("lane {index}"),
            gpu,
            bring,
            marks: Marks::new()?,
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
        self.bring_inputs(&plan, &prepared, &launch.parts)?;
        let gathered = clock.now();
        let was_warm = self.compute(&plan, &prepared, &region)?;
        let outputs = self.fetch_outputs(&plan, &prepared, &launch.parts)?;
        let marks = &self.marks;
        let between = |later: &Event, earlier: &Event| {
            later.since_ns(earlier).map(Time).map_err(|error| error.at(&place()))
        };
        let device = between(&marks.end, &marks.start)?;
        self.shared.counters.busy_ns.fetch_add(device.0, Ordering::Relaxed);
        if let Some(trace) = &self.shared.trace {
            let name = format!("{} {}", launch.model, launch.run);
            trace.note(&self.name, name, &marks.start, &marks.end);
        }
        if let Some(trace) = &self.shared.trace
            && was_warm
            && prepared.is_first_profile()
        {
            self.profile(&prepared, trace).map_err(|error| error.at(&place()))?;
        }
        let compute = prepared.compute_time(device, was_warm);
        let timing = RunTiming {
            input: gathered.saturating_sub(began) + between(&marks.start, &marks.begin)?,
            compute,
            stalled: device.saturating_sub(compute),
            output: between(&marks.done, &marks.end)?,
        };
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

    fn bring_inputs(
        &self,
        plan: &Plan,
        prepared: &Prepared,
        given: &[Part],
    ) -> Result<(), DeviceError> {
        let failed = |error: CudaError| error.at("bringing inputs");
        let inputs = &prepared.program.inputs;
        let total = inputs.iter().map(|(_, bytes)| bytes.next_multiple_of(256)).sum();
        let mut staged = self.staging.take(total).map_err(failed)?;
        let mut starts = Vec::with_capacity(inputs.len());
        let mut at = 0;
        for (_, bytes) in inputs {
            starts.push(at);
            at += bytes.next_multiple_of(256);
        }
        self.marks.begin.record(&self.stream).map_err(failed)?;
        let mut enqueued = Ok(());
        let gathered = parts::gather(plan, given, |input, at, bytes| {
            let to = inputs[input].0 + at as u64;
            let start = starts[input] + at;
            // Pieces that are whole vectors can be brought while the next one is staged.
            let piece = if at % 16 == 0 { PIECE_BYTES } else { usize::MAX };
            for (index, bytes) in bytes.chunks(piece).enumerate() {
                let (start, to) = (start + index * piece, to + (index * piece) as u64);
                staged.as_mut()[start..start + bytes.len()].copy_from_slice(bytes);
                if enqueued.is_ok() && at % 16 == 0 {
                    enqueued = self.bring(to, &staged.as_ref()[start..], bytes.len());
                }
            }
            if at % 16 != 0 && enqueued.is_ok() {
                enqueued = self.bring_unaligned(to, &staged.as_ref()[start..], bytes.len());
            }
        });
        if let Err(error) = gathered.and(enqueued.map_err(failed)) {
            // What was enqueued reads the block, which is used again from here on.
            self.stream.synchronize().map_err(failed)?;
            return Err(error);
        }
        *self.prepared.inputs.borrow_mut() = Some(staged);
        Ok(())
    }

    /// Enqueues bringing pinned memory to an address that is not that of a whole vector, by a copy engine.
    fn bring_unaligned(&self, to: Address, from: &[u8], bytes: usize) -> Result<(), CudaError> {
        assert!(bytes <= from.len(), "a staged input is as long as the plan's");
        // SAFETY: the block holds `bytes` and the arena as many from `to` on; the block is used again only after this
        // run has ended: see `fetch_outputs`, which waits.
        unsafe { self.stream.copy_in(to, from.as_ptr(), bytes) }
    }

    /// Enqueues bringing `bytes` of pinned memory to the device.
    fn bring(&self, mut to: Address, from: &[u8], mut bytes: usize) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        assert!(bytes <= from.len(), "a staged input is as long as the plan's");
        let mut from = from.as_ptr();
        let mut shape = LaunchShape::linear(bytes.div_ceil(16), 512);
        shape.grid[0] = shape.grid[0].min(BRING_BLOCKS_MAX as u32);
        let mut parameters: [*mut c_void; 3] = [
            std::ptr::from_mut(&mut to).cast(),
            std::ptr::from_mut(&mut from).cast(),
            std::ptr::from_mut(&mut bytes).cast(),
        ];
        // SAFETY: the block holds `bytes` and is pinned and known to the device, the arena holds as many from `to` on; both
        // are aligned to 256. The block is used again only after this run has ended: see `fetch_outputs`, which waits.
        unsafe { self.bring.launch(&self.stream, &shape, &mut parameters) }
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
            let pieces = prepared.pieces(&self.stream)?;
            start.record(&self.stream).map_err(failed)?;
            for piece in pieces.iter() {
                if let crate::memory::Arrival::After(event) = region.wait_for(piece.segments)? {
                    self.stream.wait(&event).map_err(failed)?;
                }
                piece.graph.launch(&self.stream).map_err(failed)?;
            }
            // An output may be a weight that no step reads.
            if let crate::memory::Arrival::After(event) = region.wait_for(plan.segments)? {
                self.stream.wait(&event).map_err(failed)?;
            }
        }
        end.record(&self.stream).map_err(failed)?;
        Ok(is_warm)
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

    /// Brings the outputs back, waits for everything, and divides them among the parts.
    fn fetch_outputs(
        &self,
        plan: &Plan,
        prepared: &Prepared,
        given: &[Part],
    ) -> Result<Vec<Vec<Literal>>, DeviceError> {
        let failed = |error: CudaError| error.at("bringing outputs");
        let mut fault = self.staging.take(4).map_err(failed)?;
        if prepared.has_faults() {
            // SAFETY: the word lies at the start of the arena; the block is larger.
            unsafe { self.stream.copy_out(fault.as_mut_ptr(), self.arena.address(), 4) }
                .map_err(failed)?;
        } else {
            fault.as_mut()[..4].fill(0);
        }
        let mut fetched = Vec::with_capacity(prepared.program.outputs.len());
        for output in &prepared.program.outputs {
            let ProgramOutput::Computed { address, bytes, .. } = output else {
                fetched.push(None);
                continue;
            };
            let mut block = self.staging.take(*bytes).map_err(failed)?;
            if *bytes > 0 {
                // SAFETY: the block holds `bytes`, the arena or region holds as many from `address` on; the block is
                // read only after the stream was waited for below.
                unsafe { self.stream.copy_out(block.as_mut_ptr(), *address, *bytes) }
                    .map_err(failed)?;
            }
            fetched.push(Some(block));
        }
        self.marks.done.record(&self.stream).map_err(failed)?;
        wait(&self.marks.done).map_err(|error| error.at("running a plan"))?;
        *self.prepared.inputs.borrow_mut() = None;
        prepared
            .check_faults(u32::from_le_bytes(fault.as_ref()[..4].try_into().expect("4 bytes")))?;

        let mut outputs: Vec<Vec<Literal>> =
            given.iter().map(|_| Vec::with_capacity(plan.outputs.len())).collect();
        for ((output, place), block) in
            plan.outputs.iter().zip(&prepared.program.outputs).zip(fetched)
        {
            let (shape, bytes) = match (place, block) {
                (ProgramOutput::Known(known), _) => (known.shape().to_vec(), known.bytes().clone()),
                (ProgramOutput::Computed { bytes, shape, .. }, Some(block)) => {
                    (shape.clone(), block.into_bytes().slice(..*bytes))
                }
                (ProgramOutput::Computed { .. }, None) => unreachable!("fetched above"),
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

/// A microsecond or two without asking the driver, which serves one thread at a time.
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
