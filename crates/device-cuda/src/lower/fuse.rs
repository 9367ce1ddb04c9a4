//! Which steps become one kernel.
//!
//! Chains and trees of steps that compute element by element over one shape are computed together. Their intermediate
//! values stay in registers: those of half precision are not rounded on the way, unless a step converts to half
//! precision itself. A group runs where its last step stands, so a step joins a group only when nothing in between
//! reads what the group computes.
//!
//! A sum whose rows are normalised is computed with them, as transformers have it after every block.

use super::ops::elementwise::is_elementwise;
use super::ops::fused;
use super::{Emitter, LowerError, Value};
use sublet_graph::{Binary, Op, shape};
use sublet_plan::{Operand, Plan, SlotId, Step};

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

/// Steps, inputs and outputs of one kernel at most.
const STEPS_MAX: usize = 40;
const INPUTS_MAX: usize = 12;
const OUTPUTS_MAX: usize = 6;

/// Divides a plan's steps into groups, in an order in which they can be computed.
pub fn groups(plan: &Plan) -> Vec<Group> {
    let uses = Uses::of(plan);
    // The group that each step belongs to, and the steps of each group; groups that were joined to others are empty.
    let mut group_of: Vec<usize> = Vec::with_capacity(plan.steps.len());
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let mut joined = vec![index];
        if let Some(sum) = sum_of_rows(plan, &uses, step, index)
            && members[group_of[sum]] == [sum]
        {
            members[group_of[sum]].clear();
            joined = vec![sum, index];
        }
        if fuses(plan, step) {
            for operand in step.inputs.iter().flatten() {
                let Some(producer) = uses.producer(*operand) else { continue };
                let group = group_of[producer];
                let candidate = &members[group];
                if candidate.is_empty() || joined.contains(&candidate[0]) {
                    continue;
                }
                let mut together = [&joined[..], &candidate[..]].concat();
                together.sort_unstable();
                if may_join(plan, &uses, &together) {
                    joined = together;
                    members[group].clear();
                }
            }
        }
        let id = members.len();
        group_of.push(id);
        joined.iter().filter(|&&member| member != index).for_each(|&member| group_of[member] = id);
        members.push(joined);
    }
    // A group stands where its last step does.
    members.retain(|steps| !steps.is_empty());
    members.sort_by_key(|steps| steps.last().copied());
    members.into_iter().map(|steps| group(plan, &uses, steps)).collect()
}

/// Emits a group of several steps. `value` gives what is stored; intermediate values are not.
pub fn emit(
    emitter: &mut Emitter<'_>,
    plan: &Plan,
    group: &Group,
    value: &dyn Fn(Operand) -> Option<Value>,
) -> Result<(), LowerError> {
    fused::emit(emitter, plan, group, value)
}

/// Whether a step computes element by element, with a shape that is known.
fn fuses(plan: &Plan, step: &Step) -> bool {
    let known = |slot: &SlotId| plan.slot_shape(*slot).is_some();
    let inputs_known = step.inputs.iter().flatten().all(|operand| match operand {
        Operand::Slot(slot) => known(slot),
        Operand::Weight(_) | Operand::Literal(_) => true,
    });
    is_elementwise(&step.op)
        && matches!(&step.outputs[..], [Some(slot)] if known(slot))
        && inputs_known
}

/// Elements of a row that one block of threads keeps in registers.
const ROW_MAX: usize = 8192;

/// The step that adds two values of one shape, when step `index` normalises rows of the sum and both can be one kernel.
fn sum_of_rows(plan: &Plan, uses: &Uses, step: &Step, index: usize) -> Option<usize> {
    let (Op::LayerNorm { axis, .. } | Op::RmsNorm { axis, .. }) = step.op else { return None };
    let Some(&Some(Operand::Slot(sum))) = step.inputs.first() else { return None };
    let producer = uses.producer(Operand::Slot(sum))?;
    let add = &plan.steps[producer];
    let shape = plan.slot_shape(sum)?;
    let alike = |operand: &Option<Operand>| match operand {
        Some(Operand::Slot(slot)) => {
            plan.slot_shape(*slot) == Some(shape) && plan.slot(*slot).dtype == plan.slot(sum).dtype
        }
        _ => false,
    };
    let row: usize = shape[shape::axis(axis, shape.len()).ok()?..].iter().product();
    let used = |slot: SlotId| uses.is_output(slot) || !uses.readers(slot).is_empty();
    let whole = matches!(step.outputs.first(), Some(Some(slot)) if used(*slot));
    let waits = uses.readers(sum).iter().all(|&reader| reader >= index);
    let fits = add.op == Op::Binary(Binary::Add)
        && plan.slot(sum).dtype.is_float()
        && add.inputs.iter().all(alike)
        && (1..=ROW_MAX).contains(&row)
        && whole
        && waits;
    fits.then_some(producer)
}

/// Whether steps (ascending) can be one kernel that runs where the last of them stands.
fn may_join(plan: &Plan, uses: &Uses, steps: &[usize]) -> bool {
    let last = *steps.last().expect("steps to join");
    let shape = |step: usize| match plan.steps[step].outputs[..] {
        [Some(slot)] => plan.slot_shape(slot),
        _ => None,
    };
    let alike = steps.iter().all(|&step| {
        fuses(plan, &plan.steps[step]) && shape(step).is_some() && shape(step) == shape(last)
    });
    // What the earlier steps compute is read by none but their own group before it runs.
    let waits = |&step: &usize| {
        let outputs = plan.steps[step].outputs.iter().flatten();
        outputs
            .flat_map(|&slot| uses.readers(slot))
            .all(|reader| *reader > last || steps.contains(reader))
    };
    if !alike || steps.len() > STEPS_MAX || !steps.iter().all(waits) {
        return false;
    }
    let group = group(plan, uses, steps.to_vec());
    // What passes between the steps has one shape: nothing of it is read through a view.
    let is_made =
        |slot: SlotId| uses.producers[slot.0 as usize].is_some_and(|by| steps.contains(&by));
    let is_view_inside = |input: &Operand| match input {
        Operand::Slot(slot) => is_made(root(plan, *slot)),
        Operand::Weight(_) | Operand::Literal(_) => false,
    };
    if group.inputs.iter().any(is_view_inside) {
        return false;
    }
    group.inputs.len() <= INPUTS_MAX && group.outputs.len() <= OUTPUTS_MAX
}

fn group(plan: &Plan, uses: &Uses, steps: Vec<usize>) -> Group {
    let made: Vec<SlotId> =
        steps.iter().flat_map(|&step| plan.steps[step].outputs.iter().flatten().copied()).collect();
    let mut inputs: Vec<Operand> = Vec::new();
    for &step in &steps {
        for &input in plan.steps[step].inputs.iter().flatten() {
            let inside = matches!(input, Operand::Slot(slot) if made.contains(&slot));
            if !inside && !inputs.contains(&input) {
                inputs.push(input);
            }
        }
    }
    let outside = |slot: &SlotId| {
        uses.is_output(*slot) || uses.readers(*slot).iter().any(|reader| !steps.contains(reader))
    };
    // A single step may leave what nobody reads, and has to put it somewhere.
    let outputs = match steps.len() {
        1 => made,
        _ => made.into_iter().filter(outside).collect(),
    };
    Group { steps, inputs, outputs }
}

/// The slot that has the elements.
fn root(plan: &Plan, slot: SlotId) -> SlotId {
    plan.slot(slot).view_of.unwrap_or(slot)
}

/// Who makes each slot, and who reads it or a view of it.
struct Uses {
    producers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
    outputs: Vec<bool>,
}

impl Uses {
    fn of(plan: &Plan) -> Uses {
        let slots = plan.slots.len();
        let mut uses = Uses {
            producers: vec![None; slots],
            readers: vec![Vec::new(); slots],
            outputs: vec![false; slots],
        };
        for (index, step) in plan.steps.iter().enumerate() {
            for operand in step.inputs.iter().flatten() {
                if let Operand::Slot(slot) = operand {
                    uses.readers[root(plan, *slot).0 as usize].push(index);
                }
            }
            for slot in step.outputs.iter().flatten() {
                uses.producers[slot.0 as usize] = Some(index);
            }
        }
        for output in &plan.outputs {
            if let Operand::Slot(slot) = output.from {
                uses.outputs[root(plan, slot).0 as usize] = true;
            }
        }
        uses
    }

    fn producer(&self, operand: Operand) -> Option<usize> {
        match operand {
            Operand::Slot(slot) => self.producers[slot.0 as usize],
            Operand::Weight(_) | Operand::Literal(_) => None,
        }
    }

    fn readers(&self, slot: SlotId) -> &[usize] {
        &self.readers[slot.0 as usize]
    }

    fn is_output(&self, slot: SlotId) -> bool {
        self.outputs[slot.0 as usize]
    }
}
