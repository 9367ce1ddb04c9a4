//! Where a sliding window stands: the geometry that convolution and pooling share.

use super::operands::{invalid, unsupported};
use crate::KernelError;
use sublet_graph::shape::Window as Axis;

/// A window over one to three spatial axes; missing ones are leading axes of size one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    pub dilation: [usize; 3],
    /// Padding before the first element of each axis.
    pub pad: [usize; 3],
    /// Padding after the last element.
    pub pad_end: [usize; 3],
}

impl Window {
    /// # Errors
    /// [`KernelError`] for more than three spatial axes, or when the outputs are not the `[n, c, spatial…]` of `out`.
    pub fn new(axes: &[Axis], out: &[usize]) -> Result<Self, KernelError> {
        let rank = axes.len();
        if rank > 3 {
            return Err(unsupported(format!("a window over {rank} axes")));
        }
        let take = |missing: usize, get: fn(&Axis) -> usize| -> [usize; 3] {
            std::array::from_fn(|axis| {
                (axis + rank).checked_sub(3).map_or(missing, |at| get(&axes[at]))
            })
        };
        let mut window = Window {
            input: take(1, |axis| axis.input),
            output: take(1, |axis| axis.output),
            kernel: take(1, |axis| axis.kernel),
            stride: take(1, |axis| axis.stride),
            dilation: take(1, |axis| axis.dilation),
            pad: take(0, |axis| axis.pad_begin),
            pad_end: take(0, |axis| axis.pad_end),
        };
        if out.len() != rank + 2 || out[2..] != window.output[3 - rank..] {
            return Err(invalid(format!("an output of shape {out:?} for {window:?}")));
        }
        // Axes of size one move to the front, so that rows are as long as they can be.
        for _ in 0..2 {
            if (window.input[2], window.output[2], window.kernel[2]) == (1, 1, 1) {
                window.rotate();
            }
        }
        Ok(window)
    }

    /// Makes the last axis the first. Elements keep their places in memory when the last axis has size one.
    fn rotate(&mut self) {
        let Window { input, output, kernel, stride, dilation, pad, pad_end } = self;
        for axes in [input, output, kernel, stride, dilation, pad, pad_end] {
            axes.rotate_right(1);
        }
    }

    pub fn inputs(&self) -> usize {
        self.input.iter().product()
    }

    pub fn outputs(&self) -> usize {
        self.output.iter().product()
    }

    /// Positions within the window.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Which outputs along `axis` read an element, not padding, through window position `tap`.
    pub fn covered(&self, axis: usize, tap: usize) -> std::ops::Range<usize> {
        let shift = tap * self.dilation[axis];
        let (pad, stride) = (self.pad[axis], self.stride[axis]);
        let start = pad.saturating_sub(shift).div_ceil(stride);
        let end = (self.input[axis] + pad).saturating_sub(shift).div_ceil(stride);
        let end = end.min(self.output[axis]);
        start.min(end)..end
    }

    /// The element that output `out` reads through `tap`; only for outputs in [`Window::covered`].
    pub fn source(&self, axis: usize, out: usize, tap: usize) -> usize {
        out * self.stride[axis] + tap * self.dilation[axis] - self.pad[axis]
    }

    /// The window positions at which output `out` reads an element, not padding.
    pub fn inside(&self, axis: usize, out: usize) -> std::ops::Range<usize> {
        let (pad, dilation) = (self.pad[axis], self.dilation[axis]);
        let from = out * self.stride[axis];
        let start = pad.saturating_sub(from).div_ceil(dilation);
        let end = (self.input[axis] + pad).saturating_sub(from).div_ceil(dilation);
        let end = end.min(self.kernel[axis]);
        start.min(end)..end
    }

    /// How many window positions of output `out` lie on elements or padding; with rounded-up output sizes the last
    /// window may reach beyond the padding.
    pub fn inside_padding(&self, axis: usize, out: usize) -> usize {
        let padded = self.pad[axis] + self.input[axis] + self.pad_end[axis];
        let from = out * self.stride[axis];
        padded.saturating_sub(from).div_ceil(self.dilation[axis]).min(self.kernel[axis])
    }
}
