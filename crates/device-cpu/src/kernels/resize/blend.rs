//! One pass of separable interpolation: weighted sums of slices along one axis.

use super::taps::Taps;
use crate::kernels::element::Real;
use crate::kernels::operands::around;
use crate::kernels::parallel;
use crate::kernels::simd::vectorise;

/// Slices at least this long are blended one by one; shorter ones together with their neighbours.
const LONG: usize = 32;

/// Resizes `x` of `shape` along `axis` into `y`.
pub fn blend<T: Real>(x: &[T], shape: &[usize], axis: usize, taps: &Taps<T>, y: &mut [T]) {
    let (_, len, inner) = around(shape, axis);
    let outputs = taps.outside.len();
    if inner >= LONG {
        parallel::rows(y, inner, inner * taps.count, |row, y| {
            let (slab, index) = (row / outputs, row % outputs);
            let x = &x[slab * len * inner..][..len * inner];
            blend_slices(x, inner, taps, index, y);
        });
        return;
    }
    parallel::rows(y, outputs * inner, outputs * inner * taps.count, |slab, y| {
        let x = &x[slab * len * inner..][..len * inner];
        match (inner, taps.count) {
            (1, 2) => blend_pairs(x, taps, y),
            _ => blend_short(x, inner, taps, y),
        }
    });
}

/// `y = Σ weight · slice` for output `index`.
fn blend_slices<T: Real>(x: &[T], inner: usize, taps: &Taps<T>, index: usize, y: &mut [T]) {
    if taps.outside[index] {
        y.fill(taps.extrapolation);
        return;
    }
    let indices = &taps.indices[index * taps.count..][..taps.count];
    let weights = &taps.weights[index * taps.count..][..taps.count];
    let slice = |tap: usize| &x[indices[tap] * inner..][..inner];
    vectorise(
        #[inline(always)]
        || {
            let (first, second) = (slice(0), slice(1));
            let (w_first, w_second) = (weights[0], weights[1]);
            for (y, (&a, &b)) in y.iter_mut().zip(first.iter().zip(second)) {
                *y = a * w_first + b * w_second;
            }
            for tap in 2..taps.count {
                let weight = weights[tap];
                y.iter_mut().zip(slice(tap)).for_each(|(y, &x)| *y += x * weight);
            }
        },
    );
}

/// Linear interpolation along the last axis.
fn blend_pairs<T: Real>(x: &[T], taps: &Taps<T>, y: &mut [T]) {
    let (indices, _) = taps.indices.as_chunks::<2>();
    let (weights, _) = taps.weights.as_chunks::<2>();
    for ((y, [a, b]), [w_a, w_b]) in y.iter_mut().zip(indices).zip(weights) {
        *y = x[*a] * *w_a + x[*b] * *w_b;
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
