//! Rotary position embeddings: pairs of elements turned by an angle that depends on their position.

use super::element::{Real, with_real};
use super::operands::{input, integers, invalid, optional, output};
use super::parallel;
use crate::{KernelError, View, ViewMut};

/// Attributes of [`sublet_graph::Op::RotaryEmbedding`].
#[derive(Clone, Copy)]
pub struct Rotary {
    pub interleaved: bool,
    pub num_heads: usize,
    /// How many elements of each head are turned; 0: all.
    pub rotary_dim: usize,
}

/// Computes [`sublet_graph::Op::RotaryEmbedding`]: x, cosines, sines, positions (optional). x is
/// `[batch, heads, sequence, size]` or `[batch, sequence, heads · size]`.
pub fn run(
    rotary: Rotary,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, cos, sin) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let positions = optional(inputs, 3).map(integers).transpose()?;
    let out = output(outputs, 0)?;
    let (sequence, size, heads_inside) = match *x.shape {
        [_, _, sequence, size] => (sequence, size, 0),
        [_, sequence, hidden] if rotary.num_heads > 0 => {
            (sequence, hidden / rotary.num_heads, rotary.num_heads)
        }
        _ => return Err(invalid(format!("rotary embedding of shape {:?}", x.shape))),
    };
    let turned = if rotary.rotary_dim == 0 { size } else { rotary.rotary_dim };
    let half = turned / 2;
    if turned > size || cos.shape != sin.shape || cos.shape.last() != Some(&half) {
        return Err(invalid(format!(
            "rotary embedding of {turned} of {size} elements by tables {:?} and {:?}",
            cos.shape, sin.shape
        )));
    }
    let batch = x.shape[0];
    let angles = cos.len().checked_div(half).unwrap_or(0);
    let rows: Vec<usize> = match &positions {
        Some(positions) if positions.len() == batch * sequence => {
            let row = |&position: &i64| usize::try_from(position).ok().filter(|&row| row < angles);
            let rows: Option<Vec<usize>> = positions.iter().map(row).collect();
            rows.ok_or_else(|| invalid(format!("a position outside 0..{angles}")))?
        }
        None if angles == batch * sequence => (0..angles).collect(),
        _ => return Err(invalid("positions that do not match batch and sequence")),
    };
    if size == 0 {
        return Ok(());
    }
    // Vectors of one head at one place in the sequence, in the order of the tensor.
    let place = |vector: usize| {
        vector.checked_div(heads_inside).unwrap_or_else(|| {
            let per_batch = x.len() / size / batch.max(1);
            vector / per_batch * sequence + vector % sequence
        })
    };
    with_real!("RotaryEmbedding", x.dtype, T => {
        let (values, cos, sin) = (x.values::<T>(), cos.values::<T>(), sin.values::<T>());
        parallel::rows(out.values::<T>(), size, size, |vector, out| {
            let row = rows[place(vector)];
            let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
            turn(rotary.interleaved, &values[vector * size..][..size], cos, sin, out);
        });
        Ok(())
    })
}

fn turn<T: Real>(interleaved: bool, x: &[T], cos: &[T], sin: &[T], out: &mut [T]) {
    let half = cos.len();
    out[2 * half..].copy_from_slice(&x[2 * half..]);
    for index in 0..half {
        let (first, second) =
            if interleaved { (2 * index, 2 * index + 1) } else { (index, index + half) };
        out[first] = cos[index] * x[first] - sin[index] * x[second];
        out[second] = sin[index] * x[first] + cos[index] * x[second];
    }
}
