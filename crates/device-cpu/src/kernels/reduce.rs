//! Reductions over any set of axes.
//!
//! The order in which the elements of one output are combined depends only on the lengths of the reduced axes and of
//! the axes after them: not on the first axis when it is kept, and not on the number of threads.

use super::element::{Arithmetic, Real, unsupported_type};
use super::operands::{integers, invalid};
use super::parallel;
use super::reduce_layout::Layout;
use super::simd::vectorise_for;
use crate::{KernelError, View, ViewMut};
use sublet_graph::{DType, Reduce, shape};

/// Elements that one thread should at least reduce.
const JOB_LEN: usize = 1 << 14;
/// Partial results that are kept side by side along a contiguous run.
const LANES: usize = 32;
/// Elements of a run, or rows, that are combined one after another before their result joins the rest.
const BLOCK: usize = 128;
/// Outputs that are computed together when the last axis is kept.
const TILE: usize = 512;

pub fn reduce(
    x: View<'_>,
    axes: Option<View<'_>>,
    kind: Reduce,
    noop_with_empty_axes: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let axes = axes.map(integers).transpose()?;
    let axes = shape::reduce_axes(x.rank(), axes.as_deref(), noop_with_empty_axes)?;
    let layout = Layout::new(x.shape, &axes);
    if layout.outputs() != y.len() || x.dtype != y.dtype {
        return Err(invalid(format!("axes {axes:?} of {:?} into {:?}", x.shape, y.shape)));
    }
    match x.dtype {
        DType::F32 => float_reduce::<f32>(&layout, x.values(), kind, y.values()),
        DType::F64 => float_reduce::<f64>(&layout, x.values(), kind, y.values()),
        DType::I64 => int_reduce::<i64>(&layout, x.values(), kind, y.values()),
        DType::U64 => int_reduce::<u64>(&layout, x.values(), kind, y.values()),
        DType::I32 => int_reduce::<i32>(&layout, x.values(), kind, y.values()),
        DType::I16 => int_reduce::<i16>(&layout, x.values(), kind, y.values()),
        DType::I8 => int_reduce::<i8>(&layout, x.values(), kind, y.values()),
        DType::U32 => int_reduce::<u32>(&layout, x.values(), kind, y.values()),
        DType::U16 => int_reduce::<u16>(&layout, x.values(), kind, y.values()),
        DType::U8 => int_reduce::<u8>(&layout, x.values(), kind, y.values()),
        DType::Bool => bool_reduce(&layout, x.bytes, kind, y.bytes)?,
        DType::F16 | DType::BF16 => return unsupported_type("a reduction", x.dtype),
    }
    Ok(())
}

/// The identities of maximum and minimum.
pub trait Bounded: Arithmetic {
    const LOWEST: Self;
    const HIGHEST: Self;
}

macro_rules! bounded {
    ($($type:ident: $lowest:ident $highest:ident),*) => {$(
        impl Bounded for $type {
            const LOWEST: Self = <$type>::$lowest;
            const HIGHEST: Self = <$type>::$highest;
        }
    )*};
}
bounded!(f32: NEG_INFINITY INFINITY, f64: NEG_INFINITY INFINITY);
bounded!(i8: MIN MAX, i16: MIN MAX, i32: MIN MAX, i64: MIN MAX);
bounded!(u8: MIN MAX, u16: MIN MAX, u32: MIN MAX, u64: MIN MAX);

fn float_reduce<T: Real + Bounded>(layout: &Layout, x: &[T], kind: Reduce, y: &mut [T]) {
    match kind {
        Reduce::Mean => {
            sum(layout, x, y);
            let count = T::from_f64(layout.reduced_len() as f64);
            y.iter_mut().for_each(|y| *y /= count);
        }
        Reduce::L2 => {
            plain_reduce(layout, x, Reduce::SumSquare, y);
            y.iter_mut().for_each(|y| *y = y.sqrt());
        }
        Reduce::LogSum => {
            sum(layout, x, y);
            y.iter_mut().for_each(|y| *y = y.ln());
        }
        Reduce::LogSumExp => log_sum_exp(layout, x, y),
        _ => plain_reduce(layout, x, kind, y),
    }
}

/// Sums of a dense tensor, one per output of the layout.
pub fn sum<T: Bounded>(layout: &Layout, x: &[T], y: &mut [T]) {
    plain_reduce(layout, x, Reduce::Sum, y);
}

/// Integers wrap; means and roots truncate.
fn int_reduce<T: Bounded>(layout: &Layout, x: &[T], kind: Reduce, y: &mut [T]) {
    let finish = |y: &mut [T], f: &dyn Fn(f64) -> f64| {
        y.iter_mut().for_each(|y| *y = T::from_f64(f(y.to_f64())));
    };
    match kind {
        Reduce::Mean => {
            sum(layout, x, y);
            let count = layout.reduced_len().max(1) as f64;
            finish(y, &|sum| sum / count);
        }
        Reduce::L2 => {
            plain_reduce(layout, x, Reduce::SumSquare, y);
            finish(y, &f64::sqrt);
        }
        Reduce::LogSum => {
            sum(layout, x, y);
            finish(y, &f64::ln);
        }
        Reduce::LogSumExp => {
            let values: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
            let mut result = vec![0.0; y.len()];
            log_sum_exp(layout, &values, &mut result);
            y.iter_mut().zip(result).for_each(|(y, value)| *y = T::from_f64(value));
        }
        _ => plain_reduce(layout, x, kind, y),
    }
}

/// The reductions that every type of numbers has. Panics for the others.
fn plain_reduce<T: Bounded>(layout: &Layout, x: &[T], kind: Reduce, y: &mut [T]) {
    match kind {
        Reduce::Sum => fold(layout, x, y, T::ZERO, T::add, T::add),
        Reduce::Max => {
            fold(layout, x, y, T::LOWEST, T::larger, T::larger);
        }
        Reduce::Min => {
            fold(layout, x, y, T::HIGHEST, T::smaller, T::smaller);
        }
        Reduce::Prod => fold(layout, x, y, T::ONE, T::mul, T::mul),
        Reduce::L1 => fold(layout, x, y, T::ZERO, add_absolute, T::add),
        Reduce::SumSquare => fold(layout, x, y, T::ZERO, add_square, T::add),
        other => unreachable!("{other:?} depends on the type"),
    }
}

#[inline(always)]
fn add_absolute<T: Arithmetic>(sum: T, x: T) -> T {
    sum.add(x.absolute())
}

#[inline(always)]
fn add_square<T: Arithmetic>(sum: T, x: T) -> T {
    sum.add(x.mul(x))
}

/// Maximum and minimum, as numbers 0 and 1.
fn bool_reduce(layout: &Layout, x: &[u8], kind: Reduce, y: &mut [u8]) -> Result<(), KernelError> {
    if !matches!(kind, Reduce::Max | Reduce::Min) {
        return unsupported_type("a reduction other than maximum and minimum", DType::Bool);
    }
    plain_reduce(layout, x, kind, y);
    // The minimum of none.
    y.iter_mut().for_each(|y| *y = 1.min(*y));
    Ok(())
}

/// `m + log Σ exp(x − m)` with the maximum `m`, or 0 where that is infinite.
fn log_sum_exp<T: Real + Bounded>(layout: &Layout, x: &[T], y: &mut [T]) {
    let mut shifts = vec![T::ZERO; y.len()];
    plain_reduce(layout, x, Reduce::Max, &mut shifts);
    for shift in shifts.iter_mut().filter(|shift| **shift == T::HIGHEST || **shift == T::LOWEST) {
        *shift = T::ZERO;
    }
    let mut exponentials = x.to_vec();
    layout.for_each_output(|at, input| {
        exponentials[input] = (exponentials[input] - shifts[at]).exp();
    });
    sum(layout, &exponentials, y);
    y.iter_mut().zip(shifts).for_each(|(y, shift)| *y = y.ln() + shift);
}

/// Folds `x` into `y`: `step` takes an element into a partial result, `merge` joins two partial results.
fn fold<T: Arithmetic>(
    layout: &Layout,
    x: &[T],
    y: &mut [T],
    start: T,
    step: impl Fn(T, T) -> T + Sync,
    merge: impl Fn(T, T) -> T + Sync,
) {
    if const { T::VECTORISED } {
        fold_with(layout, x, y, start, step, merge);
    } else {
        // One loop for all reductions of rarely used types.
        let step: &(dyn Fn(T, T) -> T + Sync) = &step;
        let merge: &(dyn Fn(T, T) -> T + Sync) = &merge;
        fold_with(layout, x, y, start, step, merge);
    }
}

fn fold_with<T: Arithmetic>(
    layout: &Layout,
    x: &[T],
    y: &mut [T],
    start: T,
    step: impl Fn(T, T) -> T + Sync,
    merge: impl Fn(T, T) -> T + Sync,
) {
    let (inner, reduced) = (layout.inner, layout.reduced_len().max(1));
    if inner == 1 {
        let some = (JOB_LEN / reduced).clamp(1, TILE);
        parallel::rows(y, some, some * reduced, |first, y| {
            vectorise_for::<T, _>(
                #[inline(always)]
                || {
                    for (at, y) in y.iter_mut().enumerate() {
                        let base = layout.base(first * some + at);
                        let mut total = start;
                        for &offset in &layout.offsets {
                            let run = &x[base + offset..][..layout.run];
                            total = merge(total, fold_run(run, start, &step, &merge));
                        }
                        *y = total;
                    }
                },
            );
        });
        return;
    }
    let tile = |base: usize, y: &mut [T]| {
        vectorise_for::<T, _>(
            #[inline(always)]
            || fold_rows(layout, x, base, y, start, &step, &merge),
        );
    };
    let tile: &(dyn Fn(usize, &mut [T]) + Sync) = &tile;
    if inner * reduced > 2 * JOB_LEN {
        for (outer, y) in y.chunks_mut(inner).enumerate() {
            let base = layout.base(outer * inner);
            parallel::rows(y, TILE, TILE * reduced, |index, y| tile(base + index * TILE, y));
        }
        return;
    }
    parallel::rows(y, inner, inner * reduced, |outer, y| {
        let base = layout.base(outer * inner);
        let tiles = y.chunks_mut(TILE).enumerate();
        tiles.for_each(|(index, y)| tile(base + index * TILE, y));
    });
}

/// A contiguous run, in lanes, block by block.
#[inline(always)]
fn fold_run<T: Copy>(
    run: &[T],
    start: T,
    step: &impl Fn(T, T) -> T,
    merge: &impl Fn(T, T) -> T,
) -> T {
    if run.len() < LANES {
        return run.iter().fold(start, |total, &x| step(total, x));
    }
    let mut total = start;
    for block in run.chunks(LANES * BLOCK) {
        let mut lanes = [start; LANES];
        let (chunks, rest) = block.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = step(lanes[lane], chunk[lane]);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane = step(*lane, x);
        }
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] = merge(lanes[lane], lanes[lane + width]);
            }
            width /= 2;
        }
        total = merge(total, lanes[0]);
    }
    total
}

/// Outputs side by side: rows of `y.len()` contiguous elements, block by block.
#[inline(always)]
fn fold_rows<T: Copy>(
    layout: &Layout,
    x: &[T],
    base: usize,
    y: &mut [T],
    start: T,
    step: &impl Fn(T, T) -> T,
    merge: &impl Fn(T, T) -> T,
) {
    y.fill(start);
    if layout.offsets.len() <= BLOCK {
        for &offset in &layout.offsets {
            let row = &x[base + offset..][..y.len()];
            join(y, row, step);
        }
        return;
    }
    let mut sums = [[start; TILE]; 2];
    let [part, block_part] = &mut sums;
    let (part, block_part) = (&mut part[..y.len()], &mut block_part[..y.len()]);
    // Three levels, so that no partial result takes more than a few hundred steps.
    for blocks in layout.offsets.chunks(BLOCK * BLOCK) {
        part.fill(start);
        for block in blocks.chunks(BLOCK) {
            block_part.fill(start);
            for &offset in block {
                let row = &x[base + offset..][..block_part.len()];
                join(block_part, row, step);
            }
            join(part, block_part, merge);
        }
        join(y, part, merge);
    }
}

#[inline(always)]
fn join<T: Copy>(totals: &mut [T], values: &[T], combine: &impl Fn(T, T) -> T) {
    for (total, &value) in totals.iter_mut().zip(values) {
        *total = combine(*total, value);
    }
}
