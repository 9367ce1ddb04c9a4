//! Sliding windows of convolution and pooling: output sizes and padding per spatial axis.
//!
//! Formulas: ONNX operators Conv, ConvTranspose, MaxPool, AveragePool
//! (<https://onnx.ai/onnx/operators/onnx__MaxPool.html>).

use super::invalid;
use crate::{AutoPad, Conv, InferError, Pool};

/// How a window moves along one spatial axis.
///
/// For convolution and pooling, output `o` reads inputs `o · stride − pad_begin + k · dilation` for `k` in
/// `0..kernel`, those out of range being padding. For transposed convolution, input `i` adds to outputs
/// `i · stride − pad_begin + k · dilation`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad_begin: usize,
    /// As declared or derived; with `ceil_mode` the last window may reach beyond it.
    pub pad_end: usize,
}

/// Windows of a convolution of `input` `[n, c, spatial…]` with `weight` `[m, c/group, kernel…]`.
pub fn conv_geometry(
    conv: &Conv,
    input: &[usize],
    weight: &[usize],
) -> Result<Vec<Window>, InferError> {
    let spatial = spatial(input)?;
    let attributes = Attributes::of_conv(conv, spatial.len(), weight)?;
    let count = attributes.kernel.len();
    (0..count).map(|axis| attributes.window(axis, spatial[axis], false)).collect()
}

/// Windows of a pooling of `input` `[n, c, spatial…]`.
pub fn pool_geometry(pool: &Pool, input: &[usize]) -> Result<Vec<Window>, InferError> {
    let spatial = spatial(input)?;
    let attributes = Attributes {
        kernel: sized("kernel", &pool.kernel, spatial.len(), None)?,
        strides: sized("strides", &pool.strides, spatial.len(), Some(1))?,
        dilations: sized("dilations", &pool.dilations, spatial.len(), Some(1))?,
        pads: sized("pads", &pool.pads, 2 * spatial.len(), Some(0))?,
        auto_pad: pool.auto_pad,
    };
    let count = spatial.len();
    (0..count).map(|axis| attributes.window(axis, spatial[axis], pool.ceil_mode)).collect()
}

/// Windows of a transposed convolution of `input` `[n, c, spatial…]` with `weight` `[c, m/group, kernel…]`.
///
/// `output_shape` gives the spatial sizes (or the whole shape); the pads then follow from it.
pub fn conv_transpose_geometry(
    conv: &Conv,
    output_padding: &[usize],
    output_shape: Option<&[usize]>,
    input: &[usize],
    weight: &[usize],
) -> Result<Vec<Window>, InferError> {
    let spatial = spatial(input)?;
    let rank = spatial.len();
    let attributes = Attributes::of_conv(conv, rank, weight)?;
    let output_padding = sized("output_padding", output_padding, rank, Some(0))?;
    let output_shape = match output_shape {
        Some(shape) if shape.len() == rank + 2 => Some(&shape[2..]),
        Some(shape) if shape.len() == rank => Some(shape),
        Some(shape) => {
            return invalid(format!("output_shape {shape:?} does not fit {rank} spatial axes"));
        }
        None => None,
    };
    (0..rank)
        .map(|axis| {
            let wanted = output_shape.map(|shape| shape[axis]);
            attributes.transposed_window(axis, spatial[axis], output_padding[axis], wanted)
        })
        .collect()
}

/// Attributes with the defaults filled in: one entry per spatial axis (two for pads).
struct Attributes {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<usize>,
    auto_pad: AutoPad,
}

impl Attributes {
    fn of_conv(conv: &Conv, rank: usize, weight: &[usize]) -> Result<Self, InferError> {
        if weight.len() != rank + 2 {
            return invalid(format!(
                "weights {weight:?} do not fit an input of {rank} spatial axes"
            ));
        }
        if !conv.kernel.is_empty() && conv.kernel != weight[2..] {
            return invalid(format!("kernel {:?} differs from weights {weight:?}", conv.kernel));
        }
        Ok(Attributes {
            kernel: weight[2..].to_vec(),
            strides: sized("strides", &conv.strides, rank, Some(1))?,
            dilations: sized("dilations", &conv.dilations, rank, Some(1))?,
            pads: sized("pads", &conv.pads, 2 * rank, Some(0))?,
            auto_pad: conv.auto_pad,
        })
    }

    /// Size of the kernel with the gaps that dilation makes.
    fn extent(&self, axis: usize) -> Result<usize, InferError> {
        let (kernel, dilation) = (self.kernel[axis], self.dilations[axis]);
        if kernel == 0 || dilation == 0 || self.strides[axis] == 0 {
            return invalid(format!(
                "kernel {kernel}, stride {} and dilation {dilation} must be at least 1",
                self.strides[axis]
            ));
        }
        (kernel - 1)
            .checked_mul(dilation)
            .and_then(|reach| reach.checked_add(1))
            .filter(|&extent| extent <= isize::MAX as usize)
            .ok_or_else(|| {
                InferError::Invalid(format!("kernel {kernel} with dilation {dilation} overflows"))
            })
    }

    fn window(&self, axis: usize, input: usize, ceil: bool) -> Result<Window, InferError> {
        let extent = self.extent(axis)?;
        let stride = self.strides[axis];
        let (pad_begin, pad_end) = match self.auto_pad {
            AutoPad::Explicit => (self.pads[axis], self.pads[axis + self.kernel.len()]),
            AutoPad::Valid => (0, 0),
            AutoPad::SameUpper | AutoPad::SameLower => {
                let output = input.div_ceil(stride);
                let covered =
                    output.saturating_sub(1).saturating_mul(stride).saturating_add(extent);
                halves(covered.saturating_sub(input), self.auto_pad == AutoPad::SameUpper)
            }
        };
        let padded = add_all(&[input, pad_begin, pad_end])?;
        let Some(free) = padded.checked_sub(extent) else {
            return invalid(format!(
                "a window of {extent} does not fit an input of {input} padded by {pad_begin} and {pad_end}"
            ));
        };
        let mut output = if ceil { free.div_ceil(stride) + 1 } else { free / stride + 1 };
        // The last window must start inside the input or the padding before it.
        if ceil && (output - 1).saturating_mul(stride) >= input.saturating_add(pad_begin) {
            output -= 1;
        }
        Ok(Window {
            input,
            output,
            kernel: self.kernel[axis],
            stride,
            dilation: self.dilations[axis],
            pad_begin,
            pad_end,
        })
    }

    fn transposed_window(
        &self,
        axis: usize,
        input: usize,
        output_padding: usize,
        wanted: Option<usize>,
    ) -> Result<Window, InferError> {
        let extent = self.extent(axis)?;
        let stride = self.strides[axis];
        let reach = input.saturating_sub(1).saturating_mul(stride);
        let full = add_all(&[reach, output_padding, extent])?;
        let same = matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
        let wanted = if same && wanted.is_none() { input.checked_mul(stride) } else { wanted };
        let (output, (pad_begin, pad_end)) = match wanted {
            Some(output) => {
                let upper = self.auto_pad == AutoPad::SameUpper;
                (output, halves(full.saturating_sub(output), upper))
            }
            None => {
                let pads = match self.auto_pad {
                    AutoPad::Explicit => (self.pads[axis], self.pads[axis + self.kernel.len()]),
                    _ => (0, 0),
                };
                let cut = add_all(&[pads.0, pads.1])?;
                let Some(output) = full.checked_sub(cut) else {
                    return invalid(format!(
                        "pads {} and {} cut more than the {full} outputs there are",
                        pads.0, pads.1
                    ));
                };
                (output, pads)
            }
        };
        Ok(Window {
            input,
            output,
            kernel: self.kernel[axis],
            stride,
            dilation: self.dilations[axis],
            pad_begin,
            pad_end,
        })
    }
}

/// Splits padding between both ends; the odd one goes to the end when `upper`.
fn halves(total: usize, upper: bool) -> (usize, usize) {
    let (small, large) = (total / 2, total - total / 2);
    if upper { (small, large) } else { (large, small) }
}

fn spatial(input: &[usize]) -> Result<&[usize], InferError> {
    match input {
        [_, _, spatial @ ..] if !spatial.is_empty() => Ok(spatial),
        _ => invalid(format!("input {input:?} has no spatial axes: [n, c, spatial…] is needed")),
    }
}

fn sized(
    name: &str,
    list: &[usize],
    count: usize,
    default: Option<usize>,
) -> Result<Vec<usize>, InferError> {
    match default {
        Some(value) if list.is_empty() => Ok(vec![value; count]),
        _ if list.len() == count => Ok(list.to_vec()),
        _ => invalid(format!("{name} {list:?} must have {count} entries")),
    }
}

fn add_all(sizes: &[usize]) -> Result<usize, InferError> {
    sizes
        .iter()
        .try_fold(0usize, |sum, &size| sum.checked_add(size))
        .filter(|&sum| sum <= isize::MAX as usize)
        .ok_or_else(|| InferError::Invalid(format!("sizes {sizes:?} overflow")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(kernel: usize, stride: usize, pads: [usize; 2], auto_pad: AutoPad, ceil: bool) -> Pool {
        Pool {
            kernel: vec![kernel],
            strides: vec![stride],
            dilations: vec![],
            pads: pads.to_vec(),
            auto_pad,
            ceil_mode: ceil,
        }
    }

    fn conv(strides: &[usize], pads: &[usize], auto_pad: AutoPad) -> Conv {
        Conv {
            kernel: vec![],
            strides: strides.to_vec(),
            dilations: vec![],
            pads: pads.to_vec(),
            auto_pad,
            group: 1,
        }
    }

    #[test]
    fn pooling_sizes() {
        let check = |pool: Pool, input: usize, expected: Option<(usize, usize, usize)>| {
            let window = pool_geometry(&pool, &[1, 1, input]).ok().map(|windows| windows[0]);
            let found = window.map(|w| (w.output, w.pad_begin, w.pad_end));
            assert_eq!(found, expected, "{pool:?} of {input}");
        };
        check(pool(3, 2, [0, 0], AutoPad::Explicit, false), 6, Some((2, 0, 0)));
        check(pool(3, 2, [0, 0], AutoPad::Explicit, true), 6, Some((3, 0, 0)));
        // The third window would start in the padding at the end.
        check(pool(1, 2, [0, 1], AutoPad::Explicit, true), 2, Some((1, 0, 1)));
        check(pool(2, 1, [0, 0], AutoPad::SameUpper, false), 4, Some((4, 0, 1)));
        check(pool(2, 1, [0, 0], AutoPad::SameLower, false), 4, Some((4, 1, 0)));
        check(pool(5, 1, [0, 0], AutoPad::Explicit, false), 4, None);
        check(pool(2, 0, [0, 0], AutoPad::Explicit, false), 4, None);
        check(pool(2, 1, [usize::MAX, 1], AutoPad::Explicit, false), 4, None);
    }

    #[test]
    fn transposed_convolution_sizes() {
        let check = |conv: Conv,
                     padding: &[usize],
                     shape: Option<&[usize]>,
                     expected: (usize, usize, usize)| {
            let window = conv_transpose_geometry(&conv, padding, shape, &[1, 1, 3], &[1, 1, 3])
                .expect("a window")[0];
            assert_eq!((window.output, window.pad_begin, window.pad_end), expected);
        };
        check(conv(&[2], &[], AutoPad::Explicit), &[], None, (7, 0, 0));
        check(conv(&[2], &[1, 1], AutoPad::Explicit), &[1], None, (6, 1, 1));
        check(conv(&[2], &[], AutoPad::SameUpper), &[], None, (6, 0, 1));
        check(conv(&[2], &[], AutoPad::Explicit), &[], Some(&[10]), (10, 0, 0));
        check(conv(&[2], &[], AutoPad::Explicit), &[], Some(&[1, 1, 4]), (4, 2, 1));
    }
}
