//! Small questions that patterns are made of.
//!
//! "Inner" means: made by a node of the graph, and read by nobody else, so that fusing leaves nothing behind.

use super::editor::{Editor, is_real};
use crate::{Binary, Op, Unary, ValueId};

impl Editor<'_> {
    /// The node that makes `id`, if only one input reads it.
    pub fn inner(&self, id: ValueId) -> Option<usize> {
        self.maker(id).filter(|_| self.uses(id) == 1)
    }

    /// The two operands of the node that makes `id`, if it is this operator.
    pub fn operands(&self, id: ValueId, op: Binary) -> Option<[ValueId; 2]> {
        let node = self.maker(id)?;
        if self.node(node).op != Op::Binary(op) {
            return None;
        }
        Some([self.input(node, 0)?, self.input(node, 1)?])
    }

    /// As [`Editor::operands`], when `id` is inner.
    pub fn inner_operands(&self, id: ValueId, op: Binary) -> Option<[ValueId; 2]> {
        self.inner(id)?;
        self.operands(id, op)
    }

    /// The operand of the node that makes `id`, if it is this operator and `id` is inner.
    pub fn inner_unary(&self, id: ValueId, unary: Unary) -> Option<ValueId> {
        let node = self.inner(id)?;
        if self.node(node).op != Op::Unary(unary) {
            return None;
        }
        self.input(node, 0)
    }

    /// The operand besides a scalar constant, and the constant; for operators whose operands may swap.
    pub fn with_scalar(&self, operands: [ValueId; 2]) -> Option<(ValueId, f32)> {
        let [a, b] = operands;
        match (self.scalar_beside(a, b), self.scalar_beside(b, a)) {
            (_, Some(scalar)) => Some((a, scalar)),
            (Some(scalar), None) => Some((b, scalar)),
            (None, None) => None,
        }
    }

    /// The one element of a constant that leaves the shape of `other` as it is when broadcast with it.
    pub fn scalar_beside(&self, id: ValueId, other: ValueId) -> Option<f32> {
        let literal = self.constant(id)?;
        let fits = literal.shape().is_empty()
            || literal.len() == 1
                && self.probes.rank(other).is_some_and(|rank| literal.shape().len() <= rank);
        if !is_real(literal.dtype()) || !fits {
            return None;
        }
        literal.to_f32s()?.first().copied()
    }

    /// The one element of a constant, whatever its shape.
    pub fn element(&self, id: ValueId) -> Option<f32> {
        let literal = self.constant(id).filter(|literal| literal.len() == 1)?;
        literal.to_f32s()?.first().copied()
    }
}

/// Whether a constant is what a formula asks for, up to rounding: `tolerance` is relative.
pub(super) fn near(value: f32, expected: f64, tolerance: f64) -> bool {
    (f64::from(value) - expected).abs() <= tolerance * expected.abs().max(1e-6)
}
