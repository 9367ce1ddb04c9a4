//! What is worked out once per plan, so that running a step only slices and calls.

use super::Held;
use crate::Tensor;
use sublet_graph::{DType, WeightId, byte_len};
use sublet_plan::{Operand, Place, Plan, SlotId, Step};

/// Belongs to one plan.
pub struct Prepared {
    /// The plan's literals, aligned.
    pub literals: Vec<Tensor>,
    pub steps: Vec<PreparedStep>,
    /// Number of slots when any of them is dynamic, else 0.
    held: usize,
}

pub struct PreparedStep {
    /// What the step reads or writes in the arena, by offset. Pieces never overlap.
    pub cuts: Vec<Cut>,
    pub inputs: Vec<Option<Input>>,
    pub outputs: Vec<Option<Output>>,
    /// Some outputs have no place in the arena.
    pub allocates: bool,
    /// Values outside the arena that nobody reads after this step.
    pub last_reads: Vec<SlotId>,
    pub bodies: Vec<Prepared>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cut {
    pub offset: usize,
    pub len: usize,
    pub written: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// The `piece`th piece that is read.
    Arena {
        piece: usize,
        slot: SlotId,
    },
    Held(SlotId),
    Weight(WeightId),
    Literal(u32),
}

#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// The `piece`th piece that is written.
    Arena {
        piece: usize,
        slot: SlotId,
    },
    Held(SlotId),
}

impl Prepared {
    pub fn new(plan: &Plan) -> Prepared {
        let dynamic = plan.slots.iter().any(|slot| slot.place == Place::Dynamic);
        let mut steps: Vec<_> = plan.steps.iter().map(|step| prepare(plan, step)).collect();
        mark_last_reads(plan, &mut steps);
        Prepared {
            literals: plan.literals.iter().map(Tensor::from_literal).collect(),
            steps,
            held: if dynamic { plan.slots.len() } else { 0 },
        }
    }

    /// Room for the values outside the arena, by slot.
    pub fn no_held<'a>(&self) -> Vec<Option<Held<'a>>> {
        (0..self.held).map(|_| None).collect()
    }
}

/// Bytes of a static slot.
pub fn slot_len(dtype: DType, shape: &[usize]) -> usize {
    byte_len(dtype, shape).expect("the plan checked the size")
}

fn prepare(plan: &Plan, step: &Step) -> PreparedStep {
    let mut cuts = Vec::new();
    for (id, written) in arena_slots(step) {
        if let Some(cut) = cut(plan, id, written) {
            cuts.push(cut);
        }
    }
    cuts.sort();
    // A step may read one piece several times. Pieces that are written differ, unless they are empty.
    cuts.dedup_by(|a, b| a == b && !a.written);
    for pair in cuts.windows(2) {
        let apart = pair[0].offset + pair[0].len <= pair[1].offset;
        assert!(apart, "operands of step `{}` overlap", step.name);
    }
    let same_kind = |written| cuts.iter().filter(move |cut| cut.written == written);
    let piece = |wanted: Cut| same_kind(false).position(|&cut| cut == wanted);
    let input = |operand: Operand| match operand {
        Operand::Weight(id) => Input::Weight(id),
        Operand::Literal(index) => Input::Literal(index),
        Operand::Slot(slot) => match cut(plan, slot, false) {
            Some(cut) => {
                Input::Arena { piece: piece(cut).expect("every operand has a piece"), slot }
            }
            None => Input::Held(slot),
        },
    };
    let mut unused: Vec<_> = same_kind(true).copied().map(Some).collect();
    let mut output = |slot: SlotId| match cut(plan, slot, true) {
        Some(wanted) => {
            let piece = unused.iter().position(|&cut| cut == Some(wanted));
            let piece = piece.expect("every result has a piece of its own");
            unused[piece] = None;
            Output::Arena { piece, slot }
        }
        None => Output::Held(slot),
    };
    let outputs: Vec<_> = step.outputs.iter().map(|slot| slot.map(&mut output)).collect();
    PreparedStep {
        inputs: step.inputs.iter().map(|operand| operand.map(input)).collect(),
        allocates: outputs.iter().any(|output| matches!(output, Some(Output::Held(_)))),
        outputs,
        last_reads: Vec::new(),
        bodies: step.bodies.iter().map(Prepared::new).collect(),
        cuts,
    }
}

/// The slots that a step reads, then those that it writes.
fn arena_slots(step: &Step) -> impl Iterator<Item = (SlotId, bool)> {
    let read = step.inputs.iter().filter_map(|operand| match operand {
        Some(Operand::Slot(id)) => Some((*id, false)),
        _ => None,
    });
    read.chain(step.outputs.iter().flatten().map(|&id| (id, true)))
}

fn cut(plan: &Plan, id: SlotId, written: bool) -> Option<Cut> {
    let slot = plan.slot(id);
    match &slot.place {
        Place::Arena { offset, shape } => {
            Some(Cut { offset: *offset, len: slot_len(slot.dtype, shape), written })
        }
        Place::Dynamic => None,
    }
}

/// Notes with each step which values outside the arena it is the last to read (or to write, if nobody reads them).
fn mark_last_reads(plan: &Plan, steps: &mut [PreparedStep]) {
    let mut later = vec![false; plan.slots.len()];
    for output in &plan.outputs {
        if let Operand::Slot(id) = output.from {
            later[id.0 as usize] = true;
        }
    }
    for (step, prepared) in plan.steps.iter().zip(steps).rev() {
        for (id, _) in arena_slots(step) {
            if plan.slot(id).place == Place::Dynamic && !later[id.0 as usize] {
                later[id.0 as usize] = true;
                prepared.last_reads.push(id);
            }
        }
    }
}
