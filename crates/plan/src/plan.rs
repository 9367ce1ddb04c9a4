//! The data of a plan.

use sublet_graph::{DType, Literal, Op, WeightId};

/// A graph compiled for concrete input shapes: steps in order, every value at a fixed place.
#[derive(Clone, Debug)]
pub struct Plan {
    pub inputs: Vec<PlanInput>,
    pub outputs: Vec<PlanOutput>,
    pub slots: Vec<Slot>,
    /// Values known when the plan was made.
    pub literals: Vec<Literal>,
    pub steps: Vec<Step>,
    /// Bytes of arena that the static slots need.
    pub arena_bytes: usize,
    /// How many leading segments of the image the whole plan needs.
    pub segments: u32,
    /// Why this body of control flow cannot run on its inputs: a branch that is never taken with these shapes may well
    /// break an operator's rules, and only taking it is an error.
    pub unusable: Option<String>,
}

/// A value computed, or given, at run time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotId(pub u32);

#[derive(Clone, PartialEq, Debug)]
pub struct Slot {
    pub dtype: DType,
    pub place: Place,
    /// The slot whose elements this one shows in another shape; that one is no view itself.
    pub view_of: Option<SlotId>,
}

/// Where a slot's elements lie.
#[derive(Clone, PartialEq, Debug)]
pub enum Place {
    /// In the lane's arena. Slots of steps that are alive together never overlap, except where a slot is a view
    /// of another (a reshape): then they lie at the same offset.
    Arena { offset: usize, shape: Vec<usize> },
    /// The shape is known only when the step runs (or the plan is a body of a control-flow operator): the device
    /// takes memory for it then.
    Dynamic,
}

#[derive(Clone, Debug)]
pub struct PlanInput {
    pub name: String,
    pub dtype: DType,
    /// `None` in bodies of control-flow operators, where only the run tells.
    pub shape: Option<Vec<usize>>,
    pub slot: SlotId,
}

#[derive(Clone, Debug)]
pub struct PlanOutput {
    pub name: String,
    pub dtype: DType,
    /// `None` when only the run tells.
    pub shape: Option<Vec<usize>>,
    pub from: Operand,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    Slot(SlotId),
    Weight(WeightId),
    /// Index into [`Plan::literals`].
    Literal(u32),
}

#[derive(Clone, Debug)]
pub struct Step {
    /// The node's name, for errors and traces.
    pub name: String,
    pub op: Op,
    pub inputs: Vec<Option<Operand>>,
    pub outputs: Vec<Option<SlotId>>,
    /// How many leading segments of the image must be resident before this step may start: one more than the
    /// largest segment that this or an earlier step reads.
    pub segments: u32,
    /// Plans of the operator's bodies, in the order of [`Op::bodies`]. All their slots are dynamic.
    pub bodies: Vec<Plan>,
}

impl Plan {
    pub fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id.0 as usize]
    }

    /// Type and shape of a static slot; the shape is `None` for a dynamic one.
    pub fn slot_shape(&self, id: SlotId) -> Option<&[usize]> {
        match &self.slot(id).place {
            Place::Arena { shape, .. } => Some(shape),
            Place::Dynamic => None,
        }
    }
}
