//! An activation after a convolution or linear layer becomes part of it, also where a reshape is between the two.

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
    let above = editor.inner(input)?;
    let reshape = matches!(editor.node(above).op, Op::Reshape { .. }).then_some(above);
    let made = reshape.map_or(Some(input), |reshape| editor.input(reshape, 0))?;
    let product = editor.inner(made)?;
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
    let Some(reshape) = reshape else {
        editor.replace(node, op, inputs);
        return Some(());
    };
    // The reshape comes last: it takes the activation's place, and the product stands before it.
    let (form, target) = (editor.node(reshape).op.clone(), editor.input(reshape, 1));
    let name = format!("{}/activation", editor.node(product).name);
    let dtype = editor.value(made).dtype?;
    let made = editor.insert_before(node, &name, op, inputs, dtype);
    editor.replace(node, form, vec![Some(made), target]);
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
