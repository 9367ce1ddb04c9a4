//! Batch norms, and sums and products with one constant per channel, become part of the convolution before them.
//!
//! `scale · (w ∗ x + b) + shift` is the convolution with weights `scale · w` and bias `scale · b + shift`.

use super::editor::{Editor, is_real};
use crate::{Activation, Binary, DType, Literal, Op, ValueId};

/// What happens to each channel after a convolution.
struct Affine {
    scale: Option<Vec<f64>>,
    shift: Option<Vec<f64>>,
}

pub(super) fn affine(editor: &mut Editor, node: usize) -> bool {
    apply(editor, node).is_some()
}

fn apply(editor: &mut Editor, node: usize) -> Option<()> {
    let (convolved, other) = match &editor.node(node).op {
        Op::BatchNorm { .. } => (editor.input(node, 0)?, None),
        Op::Binary(Binary::Add | Binary::Mul | Binary::Sub | Binary::Div) => {
            let [a, b] = [editor.input(node, 0)?, editor.input(node, 1)?];
            let swaps = matches!(editor.node(node).op, Op::Binary(Binary::Add | Binary::Mul));
            match (editor.constant(a).is_some(), editor.constant(b).is_some()) {
                (false, true) => (a, Some(b)),
                (true, false) if swaps => (b, Some(a)),
                _ => return None,
            }
        }
        _ => return None,
    };
    let conv = editor.inner(convolved)?;
    let op = editor.node(conv).op.clone();
    let (x, w) = (editor.input(conv, 0)?, editor.input(conv, 1)?);
    let kernel = editor.constant(w).filter(|kernel| is_real(kernel.dtype()))?.clone();
    let group = match &op {
        Op::Conv { activation: Activation::None, .. } if editor.input(conv, 3).is_none() => None,
        Op::ConvTranspose { conv, .. } => Some(conv.group),
        _ => return None,
    };
    let channels = match group {
        None => *kernel.shape().first()?,
        Some(group) => kernel.shape().get(1)?.checked_mul(group)?,
    };
    let change = match other {
        None => batch_norm(editor, node, channels)?,
        Some(other) => binary(editor, node, other, channels, kernel.shape().len())?,
    };
    // Infinities do not distribute over the sums of a convolution.
    if change.scale.iter().flatten().any(|scale| !(*scale as f32).is_finite()) {
        return None;
    }
    let bias = match editor.input(conv, 2) {
        None => None,
        Some(bias) => Some(doubles(editor, bias, channels)?),
    };
    let name = editor.value(w).name.clone();
    let dtype = kernel.dtype();
    let scaled = match &change.scale {
        None => None,
        // Half precision may not hold what the two hold apart.
        Some(scale) => Some(scale_channels(&kernel, scale, group)?),
    };
    let kernel = scaled.map_or(w, |scaled| editor.add_weight(&name, scaled));
    let bias: Vec<f32> = (0..channels)
        .map(|channel| {
            let old = bias.as_ref().map_or(0.0, |bias| bias[channel]);
            let scale = change.scale.as_ref().map_or(1.0, |scale| scale[channel]);
            (old * scale + change.shift.as_ref().map_or(0.0, |shift| shift[channel])) as f32
        })
        .collect();
    let needed = change.shift.is_some() || editor.input(conv, 2).is_some();
    let bias = needed.then(|| {
        editor.add_weight(&format!("{name}.bias"), Literal::rounded(dtype, &[channels], &bias))
    });
    editor.replace(node, op, vec![Some(x), Some(kernel), bias]);
    Some(())
}

fn batch_norm(editor: &Editor, node: usize, channels: usize) -> Option<Affine> {
    let Op::BatchNorm { epsilon } = editor.node(node).op else { return None };
    let parameter = |index| doubles(editor, editor.input(node, index)?, channels);
    let (gain, bias) = (parameter(1)?, parameter(2)?);
    let (mean, variance) = (parameter(3)?, parameter(4)?);
    let scale: Vec<f64> = gain
        .iter()
        .zip(&variance)
        .map(|(gain, variance)| gain / (variance + f64::from(epsilon)).sqrt())
        .collect();
    let shift = (0..channels).map(|at| bias[at] - mean[at] * scale[at]).collect();
    Some(Affine { scale: Some(scale), shift: Some(shift) })
}

fn binary(
    editor: &Editor,
    node: usize,
    constant: ValueId,
    channels: usize,
    rank: usize,
) -> Option<Affine> {
    let literal = editor.constant(constant).filter(|literal| is_real(literal.dtype()))?;
    let shape = literal.shape();
    // Axis 1 of `rank` axes, all others of size 1.
    let per_channel = shape.len() <= rank
        && shape
            .iter()
            .enumerate()
            .all(|(at, &size)| size == 1 || (size == channels && at + rank == shape.len() + 1));
    if !per_channel {
        return None;
    }
    let values = literal.to_f32s()?;
    let value = |at: usize| f64::from(values[if values.len() == 1 { 0 } else { at }]);
    let list = |of: &dyn Fn(f64) -> f64| Some((0..channels).map(|at| of(value(at))).collect());
    Some(match editor.node(node).op {
        Op::Binary(Binary::Add) => Affine { scale: None, shift: list(&|value| value) },
        Op::Binary(Binary::Sub) => Affine { scale: None, shift: list(&|value| -value) },
        Op::Binary(Binary::Mul) => Affine { scale: list(&|value| value), shift: None },
        Op::Binary(Binary::Div) => Affine { scale: list(&|value| 1.0 / value), shift: None },
        _ => return None,
    })
}

/// A constant vector of `len` numbers.
fn doubles(editor: &Editor, id: ValueId, len: usize) -> Option<Vec<f64>> {
    let literal = editor.constant(id)?;
    if !is_real(literal.dtype()) || literal.shape() != [len] {
        return None;
    }
    Some(literal.to_f32s()?.into_iter().map(f64::from).collect())
}

/// Kernels `[m, c/group, …]`, or of a transposed convolution with `group` groups `[c, m/group, …]`, each output channel
/// scaled. `None` when a weight becomes infinite.
fn scale_channels(kernel: &Literal, scale: &[f64], group: Option<usize>) -> Option<Literal> {
    let shape = kernel.shape();
    let mut values = kernel.to_f32s()?;
    let was_finite = values.iter().all(|value| value.is_finite());
    let window: usize = shape[2..].iter().product();
    let (rows, columns) = (shape[0], shape[1]);
    for row in 0..rows {
        for column in 0..columns {
            let channel = match group {
                None => row,
                Some(group) => row / (rows / group) * columns + column,
            };
            let start = (row * columns + column) * window;
            for value in &mut values[start..start + window] {
                *value = (f64::from(*value) * scale[channel]) as f32;
            }
        }
    }
    let scaled = Literal::rounded(kernel.dtype(), shape, &values);
    let is_finite =
        || scaled.to_f32s().is_some_and(|all| all.iter().all(|value| value.is_finite()));
    let stays = kernel.dtype() == DType::F32 || !was_finite || is_finite();
    stays.then_some(scaled)
}
