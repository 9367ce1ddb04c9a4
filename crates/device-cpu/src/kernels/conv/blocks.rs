//! Convolution in general: blocks of output positions, each unrolled, multiplied and finished while in the cache.

use super::Geometry;
use super::im2col::unroll;
use crate::KernelError;
use crate::kernels::product::{Mat, Product};
use crate::kernels::simd::vectorise_for;
use rayon::prelude::*;

/// Elements of the larger matrix of a block, about half a megabyte of `f32`.
const BLOCK_ELEMENTS: usize = 128 * 1024;
/// The width of blocks is a multiple of the widest tile of the product.
const STEP: usize = 64;
const COLUMNS_MAX: usize = 1024;

/// A range of output positions of one group of one image.
struct Block<'a, T> {
    image: usize,
    group: usize,
    start: usize,
    /// Where the results go, a row per filter.
    rows: Vec<&'a mut [T]>,
}

/// Buffers that a thread reuses from block to block.
#[derive(Default)]
struct Scratch<T> {
    columns: Vec<T>,
    products: Vec<T>,
}

/// Computes the convolution of `x` by `w` and hands rows of products to `finish(filter, start, products, out)`:
/// `start` is the index of `out[0]` in the whole output.
pub fn run<T: Product>(
    geometry: &Geometry,
    x: &[T],
    w: &[T],
    out: &mut [T],
    finish: impl Fn(usize, usize, &[T], &mut [T]) + Sync,
) -> Result<(), KernelError> {
    let positions = geometry.window.outputs();
    if out.is_empty() {
        return Ok(());
    }
    let width = block_width(geometry);
    let mut blocks = Vec::new();
    for (part, rows) in out.chunks_mut(geometry.filters * positions).enumerate() {
        let first = blocks.len();
        for start in (0..positions).step_by(width) {
            let rows = Vec::with_capacity(geometry.filters);
            let (image, group) = (part / geometry.groups, part % geometry.groups);
            blocks.push(Block { image, group, start, rows });
        }
        for row in rows.chunks_mut(positions) {
            for (block, piece) in blocks[first..].iter_mut().zip(row.chunks_mut(width)) {
                block.rows.push(piece);
            }
        }
    }
    if blocks.len() == 1 || rayon::current_num_threads() == 1 {
        let mut scratch = Scratch::default();
        return blocks
            .into_iter()
            .try_for_each(|block| compute(geometry, x, w, block, &mut scratch, &finish));
    }
    blocks.into_par_iter().try_for_each_init(Scratch::default, |scratch, block| {
        compute(geometry, x, w, block, scratch, &finish)
    })
}

/// How many positions make a block: few enough for the cache, and an even share for each thread.
fn block_width(geometry: &Geometry) -> usize {
    let positions = geometry.window.outputs();
    let widest = BLOCK_ELEMENTS / geometry.depth().max(geometry.filters).max(1);
    let widest = (widest / STEP * STEP).clamp(STEP, COLUMNS_MAX);
    let threads = rayon::current_num_threads();
    let parts = positions.div_ceil(widest);
    let images = geometry.batch * geometry.groups;
    let parts = if images * parts < 4 * threads { parts.next_multiple_of(threads) } else { parts };
    positions.div_ceil(parts).next_multiple_of(STEP)
}

fn compute<T: Product>(
    geometry: &Geometry,
    x: &[T],
    w: &[T],
    block: Block<'_, T>,
    scratch: &mut Scratch<T>,
    finish: &(impl Fn(usize, usize, &[T], &mut [T]) + Sync),
) -> Result<(), KernelError> {
    let Geometry { groups, channels, filters, window, .. } = *geometry;
    let Block { image, group, start, mut rows } = block;
    let (depth, inputs, outputs) = (geometry.depth(), window.inputs(), window.outputs());
    let len = rows.first().map_or(0, |row| row.len());
    let x = &x[(image * groups + group) * channels * inputs..][..channels * inputs];
    let w = Mat::new(&w[group * filters * depth..], filters, depth);
    let columns = if geometry.is_pointwise() {
        let end = (depth * inputs).min(x.len());
        let values = x.get(start..end).unwrap_or(&[]);
        Mat { values, rows: depth, cols: len, row_stride: inputs, col_stride: 1 }
    } else {
        scratch.columns.resize(scratch.columns.len().max(depth * len), T::ZERO);
        let columns = &mut scratch.columns[..depth * len];
        unroll(&window, x, start..start + len, columns);
        Mat::new(columns, depth, len)
    };
    scratch.products.resize(scratch.products.len().max(filters * len), T::ZERO);
    let products = &mut scratch.products[..filters * len];
    T::block_product(products, w, columns)?;
    let first = (image * groups + group) * filters;
    vectorise_for::<T, _>(
        #[inline(always)]
        || {
            for (filter, (row, products)) in rows.iter_mut().zip(products.chunks(len)).enumerate() {
                let at = (first + filter) * outputs + start;
                finish(group * filters + filter, at, products, row);
            }
        },
    );
    Ok(())
}
