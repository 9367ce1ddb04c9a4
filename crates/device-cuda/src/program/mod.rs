//! A program: what a plan does on one lane of the device, in order, with every address fixed.

mod action;

pub use action::{Action, Argument, Copy, Enqueue, Fill, KernelLaunch};

use crate::driver::DeviceBlock;

/// The actions of a plan, ready to be enqueued or captured.
pub struct Program {
    /// In order. Each names how many leading segments must be resident before it may start.
    pub actions: Vec<Timed>,
    /// What a lane's arena must hold: values, then the scratch that single steps use.
    pub arena_bytes: usize,
    /// Values known when the plan was made, kept because their addresses are in the actions.
    pub _constants: Option<DeviceBlock>,
    /// Where the plan's inputs go, in order: address, bytes.
    pub inputs: Vec<(u64, usize)>,
    /// Where the plan's outputs come from, in order.
    pub outputs: Vec<ProgramOutput>,
    /// Names of the steps that may find a fault in a request's values, by code less one.
    pub faults: Vec<Fault>,
}

/// An action, and when it may start.
pub struct Timed {
    pub action: Action,
    /// How many leading segments must be resident.
    pub segments: u32,
    /// The plan's step that it belongs to (the last one of a fused group), for traces and errors.
    pub step: usize,
}

pub enum ProgramOutput {
    /// In device memory, when the program has run.
    Computed { address: u64, bytes: usize, shape: Vec<usize> },
    /// Known beforehand.
    Known(sublet_graph::Literal),
}

/// What a step reports when a request's values break its rules.
pub struct Fault {
    pub step: String,
    pub what: String,
}
