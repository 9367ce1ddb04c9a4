//! Transposed convolution: one product gives what every input element adds to its window, then the windows are added up.

use crate::kernels::element::{Real, with_real};
use crate::kernels::operands::{input, invalid, optional, output};
use crate::kernels::parallel;
use crate::kernels::product::{Mat, Product};
use crate::kernels::window::Window;
use crate::{KernelError, View, ViewMut};
use sublet_graph::Conv;
use sublet_graph::shape::conv_transpose_geometry;

/// Computes [`sublet_graph::Op::ConvTranspose`].
pub fn run(
    conv: &Conv,
    output_padding: &[usize],
    output_shape: Option<&[usize]>,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, w, bias) = (input(inputs, 0)?, input(inputs, 1)?, optional(inputs, 2));
    let out = output(outputs, 0)?;
    let axes = conv_transpose_geometry(conv, output_padding, output_shape, x.shape, w.shape)?;
    let window = Window::new(&axes, out.shape)?;
    let filters = w.shape[1];
    let groups = conv.group;
    let fits = groups > 0
        && x.shape[1] == w.shape[0]
        && x.shape[1].is_multiple_of(groups)
        && out.shape[1] == filters * groups
        && bias.is_none_or(|bias| bias.len() == filters * groups);
    if !fits {
        return Err(invalid(format!(
            "transposed convolution of {:?} by {:?} in {groups} groups",
            x.shape, w.shape
        )));
    }
    let sizes = Sizes { groups, channels: x.shape[1] / groups, filters, window };
    with_real!("ConvTranspose", x.dtype, T => {
        let bias = bias.map(|bias| bias.values::<T>());
        compute::<T>(&sizes, x.values(), w.values(), bias, out.values())
    })
}

struct Sizes {
    groups: usize,
    /// Input channels of a group.
    channels: usize,
    /// Output channels of a group.
    filters: usize,
    window: Window,
}

fn compute<T: Real + Product>(
    sizes: &Sizes,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) -> Result<(), KernelError> {
    let Sizes { groups, channels, filters, window } = sizes;
    let (inputs, outputs, taps) = (window.inputs(), window.outputs(), window.taps());
    if out.is_empty() {
        return Ok(());
    }
    let mut added = vec![T::ZERO; filters * taps * inputs];
    for (part, out) in out.chunks_mut(filters * outputs).enumerate() {
        let group = part % groups;
        let x = Mat::new(&x[part * channels * inputs..], *channels, inputs);
        let w = Mat::new(&w[group * channels * filters * taps..], *channels, filters * taps);
        T::product(&mut added, w.transposed(), x, None)?;
        parallel::rows(out, outputs, taps * inputs, |filter, out| {
            out.fill(bias.map_or(T::ZERO, |bias| bias[group * filters + filter]));
            scatter(window, &added[filter * taps * inputs..][..taps * inputs], out);
        });
    }
    Ok(())
}

/// Adds `added`, `[taps, input…]`, to the outputs that each element's window covers.
fn scatter<T: Real>(window: &Window, added: &[T], out: &mut [T]) {
    if window.inputs() == 0 {
        return;
    }
    // As a convolution from outputs to inputs, so that `covered` tells which elements stay inside.
    let mirrored = Window { input: window.output, output: window.input, ..*window };
    let [_, in_height, in_width] = window.input;
    let [_, out_height, out_width] = window.output;
    let [_, high, wide] = window.kernel;
    for (tap, plane) in added.chunks_exact(window.inputs()).enumerate() {
        let tap = [tap / (high * wide), tap / wide % high, tap % wide];
        let [depths, lines, columns] =
            std::array::from_fn(|axis| mirrored.covered(axis, tap[axis]));
        if columns.is_empty() {
            continue;
        }
        let first = mirrored.source(2, columns.start, tap[2]);
        for z in depths {
            for y in lines.clone() {
                let source = &plane[(z * in_height + y) * in_width..][columns.clone()];
                let line =
                    mirrored.source(0, z, tap[0]) * out_height + mirrored.source(1, y, tap[1]);
                let line = &mut out[line * out_width..][first..out_width];
                let step = window.stride[2];
                line.iter_mut().step_by(step).zip(source).for_each(|(out, &x)| *out += x);
            }
        }
    }
}
