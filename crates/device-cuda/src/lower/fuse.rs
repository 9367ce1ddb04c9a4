//! Which steps become one kernel.

use super::{Emitter, LowerError, Value};
use sublet_plan::{Operand, Plan, SlotId};

/// Steps that are computed together, at the place of the last of them. What passes between them is never stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Indices of the plan's steps, ascending.
    pub steps: Vec<usize>,
    /// What is read from outside, each once, in order of first use.
    pub inputs: Vec<Operand>,
    /// What is read outside afterwards.
    pub outputs: Vec<SlotId>,
}

/// Divides a plan's steps into groups, in an order in which they can be computed.
pub fn groups(plan: &Plan) -> Vec<Group> {
    let mut groups = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let mut inputs: Vec<Operand> = Vec::new();
        for &input in step.inputs.iter().flatten() {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        let outputs = step.outputs.iter().flatten().copied().collect();
        groups.push(Group { steps: vec![index], inputs, outputs });
    }
    groups
}

/// Emits a group of several steps. `value` tells where an operand lies; `None` for what is never stored.
pub fn emit(
    _emitter: &mut Emitter<'_>,
    _plan: &Plan,
    group: &Group,
    _value: &dyn Fn(Operand) -> Option<Value>,
) -> Result<(), LowerError> {
    Err(LowerError::unsupported(format!("{} steps in one", group.steps.len())))
}
