//! Direct convolution, for few filters: sums over taps and channels are formed from a padded copy of the image,
//! without unrolling it.
//!
//! Several filters share what is loaded of the image, so that the time goes into multiplications.

use super::padded::Padded;
use super::parts::{self, OutputPart};
use super::{Epilogue, Geometry};
use crate::KernelError;
use crate::kernels::window::Window;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

/// Beyond so many filters, the product of an unrolled image is as fast.
const FILTERS_MAX: usize = 64;
/// Rows shorter than this waste too much of a vector.
const WIDTH_MIN: usize = 12;
const STRIDE_MAX: usize = 4;
/// Elements of the copy of a band of rows, about 400 KB of `f32`.
const BAND_ELEMENTS: usize = 96 * 1024;
/// Filters whose weights lie side by side.
const SIDE_BY_SIDE: usize = 4;

/// Whether the window moves over at most two axes and covers more than one element, for few filters.
pub fn suits(geometry: &Geometry) -> bool {
    let window = &geometry.window;
    geometry.filters <= FILTERS_MAX
        && geometry.channels > 0
        && window.taps() > 1
        && (window.input[0], window.output[0], window.kernel[0], window.pad[0]) == (1, 1, 1, 0)
        && window.output[2] >= WIDTH_MIN
        && window.stride[2] <= STRIDE_MAX
}

pub fn run(
    geometry: &Geometry,
    x: &[f32],
    w: &[f32],
    epilogue: Epilogue<'_, f32>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    if out.is_empty() {
        return Ok(());
    }
    let band_rows = band_rows(geometry);
    let layout = Padded::new(&geometry.window, band_rows);
    let plane = layout.rows * layout.row_len;
    let taps = layout.taps(&geometry.window);
    let offsets = (0..geometry.channels).flat_map(|c| taps.iter().map(move |tap| c * plane + tap));
    let image = Direct {
        geometry,
        layout: &layout,
        offsets: offsets.collect(),
        weights: side_by_side(geometry, w),
        x,
        epilogue,
    };
    let bands = parts::split(geometry, out, band_rows * geometry.window.output[2]);
    parts::for_each(bands, &|scratch: &mut Scratch, band| {
        image.band(scratch, band);
        Ok(())
    })
}

/// How many rows of outputs make a band.
fn band_rows(geometry: &Geometry) -> usize {
    let Window { output, stride, .. } = geometry.window;
    let per_row = geometry.channels * Padded::new(&geometry.window, 1).row_len * stride[1];
    let rows = (BAND_ELEMENTS / per_row.max(1)).clamp(1, output[1]);
    let bands = parts::even(output[1].div_ceil(rows), geometry.batch * geometry.groups);
    output[1].div_ceil(bands)
}

/// The weights with those of four filters side by side for every tap; filters that are missing have zeros.
fn side_by_side(geometry: &Geometry, w: &[f32]) -> Vec<f32> {
    let (depth, filters) = (geometry.depth(), geometry.filters);
    let blocks = filters.div_ceil(SIDE_BY_SIDE);
    let mut out = vec![0.0; geometry.groups * blocks * depth * SIDE_BY_SIDE];
    for (index, row) in w.chunks_exact(depth).enumerate() {
        let (group, filter) = (index / filters, index % filters);
        let block = group * blocks + filter / SIDE_BY_SIDE;
        let block = &mut out[block * depth * SIDE_BY_SIDE..][..depth * SIDE_BY_SIDE];
        let lane = block.iter_mut().skip(filter % SIDE_BY_SIDE).step_by(SIDE_BY_SIDE);
        lane.zip(row).for_each(|(out, &weight)| *out = weight);
    }
    out
}

struct Direct<'a> {
    geometry: &'a Geometry,
    layout: &'a Padded,
    /// Where each channel's taps read, in the order of the weights.
    offsets: Vec<usize>,
    weights: Vec<f32>,
    x: &'a [f32],
    epilogue: Epilogue<'a, f32>,
}

/// Buffers that a thread reuses from band to band.
#[derive(Default)]
struct Scratch {
    values: Vec<f32>,
    sums: Vec<f32>,
}

impl Direct<'_> {
    fn band(&self, scratch: &mut Scratch, mut band: OutputPart<'_, f32>) {
        let Geometry { groups, channels, filters, window, .. } = *self.geometry;
        let Padded { rows, row_len, width, .. } = *self.layout;
        let (inputs, outputs, out_width) = (window.inputs(), window.outputs(), window.output[2]);
        let plane = rows * row_len;
        let first = band.start / out_width;
        scratch.values.resize(channels * plane, 0.0);
        let blocks = filters.div_ceil(SIDE_BY_SIDE);
        scratch.sums.resize(blocks * SIDE_BY_SIDE * width, 0.0);
        let source = (band.image * groups + band.group) * channels;
        for (channel, values) in scratch.values.chunks_exact_mut(plane).enumerate() {
            let x = &self.x[(source + channel) * inputs..][..inputs];
            self.layout.copy(&window, x, first, values);
        }
        let weights = blocks * self.geometry.depth() * SIDE_BY_SIDE;
        let weights = &self.weights[band.group * weights..][..weights];
        let band_rows = band.rows.first().map_or(0, |row| row.len() / out_width);
        for row in 0..band_rows {
            Row {
                values: &scratch.values[row * window.stride[1] * row_len..],
                offsets: &self.offsets,
                weights,
                width,
                sums: &mut scratch.sums,
            }
            .dispatch();
            for (filter, out) in band.rows.iter_mut().enumerate() {
                let channel = band.group * filters + filter;
                let at =
                    (band.image * groups * filters + channel) * outputs + (first + row) * out_width;
                let sums = &scratch.sums[filter * width..][..out_width];
                let out = &mut out[row * out_width..][..out_width];
                self.epilogue.finish(channel, at, sums, out);
            }
        }
    }
}

/// The sums of one row of outputs for all filters of a group.
struct Row<'a> {
    values: &'a [f32],
    offsets: &'a [usize],
    weights: &'a [f32],
    width: usize,
    /// A row of `width` per filter.
    sums: &'a mut [f32],
}

impl SimdOp for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(mut self, isa: I) {
        let lanes = isa.f32().len();
        let blocks = self.weights.len() / (self.offsets.len() * SIDE_BY_SIDE);
        let mut column = 0;
        while column < self.width {
            let vectors = (self.width - column) / lanes;
            let mut block = 0;
            // Two blocks of filters where there are registers for them.
            while block + 2 <= blocks && lanes == 16 {
                if vectors >= 2 {
                    self.tile::<I, 2, 2>(isa, block, column);
                } else {
                    self.tile::<I, 2, 1>(isa, block, column);
                }
                block += 2;
            }
            while block < blocks {
                if vectors >= 2 {
                    self.tile::<I, 1, 2>(isa, block, column);
                } else {
                    self.tile::<I, 1, 1>(isa, block, column);
                }
                block += 1;
            }
            column += vectors.min(2) * lanes;
        }
    }
}

impl Row<'_> {
    #[inline(always)]
    fn tile<I: Isa, const BLOCKS: usize, const VECTORS: usize>(
        &mut self,
        isa: I,
        block: usize,
        column: usize,
    ) {
        let ops = isa.f32();
        let lanes = ops.len();
        let len = self.offsets.len() * SIDE_BY_SIDE;
        let weights: [&[f32]; BLOCKS] =
            std::array::from_fn(|index| &self.weights[(block + index) * len..][..len]);
        let values = &self.values[column..];
        let mut totals = [[[ops.zero(); VECTORS]; SIDE_BY_SIDE]; BLOCKS];
        for (tap, &offset) in self.offsets.iter().enumerate() {
            let source: [I::F32; VECTORS] = ops.load_many(&values[offset..]);
            for (totals, weights) in totals.iter_mut().zip(weights) {
                let weights = &weights[tap * SIDE_BY_SIDE..][..SIDE_BY_SIDE];
                for (totals, &weight) in totals.iter_mut().zip(weights) {
                    let weight = ops.splat(weight);
                    for (total, source) in totals.iter_mut().zip(source) {
                        *total = ops.mul_add(source, weight, *total);
                    }
                }
            }
        }
        for (filter, totals) in totals.iter().flatten().enumerate() {
            let row = (block * SIDE_BY_SIDE + filter) * self.width + column;
            for (vector, &total) in totals.iter().enumerate() {
                ops.store(total, &mut self.sums[row + vector * lanes..]);
            }
        }
    }
}
