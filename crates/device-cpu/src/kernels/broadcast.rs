//! Walking several inputs together as ONNX broadcasts them (<https://onnx.ai/onnx/repo-docs/Broadcasting.html>).
//!
//! Neighbouring axes along which all inputs move alike are merged, so that the innermost axis is as long as it
//! can be; along it an input either advances element by element or stays where it is.

use super::element::Arithmetic;
use super::parallel;
use super::simd::vectorise_for;
use crate::KernelError;
use bytemuck::Pod;

/// How `N` inputs move while a dense output is filled in order.
pub struct Walk<const N: usize> {
    /// Sizes and strides of the outer axes, outermost first.
    outer: Vec<(usize, [usize; N])>,
    inner: usize,
    /// Whether each input advances along the innermost axis.
    advances: [bool; N],
}

impl<const N: usize> Walk<N> {
    /// # Errors
    /// [`KernelError::Invalid`] when an input does not broadcast to `out`.
    pub fn new(out: &[usize], inputs: [&[usize]; N]) -> Result<Self, KernelError> {
        let mut axes: Vec<(usize, [usize; N])> = Vec::with_capacity(out.len().max(1));
        let mut strides = [1; N];
        for back in 1..=out.len() {
            let size = out[out.len() - back];
            let mut steps = [0; N];
            for (input, shape) in inputs.iter().enumerate() {
                let own = if back <= shape.len() { shape[shape.len() - back] } else { 1 };
                if own != size && own != 1 {
                    return Err(KernelError::Invalid(format!(
                        "shape {shape:?} does not broadcast to {out:?}"
                    )));
                }
                steps[input] = if own == 1 { 0 } else { strides[input] };
                strides[input] *= own;
            }
            if size == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((inner, inner_steps))
                    if (0..N).all(|input| steps[input] == inner_steps[input] * *inner) =>
                {
                    *inner *= size;
                }
                _ => axes.push((size, steps)),
            }
        }
        for shape in inputs {
            if shape.len() > out.len() && shape[..shape.len() - out.len()].iter().any(|&d| d != 1) {
                return Err(KernelError::Invalid(format!(
                    "shape {shape:?} does not broadcast to {out:?}"
                )));
            }
        }
        let (inner, inner_steps) = if axes.is_empty() { (1, [0; N]) } else { axes.remove(0) };
        axes.reverse();
        Ok(Walk { outer: axes, inner, advances: inner_steps.map(|step| step != 0) })
    }

    /// Calls `run(first, len, offsets)` for each stretch of the innermost axis within `len` outputs from
    /// `start`: its first output counted from `start`, its length, and where each input stands.
    fn runs(&self, start: usize, len: usize, mut run: impl FnMut(usize, usize, [usize; N])) {
        let mut done = 0;
        let mut row = start / self.inner.max(1);
        let mut within = start % self.inner.max(1);
        while done < len {
            let mut offsets = [0; N];
            let mut rest = row;
            for (size, steps) in self.outer.iter().rev() {
                let index = rest % size;
                rest /= size;
                for (offset, step) in offsets.iter_mut().zip(steps) {
                    *offset += index * step;
                }
            }
            for (offset, advances) in offsets.iter_mut().zip(self.advances) {
                *offset += if advances { within } else { 0 };
            }
            let count = (self.inner - within).min(len - done);
            run(done, count, offsets);
            done += count;
            row += 1;
            within = 0;
        }
    }
}

/// `out[i] = f(a[i])`.
pub fn map1<A: Arithmetic, O: Send>(a: &[A], out: &mut [O], f: impl Fn(A) -> O + Sync) {
    parallel::chunks(out, |start, part| {
        let a = &a[start..start + part.len()];
        vectorise_for::<A, _>(
            #[inline(always)]
            || {
                for (out, &a) in part.iter_mut().zip(a) {
                    *out = f(a);
                }
            },
        );
    });
}

/// `out[i] = f(a[…], b[…])` with broadcasting.
pub fn map2<A: Arithmetic, B: Arithmetic, O: Copy + Send>(
    walk: &Walk<2>,
    a: &[A],
    b: &[B],
    out: &mut [O],
    f: impl Fn(A, B) -> O + Sync,
) {
    // A stretch of outputs whose first operands are `a[ia]` and `b[ib]`.
    let stretch = |out: &mut [O], ia: usize, ib: usize| {
        let len = out.len();
        vectorise_for::<A, _>(
            #[inline(always)]
            || match walk.advances {
                [true, true] => {
                    let pairs = a[ia..ia + len].iter().zip(&b[ib..ib + len]);
                    for (out, (&a, &b)) in out.iter_mut().zip(pairs) {
                        *out = f(a, b);
                    }
                }
                [true, false] => {
                    let b = b[ib];
                    for (out, &a) in out.iter_mut().zip(&a[ia..ia + len]) {
                        *out = f(a, b);
                    }
                }
                [false, true] => {
                    let a = a[ia];
                    for (out, &b) in out.iter_mut().zip(&b[ib..ib + len]) {
                        *out = f(a, b);
                    }
                }
                [false, false] => out.fill(f(a[ia], b[ib])),
            },
        );
    };
    walk_pairs(walk, out, &stretch);
}

/// The part of [`map2`] that all functions share.
fn walk_pairs<O: Send>(
    walk: &Walk<2>,
    out: &mut [O],
    stretch: &(dyn Fn(&mut [O], usize, usize) + Sync),
) {
    parallel::chunks(out, |start, part| {
        walk.runs(start, part.len(), |first, len, [ia, ib]| {
            stretch(&mut part[first..first + len], ia, ib);
        });
    });
}

/// `out[i] = if condition[…] { a[…] } else { b[…] }` with broadcasting; conditions are bytes, true when not zero.
pub fn select<T: Pod + Send + Sync>(
    walk: &Walk<3>,
    condition: &[u8],
    a: &[T],
    b: &[T],
    out: &mut [T],
) {
    parallel::chunks(out, |start, part| {
        walk.runs(start, part.len(), |first, len, [ic, ia, ib]| {
            let out = &mut part[first..first + len];
            let [c_step, a_step, b_step] = walk.advances.map(usize::from);
            if c_step == 0 {
                let (from, at, step) =
                    if condition[ic] != 0 { (a, ia, a_step) } else { (b, ib, b_step) };
                if step == 1 {
                    out.copy_from_slice(&from[at..at + len]);
                } else {
                    out.fill(from[at]);
                }
                return;
            }
            for (index, out) in out.iter_mut().enumerate() {
                let (a, b) = (a[ia + a_step * index], b[ib + b_step * index]);
                *out = if condition[ic + index] != 0 { a } else { b };
            }
        });
    });
}
