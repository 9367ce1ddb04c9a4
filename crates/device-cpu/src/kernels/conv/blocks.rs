//! Convolution in general: blocks of output positions, each unrolled, multiplied and finished while in the cache.

use super::Geometry;
use super::im2col::unroll;
use super::parts::{self, OutputPart};
use crate::KernelError;
use crate::kernels::product::{Mat, Product};

/// Elements of the larger matrix of a block, about half a megabyte of `f32`.
const BLOCK_ELEMENTS: usize = 128 * 1024;
/// The width of blocks is a multiple of the widest tile of the product.
const STEP: usize = 64;
const COLUMNS_MAX: usize = 1024;

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
    finish: &(dyn Fn(usize, usize, &[T], &mut [T]) + Sync),
) -> Result<(), KernelError> {
    if out.is_empty() {
        return Ok(());
    }
    let blocks = parts::split(geometry, out, block_width(geometry));
    parts::for_each(blocks, &|scratch, block| compute(geometry, x, w, block, scratch, finish))
}

/// How many positions make a block: few enough for the cache, and an even share for each thread.
fn block_width(geometry: &Geometry) -> usize {
    let positions = geometry.window.outputs();
    let widest = BLOCK_ELEMENTS / geometry.depth().max(geometry.filters).max(1);
    let widest = (widest / STEP * STEP).clamp(STEP, COLUMNS_MAX);
    let blocks = parts::even(positions.div_ceil(widest), geometry.batch * geometry.groups);
    positions.div_ceil(blocks).next_multiple_of(STEP)
}

fn compute<T: Product>(
    geometry: &Geometry,
    x: &[T],
    w: &[T],
    block: OutputPart<'_, T>,
    scratch: &mut Scratch<T>,
    finish: &(dyn Fn(usize, usize, &[T], &mut [T]) + Sync),
) -> Result<(), KernelError> {
    let Geometry { groups, channels, filters, window, .. } = *geometry;
    let OutputPart { image, group, start, mut rows } = block;
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
    for (filter, (row, products)) in rows.iter_mut().zip(products.chunks(len)).enumerate() {
        let at = (first + filter) * outputs + start;
        finish(group * filters + filter, at, products, row);
    }
    Ok(())
}
