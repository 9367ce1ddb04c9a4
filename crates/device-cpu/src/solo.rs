//! A plan run on its own, with all weights read from the host image: the reference for every other way to run it.

use crate::execute::{Prepared, Prepped, Weights};
use crate::{View, parts};
use std::cell::Cell;
use sublet_device::{AlignedBuffer, DeviceError, Image, Part};
use sublet_graph::{Literal, WeightId};
use sublet_plan::Plan;

/// Runs a plan on the calling thread (kernels may use the thread pool that it is in). `inputs` are in the order of
/// the plan's inputs; returns the outputs in the order of the plan's outputs.
pub fn run_plan(
    plan: &Plan,
    image: &Image,
    inputs: &[Literal],
) -> Result<Vec<Literal>, DeviceError> {
    let prepared = Prepared::new(plan);
    let prepped = Prepped { plan, prepared: &prepared };
    let mut arena = AlignedBuffer::zeroed(plan.arena_bytes);
    let parts = [Part { rows: 1, inputs: inputs.to_vec() }];
    parts::gather(plan, &parts, &mut arena)?;
    let mut weights = HostWeights(image);
    let held = prepped.run(&mut weights, &mut arena, &Cell::new(None))?;
    let mut outputs = vec![Vec::with_capacity(plan.outputs.len())];
    for (index, output) in plan.outputs.iter().enumerate() {
        let view = prepped.output(index, &weights, &arena, &held);
        parts::divide(&output.name, view, &parts, &mut outputs)?;
    }
    Ok(outputs.remove(0))
}

struct HostWeights<'a>(&'a Image);

impl Weights for HostWeights<'_> {
    fn wait_for(&mut self, _segments: u32) -> Result<(), DeviceError> {
        Ok(())
    }

    fn view(&self, id: WeightId) -> View<'_> {
        let weight = self.0.weight(id);
        View { dtype: weight.dtype, shape: &weight.shape, bytes: self.0.weight_bytes(id) }
    }
}
