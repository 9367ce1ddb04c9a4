//! Layer norm and root-mean-square norm spelled out in smaller operators.

use super::editor::Editor;
use crate::{Binary, Literal, Op, Reduce, Unary, ValueId};

/// `(x − mean(x)) / √(mean((x − mean(x))²) + ε) · gain + bias`.
pub(super) fn layer_norm(editor: &mut Editor, node: usize) -> bool {
    let Some((op, inputs)) = match_layer_norm(editor, node) else { return false };
    let inputs = inputs.into_iter().map(|input| input.place(editor)).map(Some).collect();
    editor.replace(node, op, inputs);
    true
}

/// `x / √(mean(x²) + ε) · gain`.
pub(super) fn rms_norm(editor: &mut Editor, node: usize) -> bool {
    let Some((op, inputs)) = match_rms_norm(editor, node) else { return false };
    let inputs = inputs.into_iter().map(|input| input.place(editor)).map(Some).collect();
    editor.replace(node, op, inputs);
    true
}

/// An input of the fused operator: a value, or a parameter without its leading axes of size 1.
enum Input {
    Value(ValueId),
    Reshaped(ValueId, Vec<usize>),
}

impl Input {
    fn place(self, editor: &mut Editor) -> ValueId {
        match self {
            Input::Value(id) => id,
            Input::Reshaped(id, shape) => {
                let name = editor.value(id).name.clone();
                let literal = editor.constant(id).and_then(|literal| literal.reshaped(shape));
                editor.add_weight(&name, literal.expect("as many elements as before"))
            }
        }
    }
}

fn match_layer_norm(editor: &Editor, node: usize) -> Option<(Op, Vec<Input>)> {
    if editor.node(node).op != Op::Binary(Binary::Add) {
        return None;
    }
    let [a, b] = [editor.input(node, 0)?, editor.input(node, 1)?];
    let (scaled, bias) = constant_last(editor, [a, b])?;
    let (normal, gain) = constant_last(editor, editor.inner_operands(scaled, Binary::Mul)?)?;
    let (centred, epsilon, axis) = normalized(editor, normal)?;
    let [x, mean] = editor.operands(centred, Binary::Sub)?;
    if mean_axis(editor, mean, x)? != axis {
        return None;
    }
    let inputs =
        vec![Input::Value(x), parameter(editor, gain, x, axis)?, parameter(editor, bias, x, axis)?];
    Some((Op::LayerNorm { axis, epsilon }, inputs))
}

fn match_rms_norm(editor: &Editor, node: usize) -> Option<(Op, Vec<Input>)> {
    if editor.node(node).op != Op::Binary(Binary::Mul) {
        return None;
    }
    let (normal, gain) = constant_last(editor, [editor.input(node, 0)?, editor.input(node, 1)?])?;
    let (x, epsilon, axis) = normalized(editor, normal)?;
    let inputs = vec![Input::Value(x), parameter(editor, gain, x, axis)?];
    Some((Op::RmsNorm { axis, epsilon }, inputs))
}

fn constant_last(editor: &Editor, operands: [ValueId; 2]) -> Option<(ValueId, ValueId)> {
    let [a, b] = operands;
    match (editor.constant(a).is_some(), editor.constant(b).is_some()) {
        (false, true) => Some((a, b)),
        (true, false) => Some((b, a)),
        _ => None,
    }
}

/// The `d`, `ε` and first axis of an inner `d / √(mean(d²) + ε)`, also written as a product with the reciprocal.
fn normalized(editor: &Editor, id: ValueId) -> Option<(ValueId, f32, i64)> {
    let node = editor.inner(id)?;
    let [a, b] = [editor.input(node, 0)?, editor.input(node, 1)?];
    match editor.node(node).op {
        Op::Binary(Binary::Div) => deviation(editor, b, a),
        Op::Binary(Binary::Mul) => [(a, b), (b, a)]
            .into_iter()
            .find_map(|(d, reciprocal)| deviation(editor, inverted(editor, reciprocal)?, d)),
        _ => None,
    }
    .map(|(epsilon, axis, d)| (d, epsilon, axis))
}

/// The `s` of an inner `1 / s`.
fn inverted(editor: &Editor, id: ValueId) -> Option<ValueId> {
    if let Some(of) = editor.inner_unary(id, Unary::Reciprocal) {
        return Some(of);
    }
    let [one, of] = editor.inner_operands(id, Binary::Div)?;
    (editor.scalar_beside(one, of)? == 1.0).then_some(of)
}

/// Whether `id` is an inner `√(mean(d²) + ε)`: then `ε`, the first axis, and `d`.
fn deviation(editor: &Editor, id: ValueId, d: ValueId) -> Option<(f32, i64, ValueId)> {
    let sum = editor.inner_unary(id, Unary::Sqrt).or_else(|| {
        let [base, exponent] = editor.inner_operands(id, Binary::Pow)?;
        (editor.scalar_beside(exponent, base)? == 0.5).then_some(base)
    })?;
    let (variance, epsilon) = editor.with_scalar(editor.inner_operands(sum, Binary::Add)?)?;
    editor.inner(variance)?;
    let square = editor.input(editor.maker(variance)?, 0)?;
    let axis = mean_axis(editor, variance, square)?;
    let squared = match editor.inner_operands(square, Binary::Pow) {
        Some([base, exponent]) => base == d && editor.element(exponent) == Some(2.0),
        None => editor.inner_operands(square, Binary::Mul)? == [d, d],
    };
    (squared && editor.is_real(d)).then_some((epsilon, axis, d))
}

/// The first axis, counted from the back, of a mean of `x` over its last axes that keeps them as 1.
fn mean_axis(editor: &Editor, id: ValueId, x: ValueId) -> Option<i64> {
    let node = editor.maker(id)?;
    let Op::Reduce { reduce: Reduce::Mean, keep_dims: true, .. } = editor.node(node).op else {
        return None;
    };
    if editor.input(node, 0) != Some(x) {
        return None;
    }
    let mut axes = editor.constant(editor.input(node, 1)?)?.to_i64s()?;
    if axes.iter().any(|&axis| axis >= 0) {
        let rank = editor.probes.rank(x)? as i64;
        axes.iter_mut().filter(|axis| **axis >= 0).for_each(|axis| *axis -= rank);
    }
    axes.sort_unstable();
    let count = axes.len() as i64;
    (count > 0 && axes.iter().copied().eq(-count..0)).then_some(-count)
}

/// A constant with the shape of the last axes of `x`, from `axis` on; leading axes of size 1 are left out.
fn parameter(editor: &Editor, id: ValueId, x: ValueId, axis: i64) -> Option<Input> {
    let same = |literal: &&Literal| editor.value(x).dtype == Some(literal.dtype());
    let literal = editor.constant(id).filter(same).filter(|_| editor.is_real(x))?;
    let count = axis.unsigned_abs() as usize;
    let shape = literal.shape();
    let start = shape.len().checked_sub(count)?;
    let fits = shape[..start].iter().all(|&size| size == 1)
        && editor.probes.rank(x).is_some_and(|rank| shape.len() <= rank)
        && (0..count).all(|at| editor.probes.last_dim(x, count - at) == Some(shape[start + at]));
    if !fits {
        return None;
    }
    Some(match start {
        0 => Input::Value(id),
        _ => Input::Reshaped(id, shape[start..].to_vec()),
    })
}
