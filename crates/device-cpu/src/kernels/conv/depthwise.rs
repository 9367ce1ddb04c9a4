//! Depthwise convolution: each output channel reads one input channel, directly and without unrolling.
//!
//! The input plane is copied once with its padding, split by column modulo the stride, so that every tap of a row of
//! outputs is a contiguous row of the copy.

use super::padded::Padded;
use super::{Epilogue, Geometry};
use crate::kernels::window::Window;
use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

/// Beyond so many filters per channel, unrolling pays.
const FILTERS_MAX: usize = 4;

/// Whether the convolution has one channel per group, few filters, and at most two spatial axes.
pub fn suits(geometry: &Geometry) -> bool {
    let window = &geometry.window;
    geometry.channels == 1
        && geometry.filters <= FILTERS_MAX
        && (window.input[0], window.output[0], window.kernel[0]) == (1, 1, 1)
        && window.pad[0] == 0
}

pub fn run(
    geometry: &Geometry,
    x: &[f32],
    w: &[f32],
    epilogue: Epilogue<'_, f32>,
    out: &mut [f32],
) {
    let window = geometry.window;
    let (inputs, outputs, taps) = (window.inputs(), window.outputs(), window.taps());
    let plane = Padded::new(&window, window.output[1]);
    let offsets = plane.taps(&window);
    let channels = geometry.groups * geometry.filters;
    let compute = |scratch: &mut Scratch, (index, out): (usize, &mut [f32])| {
        let source = index / geometry.filters;
        if scratch.source != Some(source) {
            scratch.values.resize(plane.rows * plane.row_len, 0.0);
            plane.copy(&window, &x[source * inputs..][..inputs], 0, &mut scratch.values);
            scratch.source = Some(source);
        }
        let filter = index % channels;
        scratch.taps.clear();
        scratch.taps.extend(offsets.iter().copied().zip(w[filter * taps..].iter().copied()));
        Rows {
            plane: &plane,
            window: &window,
            scratch,
            out,
            epilogue,
            filter,
            start: index * outputs,
        }
        .dispatch();
    };
    if outputs == 0 {
        return;
    }
    let per_task = (16 * 1024 / (outputs * taps).max(1)).max(1);
    if rayon::current_num_threads() == 1 || out.len() / outputs <= per_task {
        let mut scratch = Scratch::default();
        out.chunks_mut(outputs).enumerate().for_each(|item| compute(&mut scratch, item));
        return;
    }
    out.par_chunks_mut(outputs)
        .with_min_len(per_task)
        .enumerate()
        .for_each_init(Scratch::default, compute);
}

/// Buffers that a thread reuses from plane to plane.
#[derive(Default)]
struct Scratch {
    values: Vec<f32>,
    /// Which input plane `values` holds.
    source: Option<usize>,
    taps: Vec<(usize, f32)>,
    sums: Vec<f32>,
}

/// All rows of one output plane.
struct Rows<'a> {
    plane: &'a Padded,
    window: &'a Window,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
    epilogue: Epilogue<'a, f32>,
    filter: usize,
    start: usize,
}

impl SimdOp for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Rows { plane, window, scratch, out, epilogue, filter, start } = self;
        let lanes = isa.f32().len();
        let step = window.stride[1] * plane.row_len;
        let (out_width, width) = (window.output[2], plane.width);
        let Scratch { values, taps, sums, .. } = scratch;
        sums.resize(4 * width, 0.0);
        // Narrow planes take several rows at once, so that enough sums are under way.
        let together = if width <= lanes {
            4
        } else if width <= 2 * lanes {
            2
        } else {
            1
        };
        for (group, out) in out.chunks_mut(together * out_width).enumerate() {
            let rows = out.len() / out_width;
            let first = group * together * step;
            match rows {
                4 => sum::<I, 4, 1>(isa, values, first, step, taps, sums, width),
                2 => sum::<I, 2, 2>(isa, values, first, step, taps, sums, width),
                1 => sum::<I, 1, 4>(isa, values, first, step, taps, sums, width),
                _ => {
                    for row in 0..rows {
                        let sums = &mut sums[row * width..];
                        sum::<I, 1, 4>(isa, values, first + row * step, step, taps, sums, width);
                    }
                }
            }
            for (row, out) in out.chunks_mut(out_width).enumerate() {
                let at = start + (group * together + row) * out_width;
                epilogue.finish(filter, at, &sums[row * width..][..out_width], out);
            }
        }
    }
}

/// Sums over the taps for `ROWS` rows of outputs, `VECTORS` vectors of each at a time.
#[inline(always)]
fn sum<I: Isa, const ROWS: usize, const VECTORS: usize>(
    isa: I,
    values: &[f32],
    first: usize,
    step: usize,
    taps: &[(usize, f32)],
    sums: &mut [f32],
    width: usize,
) {
    let lanes = isa.f32().len();
    let mut column = 0;
    while column + VECTORS * lanes <= width {
        tile::<I, ROWS, VECTORS>(
            isa,
            &values[first + column..],
            step,
            taps,
            &mut sums[column..],
            width,
        );
        column += VECTORS * lanes;
    }
    while column < width {
        tile::<I, ROWS, 1>(isa, &values[first + column..], step, taps, &mut sums[column..], width);
        column += lanes;
    }
}

#[inline(always)]
fn tile<I: Isa, const ROWS: usize, const VECTORS: usize>(
    isa: I,
    values: &[f32],
    step: usize,
    taps: &[(usize, f32)],
    sums: &mut [f32],
    width: usize,
) {
    let ops = isa.f32();
    let lanes = ops.len();
    let mut totals = [[ops.zero(); VECTORS]; ROWS];
    for &(offset, weight) in taps {
        let weight = ops.splat(weight);
        for (row, totals) in totals.iter_mut().enumerate() {
            let source: [I::F32; VECTORS] = ops.load_many(&values[offset + row * step..]);
            for (total, source) in totals.iter_mut().zip(source) {
                *total = ops.mul_add(source, weight, *total);
            }
        }
    }
    for (row, totals) in totals.iter().enumerate() {
        for (vector, &total) in totals.iter().enumerate() {
            ops.store(total, &mut sums[row * width + vector * lanes..]);
        }
    }
}
