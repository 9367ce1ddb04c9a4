//! Runs a plan's steps, in order, in one arena.
//!
//! `prepare` works out once per plan how each step cuts the arena into what it reads and what it writes; `step` runs
//! one step; `control` runs bodies.

mod control;
mod held;
mod prepare;
mod stack;
mod step;

pub use held::Held;
pub use prepare::Prepared;

use crate::{KernelError, View};
use std::cell::Cell;
use sublet_device::DeviceError;
use sublet_graph::WeightId;
use sublet_plan::{Operand, Place, Plan};

/// Weights as a run reads them.
pub trait Weights {
    /// Waits until the first `segments` segments are there.
    fn wait_for(&mut self, segments: u32) -> Result<(), DeviceError>;

    /// A weight in a segment that is there.
    fn view(&self, id: WeightId) -> View<'_>;
}

/// A plan with what was prepared for it.
#[derive(Clone, Copy)]
pub struct Prepped<'a> {
    pub plan: &'a Plan,
    pub prepared: &'a Prepared,
}

impl Prepped<'_> {
    /// Runs all steps. The inputs lie in their places in `arena` already. `at` always holds the number of the step
    /// under way. Returns the values outside the arena: see [`Prepped::output`].
    pub fn run<W: Weights>(
        &self,
        weights: &mut W,
        arena: &mut [u8],
        at: &Cell<Option<usize>>,
    ) -> Result<Vec<Option<Held<'static>>>, DeviceError> {
        let mut held = self.prepared.no_held();
        for (index, step) in self.plan.steps.iter().enumerate() {
            at.set(Some(index));
            weights.wait_for(step.segments)?;
            self.step(index, weights, arena, &mut held)
                .map_err(|failure| failure.at(&step.name))?;
        }
        weights.wait_for(self.plan.segments)?;
        Ok(held)
    }

    /// An output after the run.
    pub fn output<'b, W: Weights>(
        &'b self,
        index: usize,
        weights: &'b W,
        arena: &'b [u8],
        held: &'b [Option<Held<'_>>],
    ) -> View<'b> {
        match self.plan.outputs[index].from {
            Operand::Weight(id) => weights.view(id),
            Operand::Literal(index) => self.prepared.literals[index as usize].view(),
            Operand::Slot(id) => {
                let slot = self.plan.slot(id);
                match &slot.place {
                    Place::Arena { offset, shape } => {
                        let len = prepare::slot_len(slot.dtype, shape);
                        View { dtype: slot.dtype, shape, bytes: &arena[*offset..*offset + len] }
                    }
                    Place::Dynamic => {
                        held[id.0 as usize].as_ref().expect("outputs are kept").view()
                    }
                }
            }
        }
    }
}

/// A step that did not compute, and where in nested bodies.
#[derive(Debug, PartialEq)]
pub struct Failure {
    error: KernelError,
    /// Names of steps, innermost first.
    path: Vec<String>,
}

impl Failure {
    pub fn invalid(what: impl Into<String>) -> Self {
        KernelError::Invalid(what.into()).into()
    }

    /// The same failure, seen from the step that it happened in.
    fn inside(mut self, step: &str) -> Self {
        self.path.push(step.to_owned());
        self
    }

    fn at(self, step: &str) -> DeviceError {
        let Failure { error, mut path } = self.inside(step);
        path.reverse();
        let place = path.join("/");
        match error {
            KernelError::Unsupported(what) => DeviceError::Unsupported { what, place },
            KernelError::Invalid(what) => DeviceError::Invalid { what, place },
        }
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        Failure { error, path: Vec::new() }
    }
}
