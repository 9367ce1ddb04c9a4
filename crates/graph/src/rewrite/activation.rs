//! An activation right after a convolution or linear layer becomes part of it.

use super::editor::Editor;
use crate::{Activation, Op, Unary};

pub(super) fn activation(editor: &mut Editor, node: usize) -> bool {
    apply(editor, node).is_some()
}

fn apply(editor: &mut Editor, node: usize) -> Option<()> {
    let input = editor.input(node, 0).filter(|&input| editor.is_real(input))?;
    let applied = match editor.node(node).op {
        Op::Unary(unary) => of_unary(unary)?,
        Op::Clip => {
            let bound = |index, default| match editor.input(node, index) {
                Some(bound) => editor.element(bound),
                None => Some(default),
            };
            let (low, high) = (bound(1, f32::MIN)?, bound(2, f32::MAX)?);
            // Bounds that cross, or are not numbers, keep their own operator.
            (low <= high).then_some(Activation::Clip { low, high })?
        }
        _ => return None,
    };
    let product = editor.inner(input)?;
    let mut op = editor.node(product).op.clone();
    match &mut op {
        Op::Conv { activation, .. } | Op::Linear { activation }
            if *activation == Activation::None =>
        {
            *activation = applied;
        }
        _ => return None,
    }
    let inputs = editor.node(product).inputs.clone();
    editor.replace(node, op, inputs);
    Some(())
}

fn of_unary(unary: Unary) -> Option<Activation> {
    Some(match unary {
        Unary::Relu => Activation::Relu,
        Unary::LeakyRelu { alpha } => Activation::LeakyRelu { alpha },
        Unary::HardSigmoid { alpha, beta } => Activation::HardSigmoid { alpha, beta },
        Unary::HardSwish => Activation::HardSwish,
        Unary::Sigmoid => Activation::Sigmoid,
        Unary::Tanh => Activation::Tanh,
        Unary::Gelu { tanh } => Activation::Gelu { tanh },
        Unary::Swish { alpha } => Activation::Swish { alpha },
        _ => return None,
    })
}
