//! The requests of a batch: their inputs joined in the arena, the outputs divided again.

use crate::View;
use sublet_device::{DeviceError, Part, parts};
use sublet_graph::Literal;
use sublet_plan::{Place, Plan};

/// Checks the parts against the plan and writes their inputs to the places of the plan's inputs.
pub fn gather(plan: &Plan, given: &[Part], arena: &mut [u8]) -> Result<(), DeviceError> {
    parts::gather(plan, given, |input, at, bytes| {
        let Place::Arena { offset, .. } = plan.slot(plan.inputs[input].slot).place else {
            unreachable!("inputs were found to have places");
        };
        arena[offset + at..offset + at + bytes.len()].copy_from_slice(bytes);
    })
}

/// Appends each part's rows of an output to that part's outputs.
pub fn divide(
    name: &str,
    view: View<'_>,
    given: &[Part],
    outputs: &mut [Vec<Literal>],
) -> Result<(), DeviceError> {
    let shares = parts::divide(name, view.shape, view.bytes.len(), given)?;
    for ((shape, range), outputs) in shares.into_iter().zip(outputs) {
        let bytes = bytes::Bytes::copy_from_slice(&view.bytes[range]);
        let literal = Literal::new(view.dtype, shape, bytes);
        outputs.push(literal.expect("a view is as long as its shape says"));
    }
    Ok(())
}
