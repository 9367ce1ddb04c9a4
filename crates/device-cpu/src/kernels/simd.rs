//! Compiling plain loops for the widest vectors of the machine, and reductions whose order is fixed.
//!
//! The program is built for the oldest processor of its architecture. What runs inside [`vectorise`] is compiled
//! again for each newer instruction set and chosen at run time. Reductions keep a fixed number of partial results,
//! whatever the width of the machine's vectors, so that their rounding does not depend on it.

use super::element::{Arithmetic, Real};
use rten_simd::{Isa, SimdOp};

/// Partial results of a reduction: one 512-bit vector of `f32`.
const LANES: usize = 16;

struct Plain<F>(F);

impl<R, F: FnOnce() -> R> SimdOp for Plain<F> {
    type Output = R;

    #[inline(always)]
    fn eval<I: Isa>(self, _isa: I) -> R {
        (self.0)()
    }
}

/// Runs `body` compiled for the best instruction set that the machine has. The closure, and the functions
/// it calls in its loops, must be `#[inline(always)]` to profit.
#[inline]
pub fn vectorise<R>(body: impl FnOnce() -> R) -> R {
    Plain(body).dispatch()
}

/// As [`vectorise`], for loops over elements of type `T` where that pays: every kernel compiled for
/// every instruction set and every type would take minutes to build.
#[inline]
pub fn vectorise_for<T: Arithmetic, R>(body: impl FnOnce() -> R) -> R {
    if const { T::VECTORISED } { vectorise(body) } else { body() }
}

/// `Σ f(x)`.
#[inline(always)]
pub fn sum_of<T: Real>(xs: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let chunks = xs.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(tail) {
        *lane += f(x);
    }
    fold(lanes, |a, b| a + b)
}

/// The largest element; negative infinity for none, NaN when there is one.
#[inline(always)]
pub fn max_of<T: Real>(xs: &[T]) -> T {
    let mut lanes = [T::NEG_INFINITY; LANES];
    let chunks = xs.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = lane.larger(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(tail) {
        *lane = lane.larger(x);
    }
    fold(lanes, |a, b| a.larger(b))
}

/// Halves the lanes until one is left.
#[inline(always)]
fn fold<T: Copy>(mut lanes: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = f(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}
