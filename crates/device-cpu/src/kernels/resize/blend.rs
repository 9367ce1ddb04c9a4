//! One pass of separable interpolation: weighted sums of slices along one axis.

use super::taps::Taps;
use crate::kernels::element::Real;
use crate::kernels::operands::around;
use crate::kernels::parallel;
use crate::kernels::simd::vectorise_for;

/// Slices at least this long are blended one by one; shorter ones together with their neighbours.
const LONG: usize = 32;

/// Elements that are blended at a time.
const GROUP: usize = 4096;

/// Resizes `x` of `shape` along `axis` into `y`.
pub fn blend<T: Real>(x: &[T], shape: &[usize], axis: usize, taps: &Taps<T>, y: &mut [T]) {
    let (_, len, inner) = around(shape, axis);
    let outputs = taps.outside.len();
    if inner >= LONG {
        let some = GROUP.div_ceil(inner);
        parallel::rows(y, some * inner, some * inner * taps.count, |group, y| {
            vectorise_for::<T, _>(
                #[inline(always)]
                || {
                    for (at, y) in y.chunks_exact_mut(inner).enumerate() {
                        let row = group * some + at;
                        let x = &x[row / outputs * len * inner..][..len * inner];
                        blend_slices(x, inner, taps, row % outputs, y);
                    }
                },
            );
        });
        return;
    }
    parallel::rows(y, outputs * inner, outputs * inner * taps.count, |slab, y| {
        let x = &x[slab * len * inner..][..len * inner];
        match (inner, taps.count) {
            (1, 2) => blend_elements::<T, 2>(x, taps, y),
            (1, 4) => blend_elements::<T, 4>(x, taps, y),
            _ => blend_short(x, inner, taps, y),
        }
    });
}

/// `y = Σ weight · slice` for output `index`.
#[inline(always)]
fn blend_slices<T: Real>(x: &[T], inner: usize, taps: &Taps<T>, index: usize, y: &mut [T]) {
    if taps.outside[index] {
        y.fill(taps.extrapolation);
        return;
    }
    let indices = &taps.indices[index * taps.count..][..taps.count];
    let weights = &taps.weights[index * taps.count..][..taps.count];
    let slice = |tap: usize| &x[indices[tap] * inner..][..inner];
    // Taps come in even numbers.
    for pair in (0..taps.count).step_by(2) {
        let pairs = slice(pair).iter().zip(slice(pair + 1));
        let (w_first, w_second) = (weights[pair], weights[pair + 1]);
        if pair == 0 {
            y.iter_mut().zip(pairs).for_each(|(y, (&a, &b))| *y = a * w_first + b * w_second);
        } else {
            y.iter_mut().zip(pairs).for_each(|(y, (&a, &b))| *y += a * w_first + b * w_second);
        }
    }
}

/// Along the last axis, where single elements are blended.
fn blend_elements<T: Real, const TAPS: usize>(x: &[T], taps: &Taps<T>, y: &mut [T]) {
    let (indices, _) = taps.indices.as_chunks::<TAPS>();
    let (weights, _) = taps.weights.as_chunks::<TAPS>();
    for ((y, indices), weights) in y.iter_mut().zip(indices).zip(weights) {
        let mut total = T::ZERO;
        for tap in 0..TAPS {
            total += x[indices[tap]] * weights[tap];
        }
        *y = total;
    }
    fill_outside(1, taps, y);
}

fn blend_short<T: Real>(x: &[T], inner: usize, taps: &Taps<T>, y: &mut [T]) {
    let indices = taps.indices.chunks_exact(taps.count);
    let weights = taps.weights.chunks_exact(taps.count);
    for ((y, indices), weights) in y.chunks_exact_mut(inner).zip(indices).zip(weights) {
        for (place, y) in y.iter_mut().enumerate() {
            let mut total = T::ZERO;
            for (index, &weight) in indices.iter().zip(weights) {
                total += x[index * inner + place] * weight;
            }
            *y = total;
        }
    }
    fill_outside(inner, taps, y);
}

fn fill_outside<T: Real>(inner: usize, taps: &Taps<T>, y: &mut [T]) {
    for (y, _) in y.chunks_exact_mut(inner).zip(&taps.outside).filter(|(_, outside)| **outside) {
        y.fill(taps.extrapolation);
    }
}
