//! A copy of an image with its padding, laid out so that what a tap reads for a row of outputs is contiguous.
//!
//! A row of the copy holds the input's columns sorted by their remainder modulo the stride: with stride two, first
//! all even columns and then all odd ones.

use crate::kernels::simd::vectorise;
use crate::kernels::window::Window;

/// The widest vector, in `f32`.
const LANES: usize = 16;

/// The layout of a copy that serves some rows of outputs.
pub struct Padded {
    /// Rows of the copy.
    pub rows: usize,
    pub row_len: usize,
    /// Outputs per row, rounded up to whole vectors.
    pub width: usize,
    /// Length of one row's columns of one remainder.
    phase_len: usize,
}

impl Padded {
    /// For `out_rows` rows of outputs of a window over at most two axes.
    pub fn new(window: &Window, out_rows: usize) -> Self {
        let [_, stride_y, stride_x] = window.stride;
        let [_, high, wide] = window.kernel;
        let width = window.output[2].next_multiple_of(LANES);
        let phase_len = width + wide.saturating_sub(1) * window.dilation[2] / stride_x + 1;
        let rows =
            out_rows.saturating_sub(1) * stride_y + high.saturating_sub(1) * window.dilation[1] + 1;
        Padded { rows, row_len: phase_len * stride_x, width, phase_len }
    }

    /// Where what tap `(y, x)` reads for a row of outputs starts, from the start of the first row that it reads.
    pub fn tap(&self, window: &Window, y: usize, x: usize) -> usize {
        let (column, stride) = (x * window.dilation[2], window.stride[2]);
        y * window.dilation[1] * self.row_len + column % stride * self.phase_len + column / stride
    }

    /// All taps in the order of the weights.
    pub fn taps(&self, window: &Window) -> Vec<usize> {
        let [_, high, wide] = window.kernel;
        let taps = (0..high).flat_map(|y| (0..wide).map(move |x| (y, x)));
        taps.map(|(y, x)| self.tap(window, y, x)).collect()
    }

    /// Copies the rows of plane `x` that outputs from row `first` on read. `values` holds zeros, or a copy made with
    /// the same layout.
    pub fn copy(&self, window: &Window, x: &[f32], first: usize, values: &mut [f32]) {
        vectorise(
            #[inline(always)]
            || {
                for (row, into) in values.chunks_exact_mut(self.row_len).take(self.rows).enumerate()
                {
                    let from = (first * window.stride[1] + row).checked_sub(window.pad[1]);
                    match from.filter(|&from| from < window.input[1]) {
                        Some(from) => {
                            let width = window.input[2];
                            self.copy_row(window, &x[from * width..][..width], into);
                        }
                        None => into.fill(0.0),
                    }
                }
            },
        );
    }

    #[inline(always)]
    fn copy_row(&self, window: &Window, x: &[f32], into: &mut [f32]) {
        let (pad, stride) = (window.pad[2], window.stride[2]);
        for (phase, into) in into.chunks_exact_mut(self.phase_len).enumerate() {
            // The first column of this remainder that is not padding.
            let skip = pad.saturating_sub(phase).div_ceil(stride);
            let from = skip * stride + phase - pad;
            if skip >= into.len() || from >= x.len() {
                continue;
            }
            let (into, x) = (&mut into[skip..], &x[from..]);
            match stride {
                1 => {
                    let len = into.len().min(x.len());
                    into[..len].copy_from_slice(&x[..len]);
                }
                2 => {
                    for (out, &x) in into.iter_mut().zip(x.iter().step_by(2)) {
                        *out = x;
                    }
                }
                _ => {
                    for (out, &x) in into.iter_mut().zip(x.iter().step_by(stride)) {
                        *out = x;
                    }
                }
            }
        }
    }
}
