//! From drafts to a plan: what nobody reads is dropped, every value gets its place.

use super::emit::{Draft, Emitter};
use super::value::{Home, Id};
use crate::arena::Arena;
use crate::{Operand, Place, Plan, PlanError, PlanInput, PlanOutput, Slot, SlotId, Step};
use std::collections::HashMap;
use sublet_graph::{WeightId, byte_len};
use sublet_units::Bytes;

impl Emitter<'_> {
    /// The plan of everything emitted, with these inputs and outputs.
    pub fn finish(
        mut self,
        inputs: Vec<(String, Id)>,
        outputs: Vec<(String, Id)>,
    ) -> Result<Plan, PlanError> {
        let drafts = self.live_drafts(&outputs);
        let last_use = self.last_uses(&drafts, &outputs);
        let mut places = Places {
            emitter: &self,
            last_use,
            offsets: vec![None; self.values.len()],
            arena: Arena::default(),
            slots: vec![None; self.values.len()],
            literals: HashMap::new(),
            plan: Plan {
                inputs: Vec::new(),
                outputs: Vec::new(),
                slots: Vec::new(),
                literals: Vec::new(),
                steps: Vec::new(),
                arena_bytes: 0,
                segments: 0,
                unusable: None,
            },
        };
        places.inputs(inputs)?;
        for (index, draft) in drafts.into_iter().enumerate() {
            places.step(index, draft)?;
        }
        for (name, id) in outputs {
            let from = places.operand(id);
            if let Operand::Weight(weight) = from {
                places.plan.segments = places.plan.segments.max(places.segments_for(weight));
            }
            let value = self.value(id);
            let (dtype, shape) = (value.dtype, value.shape.clone());
            places.plan.outputs.push(PlanOutput { name, dtype, shape, from });
        }
        places.plan.arena_bytes = places.arena.peak();
        Ok(places.plan)
    }

    /// The value whose memory this value lies in.
    fn root(&self, id: Id) -> Id {
        match self.value(id).home {
            Home::View(root) => root,
            Home::Computed | Home::Weight(_) | Home::Literal => id,
        }
    }

    fn live_drafts(&mut self, outputs: &[(String, Id)]) -> Vec<Draft> {
        let mut wanted = vec![false; self.values.len()];
        for (_, id) in outputs {
            wanted[self.root(*id).0] = true;
        }
        let mut live = Vec::new();
        for draft in std::mem::take(&mut self.drafts).into_iter().rev() {
            if draft.outputs.iter().flatten().any(|id| wanted[id.0]) {
                for input in draft.inputs.iter().flatten() {
                    wanted[self.root(*input).0] = true;
                }
                live.push(draft);
            }
        }
        live.reverse();
        live
    }

    /// For each value in whose memory something lies, the step after which it is free: the last one that reads it,
    /// the one that makes it if nobody does, none for outputs.
    fn last_uses(&self, drafts: &[Draft], outputs: &[(String, Id)]) -> Vec<LastUse> {
        let mut last = vec![LastUse::Never; self.values.len()];
        for (index, draft) in drafts.iter().enumerate() {
            for id in draft.inputs.iter().chain(&draft.outputs).flatten() {
                last[self.root(*id).0] = LastUse::Step(index);
            }
        }
        for (_, id) in outputs {
            last[self.root(*id).0] = LastUse::End;
        }
        last
    }
}

#[derive(Clone, Copy, PartialEq)]
enum LastUse {
    Never,
    Step(usize),
    End,
}

/// Gives out slots, offsets and literal numbers, step by step.
struct Places<'a, 'b> {
    emitter: &'a Emitter<'b>,
    last_use: Vec<LastUse>,
    /// Of each root, while it is alive.
    offsets: Vec<Option<usize>>,
    arena: Arena,
    slots: Vec<Option<SlotId>>,
    literals: HashMap<Id, u32>,
    plan: Plan,
}

impl Places<'_, '_> {
    /// All inputs are written before the first step, so they are alive together.
    fn inputs(&mut self, inputs: Vec<(String, Id)>) -> Result<(), PlanError> {
        let ids: Vec<_> = inputs.iter().map(|(_, id)| *id).collect();
        for (name, id) in inputs {
            self.allocate(&name, id)?;
            let value = self.emitter.value(id);
            let shape = value.shape.clone().filter(|_| !self.emitter.in_body);
            let (dtype, slot) = (value.dtype, self.slot(id));
            self.plan.inputs.push(PlanInput { name, dtype, shape, slot });
        }
        for id in ids {
            if self.last_use[id.0] == LastUse::Never {
                self.release(id);
            }
        }
        Ok(())
    }

    fn step(&mut self, index: usize, draft: Draft) -> Result<(), PlanError> {
        for id in draft.outputs.iter().flatten() {
            self.allocate(&draft.name, *id)?;
        }
        let inputs: Vec<_> =
            draft.inputs.iter().map(|input| input.map(|id| self.operand(id))).collect();
        let outputs: Vec<_> =
            draft.outputs.iter().map(|output| output.map(|id| self.slot(id))).collect();
        for operand in inputs.iter().flatten() {
            if let Operand::Weight(weight) = operand {
                self.plan.segments = self.plan.segments.max(self.segments_for(*weight));
            }
        }
        for body in &draft.bodies {
            self.plan.segments = self.plan.segments.max(body.segments);
        }
        for id in draft.inputs.iter().chain(&draft.outputs).flatten() {
            let root = self.emitter.root(*id);
            if self.last_use[root.0] == LastUse::Step(index) {
                self.release(root);
            }
        }
        self.plan.steps.push(Step {
            name: draft.name,
            op: draft.op,
            inputs,
            outputs,
            segments: self.plan.segments,
            bodies: draft.bodies,
        });
        Ok(())
    }

    fn segments_for(&self, weight: WeightId) -> u32 {
        self.emitter.layout.weight(weight).segment + 1
    }

    /// Bytes of a value in the arena; `None` when it has no place there.
    fn arena_len(&self, id: Id) -> Option<usize> {
        let value = self.emitter.value(id);
        let shape = value.shape.as_ref().filter(|_| !self.emitter.in_body)?;
        Some(byte_len(value.dtype, shape).expect("checked when it was emitted"))
    }

    fn allocate(&mut self, node: &str, id: Id) -> Result<(), PlanError> {
        let Some(len) = self.arena_len(id) else { return Ok(()) };
        let limit = self.emitter.options.arena_bytes_max;
        let offset = self.arena.take(len).filter(|_| self.arena.peak() <= limit);
        let offset = offset.ok_or_else(|| PlanError::TooLarge {
            node: node.to_owned(),
            bytes: Bytes(self.arena.peak() as u64),
            limit: Bytes::from(limit),
        })?;
        self.offsets[id.0] = Some(offset);
        Ok(())
    }

    fn release(&mut self, root: Id) {
        if let (Some(offset), Some(len)) = (self.offsets[root.0].take(), self.arena_len(root)) {
            self.arena.give(offset, len);
        }
    }

    fn operand(&mut self, id: Id) -> Operand {
        match self.emitter.value(id).home {
            Home::Weight(weight) => Operand::Weight(weight),
            Home::Literal => Operand::Literal(self.literal(id)),
            Home::Computed | Home::View(_) => Operand::Slot(self.slot(id)),
        }
    }

    fn literal(&mut self, id: Id) -> u32 {
        let literals = &mut self.plan.literals;
        *self.literals.entry(id).or_insert_with(|| {
            let literal = self.emitter.value(id).literal.clone();
            literals.push(literal.expect("a literal has a value"));
            literals.len() as u32 - 1
        })
    }

    /// The slot of a computed value or view, made when first asked for while its memory is alive.
    fn slot(&mut self, id: Id) -> SlotId {
        if let Some(slot) = self.slots[id.0] {
            return slot;
        }
        let root = self.emitter.root(id);
        let view_of = (root != id).then(|| self.slot(root));
        let value = self.emitter.value(id);
        let offset = self.offsets[root.0];
        let place = match (offset, &value.shape) {
            (Some(offset), Some(shape)) => Place::Arena { offset, shape: shape.clone() },
            _ => Place::Dynamic,
        };
        let slot = SlotId(self.plan.slots.len() as u32);
        self.plan.slots.push(Slot { dtype: value.dtype, place, view_of });
        self.slots[id.0] = Some(slot);
        slot
    }
}
