//! Convolution of 8-bit integers with exact 32-bit sums: ConvInteger and QLinearConv.

use super::{Geometry, blocks};
use crate::kernels::integer::{Scales, per_channel, requantise, widened};
use crate::kernels::operands::{input, invalid, optional, output};
use crate::{KernelError, View, ViewMut};
use sublet_graph::Conv;

/// Computes [`sublet_graph::Op::ConvInteger`]: x, w, zero point of x, zero points of w.
pub fn run(
    conv: &Conv,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, w) = (input(inputs, 0)?, input(inputs, 1)?);
    let out = output(outputs, 0)?;
    let geometry = Geometry::new(conv, x.shape, w.shape, out.shape)?;
    let (x, w) = operands(x, w, optional(inputs, 2), optional(inputs, 3))?;
    blocks::run(&geometry, &x, &w, out.values(), &|_, _, products, out| {
        out.copy_from_slice(products);
    })
}

/// Computes [`sublet_graph::Op::QLinearConv`]: x, its scale and zero point, w, its scales and zero points, the
/// result's scale and zero point, a 32-bit bias.
pub fn quantised(
    conv: &Conv,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, w) = (input(inputs, 0)?, input(inputs, 3)?);
    let filters = w.shape.first().copied().unwrap_or(0);
    let scales = Scales::new(input(inputs, 1)?, input(inputs, 4)?, input(inputs, 6)?, filters)?;
    let bias = optional(inputs, 8);
    if bias.is_some_and(|bias| bias.len() != filters) {
        return Err(invalid("a bias of another size than the convolution"));
    }
    let zero = optional(inputs, 7);
    let out = output(outputs, 0)?;
    let geometry = Geometry::new(conv, x.shape, w.shape, out.shape)?;
    let (x, w) = operands(x, w, optional(inputs, 2), optional(inputs, 5))?;
    let mut sums = vec![0i32; out.len()];
    let bias = bias.map(|bias| bias.values::<i32>());
    blocks::run(&geometry, &x, &w, &mut sums, &|filter, _, products, out| {
        let bias = bias.map_or(0, |bias| bias[filter]);
        out.iter_mut().zip(products).for_each(|(out, &sum)| *out = sum.wrapping_add(bias));
    })?;
    let positions = geometry.window.outputs();
    requantise(&sums, positions, filters, &scales, zero, out)
}

/// Both operands as 32-bit integers with their zero points taken away.
fn operands(
    x: View<'_>,
    w: View<'_>,
    x_zero: Option<View<'_>>,
    w_zero: Option<View<'_>>,
) -> Result<(Vec<i32>, Vec<i32>), KernelError> {
    let filters = w.shape[0];
    let per_filter = w.len() / filters.max(1);
    let x = widened(x, x.len().max(1), &per_channel(x_zero, 1)?)?;
    let w = widened(w, per_filter.max(1), &per_channel(w_zero, filters)?)?;
    Ok((x, w))
}
