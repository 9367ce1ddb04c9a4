//! What a step is lowered with: the device's compilers and libraries, scratch memory, and the list of actions.

use crate::blas::Blas;
use crate::dnn::Dnn;
use crate::driver::{Address, Function, LaunchShape, Stream};
use crate::jit::Jit;
use crate::options::Precision;
use crate::program::{Action, Argument, Copy, Enqueue, Fault, Fill, KernelLaunch, Timed};
use crate::tune::Tuning;
use std::sync::Arc;
use sublet_plan::ALIGN;

/// The device as a lane's thread sees it: its context is current there.
pub struct Gpu {
    /// Compiles and loads kernels; shared by all lanes.
    pub jit: Arc<Jit>,
    /// Choices of algorithms, kept on disk; shared by all lanes.
    pub tuning: Arc<Tuning>,
    /// Library handles, one set per lane.
    pub blas: Blas,
    pub dnn: Dnn,
    /// For measuring alternatives, apart from the lane's stream.
    pub stream: Stream,
    pub precision: Precision,
}

/// Collects the actions of a program, step by step.
pub struct Emitter<'a> {
    pub gpu: &'a Gpu,
    actions: Vec<Timed>,
    faults: Vec<Fault>,
    /// First address of the scratch memory, behind all values of the arena.
    scratch: Address,
    scratch_used: usize,
    scratch_peak: usize,
    /// The word in which a kernel leaves the code of a fault.
    fault: Address,
    step: usize,
    step_name: String,
    segments: u32,
}

impl<'a> Emitter<'a> {
    /// `scratch`: where scratch memory starts; `fault`: a 32-bit word that is zero when a run starts.
    pub fn new(gpu: &'a Gpu, scratch: Address, fault: Address) -> Self {
        Emitter {
            gpu,
            actions: Vec::new(),
            faults: Vec::new(),
            scratch,
            scratch_used: 0,
            scratch_peak: 0,
            fault,
            step: 0,
            step_name: String::new(),
            segments: 0,
        }
    }

    /// What is emitted from now on belongs to this step and needs so many leading segments.
    pub fn begin(&mut self, step: usize, name: &str, segments: u32) {
        self.step = step;
        name.clone_into(&mut self.step_name);
        self.segments = self.segments.max(segments);
        self.scratch_used = 0;
    }

    /// Emits a launch. `arguments` match the kernel's parameters in type and order.
    pub fn kernel(
        &mut self,
        function: &Function,
        name: &str,
        shape: LaunchShape,
        arguments: Vec<Argument>,
    ) {
        let launch =
            KernelLaunch { function: function.clone(), name: name.to_owned(), shape, arguments };
        self.push(Action::Kernel(launch));
    }

    pub fn copy(&mut self, to: Address, from: Address, bytes: usize) {
        if bytes > 0 && to != from {
            self.push(Action::Copy(Copy { to, from, bytes }));
        }
    }

    pub fn fill(&mut self, to: Address, value: u8, bytes: usize) {
        if bytes > 0 {
            self.push(Action::Fill(Fill { to, value, bytes }));
        }
    }

    pub fn library(&mut self, call: impl Enqueue + 'static) {
        self.push(Action::Library(Box::new(call)));
    }

    /// Memory that only the step being emitted uses; several asks of one step do not overlap. Aligned to 256.
    pub fn scratch(&mut self, bytes: usize) -> Address {
        let at = self.scratch + self.scratch_used as u64;
        self.scratch_used += bytes.next_multiple_of(256.max(ALIGN));
        self.scratch_peak = self.scratch_peak.max(self.scratch_used);
        at
    }

    /// For a kernel that checks a request's values: the address of the lane's fault word and the code that the kernel
    /// leaves there (with `atomicCAS` from 0) when it finds that `what` is wrong.
    pub fn fault(&mut self, what: &str) -> (Address, u32) {
        self.faults.push(Fault { step: self.step_name.clone(), what: what.to_owned() });
        (self.fault, self.faults.len() as u32)
    }

    /// The actions, the bytes of scratch that they use, and the faults that they may report.
    pub fn finish(self) -> (Vec<Timed>, usize, Vec<Fault>) {
        (self.actions, self.scratch_peak, self.faults)
    }

    fn push(&mut self, action: Action) {
        self.actions.push(Timed { action, segments: self.segments, step: self.step });
    }
}
