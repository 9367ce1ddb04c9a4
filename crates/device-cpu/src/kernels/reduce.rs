//! Reductions over any set of axes.
//!
//! The order in which the elements of one output are combined depends only on the lengths of the reduced axes and of
//! the axes after them: not on the first axis when it is kept, and not on the number of threads.

use super::element::{Arithmetic, Real, unsupported_type};
use super::operands::{integers, invalid};
use super::reduce_layout::Layout;
use super::simd::vectorise_for;
use crate::{KernelError, View, ViewMut};
use rayon::prelude::*;
use sublet_graph::{DType, Reduce, shape};

/// Elements that one thread should at least reduce.
const JOB_LEN: usize = 1 << 15;
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
    let add = <T as Arithmetic>::add;
    match kind {
        Reduce::Mean => {
            let count = T::from_f64(layout.reduced_len() as f64);
            run(layout, x, y, T::ZERO, add, add, |a| a / count);
        }
        Reduce::L2 => run(layout, x, y, T::ZERO, add_square, add, T::sqrt),
        Reduce::LogSum => run(layout, x, y, T::ZERO, add, add, T::ln),
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
    let add = T::add;
    match kind {
        Reduce::Mean => {
            let count = layout.reduced_len().max(1) as f64;
            run(layout, x, y, T::ZERO, add, add, |a| T::from_f64(a.to_f64() / count));
        }
        Reduce::L2 => {
            run(layout, x, y, T::ZERO, add_square, add, |a| T::from_f64(a.to_f64().sqrt()));
        }
        Reduce::LogSum => {
            run(layout, x, y, T::ZERO, add, add, |a| T::from_f64(a.to_f64().ln()));
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
    let add = T::add;
    let same = |a: T| a;
    match kind {
        Reduce::Sum => run(layout, x, y, T::ZERO, add, add, same),
        Reduce::Max => run(layout, x, y, T::LOWEST, T::larger, T::larger, same),
        Reduce::Min => run(layout, x, y, T::HIGHEST, T::smaller, T::smaller, same),
        Reduce::Prod => run(layout, x, y, T::ONE, T::mul, T::mul, same),
        Reduce::L1 => run(layout, x, y, T::ZERO, add_absolute, add, same),
        Reduce::SumSquare => run(layout, x, y, T::ZERO, add_square, add, same),
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

fn bool_reduce(layout: &Layout, x: &[u8], kind: Reduce, y: &mut [u8]) -> Result<(), KernelError> {
    match kind {
        Reduce::Max => plain_reduce(layout, x, kind, y),
        Reduce::Min => run(layout, x, y, 1, u8::smaller, u8::smaller, |a| a),
        _ => return unsupported_type("a reduction other than maximum and minimum", DType::Bool),
    }
    Ok(())
}

/// `m + log Σ exp(x − m)` with the maximum `m`, or 0 where that is infinite.
fn log_sum_exp<T: Real + Bounded>(layout: &Layout, x: &[T], y: &mut [T]) {
    let mut shifts = vec![T::ZERO; y.len()];
    run(layout, x, &mut shifts, T::LOWEST, T::larger, T::larger, |max| {
        if max == T::HIGHEST || max == T::LOWEST { T::ZERO } else { max }
    });
    let mut exponentials = x.to_vec();
    layout.for_each_output(|at, input| {
        exponentials[input] = (exponentials[input] - shifts[at]).exp();
    });
    let add = <T as Arithmetic>::add;
    run(layout, &exponentials, y, T::ZERO, add, add, T::ln);
    y.iter_mut().zip(shifts).for_each(|(y, shift)| *y += shift);
}

/// Folds `x` into `y`: `step` takes an element into a partial result, `merge` joins two partial results.
fn run<T: Arithmetic, A: Copy + Send + Sync>(
    layout: &Layout,
    x: &[T],
    y: &mut [A],
    start: A,
    step: impl Fn(A, T) -> A + Sync,
    merge: impl Fn(A, A) -> A + Sync,
    finish: impl Fn(A) -> A + Sync,
) {
    if const { T::VECTORISED } {
        run_with(layout, x, y, start, step, merge, finish);
    } else {
        // One loop for all reductions of rarely used types.
        let step: &(dyn Fn(A, T) -> A + Sync) = &step;
        let merge: &(dyn Fn(A, A) -> A + Sync) = &merge;
        let finish: &(dyn Fn(A) -> A + Sync) = &finish;
        run_with(layout, x, y, start, step, merge, finish);
    }
}

fn run_with<T: Arithmetic, A: Copy + Send + Sync>(
    layout: &Layout,
    x: &[T],
    y: &mut [A],
    start: A,
    step: impl Fn(A, T) -> A + Sync,
    merge: impl Fn(A, A) -> A + Sync,
    finish: impl Fn(A) -> A + Sync,
) {
    if y.is_empty() {
        return;
    }
    let each = JOB_LEN.div_ceil(layout.reduced_len().max(1));
    if layout.inner == 1 {
        y.par_iter_mut().enumerate().with_min_len(each).for_each(|(at, y)| {
            let base = layout.base(at);
            let total = vectorise_for::<T, _>(
                #[inline(always)]
                || {
                    let mut total = start;
                    for &offset in &layout.offsets {
                        let run = &x[base + offset..][..layout.run];
                        total = merge(total, fold_run(run, start, &step, &merge));
                    }
                    total
                },
            );
            *y = finish(total);
        });
        return;
    }
    let tiles = each.div_ceil(TILE.min(layout.inner));
    y.par_chunks_mut(layout.inner).enumerate().with_min_len(each.div_ceil(layout.inner)).for_each(
        |(outer, y)| {
            let base = layout.base(outer * layout.inner);
            y.par_chunks_mut(TILE).enumerate().with_min_len(tiles).for_each(|(tile, y)| {
                let base = base + tile * TILE;
                vectorise_for::<T, _>(
                    #[inline(always)]
                    || fold_rows(layout, x, base, y, start, &step, &merge),
                );
                y.iter_mut().for_each(|y| *y = finish(*y));
            });
        },
    );
}

/// A contiguous run, in lanes, block by block.
#[inline(always)]
fn fold_run<T: Copy, A: Copy>(
    run: &[T],
    start: A,
    step: &impl Fn(A, T) -> A,
    merge: &impl Fn(A, A) -> A,
) -> A {
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
fn fold_rows<T: Copy, A: Copy>(
    layout: &Layout,
    x: &[T],
    base: usize,
    y: &mut [A],
    start: A,
    step: &impl Fn(A, T) -> A,
    merge: &impl Fn(A, A) -> A,
) {
    y.fill(start);
    let mut partial = [start; TILE];
    let partial = &mut partial[..y.len()];
    for block in layout.offsets.chunks(BLOCK) {
        partial.fill(start);
        for &offset in block {
            let row = &x[base + offset..][..partial.len()];
            for (partial, &x) in partial.iter_mut().zip(row) {
                *partial = step(*partial, x);
            }
        }
        for (y, &partial) in y.iter_mut().zip(&*partial) {
            *y = merge(*y, partial);
        }
    }
}
