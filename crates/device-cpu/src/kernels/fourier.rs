//! Discrete Fourier transforms of any length, in double precision.

use super::element::{Arithmetic, with_real};
use super::operands::{around, input, integer, invalid, optional};
use super::parallel;
use crate::{KernelError, View, ViewMut};
use std::f64::consts::PI;
use sublet_graph::shape;

type Complex = [f64; 2];

/// Inputs as ONNX: signal `[…, n, …, 1 or 2]`, length, axis. A real forward transform may keep one side of its symmetric
/// result; the inverse of such a side is real.
pub fn dft(
    inputs: &[Option<View<'_>>],
    inverse: bool,
    onesided: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let along = optional(inputs, 2).map_or(Ok(-2), integer)?;
    let along = shape::axis(along, x.rank())?;
    let (x_parts, y_parts) = match (x.shape.last(), y.shape.last()) {
        (Some(&from @ 1..=2), Some(&to @ 1..=2)) if along + 1 < x.rank() => (from, to),
        _ => return Err(invalid(format!("a transform of {:?} along axis {along}", x.shape))),
    };
    let (_, x_len, inner) = around(x.shape, along);
    let length = match optional(inputs, 1) {
        Some(length) => integer(length)?,
        None if inverse && onesided => 2 * (x_len as i64 - 1),
        None => x_len as i64,
    };
    let Some(length) = usize::try_from(length).ok().filter(|&length| length > 0) else {
        return Err(invalid(format!("a transform of length {length}")));
    };
    let (y_len, inner) = (y.shape[along], inner / x_parts);
    if y.len() * x_len * x_parts != x.len() * y_len * y_parts || y_len > length {
        return Err(invalid(format!("a transform of {:?} into {:?}", x.shape, y.shape)));
    }
    let transform = Fourier::new(length);
    with_real!("DFT", x.dtype, T => {
        let x = x.values::<T>();
        let slab = y_len * inner * y_parts;
        let work = length * inner * 16;
        parallel::rows(y.values::<T>(), slab, work, |outer, y| {
            let x = &x[outer * x_len * inner * x_parts..][..x_len * inner * x_parts];
            let mut signal = vec![[0.0; 2]; length];
            let mut result = vec![[0.0; 2]; length];
            for column in 0..inner {
                signal.fill([0.0; 2]);
                for (index, value) in signal.iter_mut().take(x_len).enumerate() {
                    let at = (index * inner + column) * x_parts;
                    *value = [x[at].to_f64(), if x_parts == 2 { x[at + 1].to_f64() } else { 0.0 }];
                }
                if inverse && onesided {
                    mirror(&mut signal);
                }
                transform.run(&mut signal, &mut result, inverse);
                for (index, value) in result.iter().take(y_len).enumerate() {
                    let at = (index * inner + column) * y_parts;
                    y[at] = T::from_f64(value[0]);
                    if y_parts == 2 {
                        y[at + 1] = T::from_f64(value[1]);
                    }
                }
            }
        });
        Ok(())
    })
}

/// The other side of the spectrum of a real signal: the conjugates, backwards.
fn mirror(spectrum: &mut [Complex]) {
    let length = spectrum.len();
    let half = length / 2;
    spectrum[0][1] = 0.0;
    if length.is_multiple_of(2) {
        spectrum[half][1] = 0.0;
    }
    for index in half + 1..length {
        let [re, im] = spectrum[length - index];
        spectrum[index] = [re, -im];
    }
}

/// Inputs as ONNX: signal `[batch, n, 1 or 2]`, frame step, window, frame length; y `[batch, frames, bins, 2]`.
pub fn stft(inputs: &[Option<View<'_>>], y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let step = usize::try_from(integer(input(inputs, 1)?)?);
    let window = optional(inputs, 2);
    let length = match (optional(inputs, 3), window) {
        (Some(length), _) => usize::try_from(integer(length)?).ok(),
        (None, Some(window)) => Some(window.len()),
        (None, None) => None,
    };
    let (&[batch, n, parts @ 1..=2], &[y_batch, frames, bins, 2]) = (x.shape, y.shape) else {
        return Err(invalid(format!("frames of {:?} into {:?}", x.shape, y.shape)));
    };
    let length = length.unwrap_or(n);
    let (Ok(step), true) = (step, batch == y_batch && bins <= length) else {
        return Err(invalid(format!("frames of {:?} into {:?}", x.shape, y.shape)));
    };
    let fits = frames == 0
        || (frames - 1)
            .checked_mul(step)
            .and_then(|last| last.checked_add(length))
            .is_some_and(|end| end <= n);
    if !fits || length == 0 || window.is_some_and(|window| window.len() > length) {
        return Err(invalid(format!("{frames} frames of {length} in a signal of {n}")));
    }
    let transform = Fourier::new(length);
    with_real!("STFT", x.dtype, T => {
        let window: Vec<f64> = match window {
            Some(window) if window.dtype == x.dtype => {
                window.values::<T>().iter().map(|value| value.to_f64()).collect()
            }
            Some(window) => return Err(invalid(format!("a window of {}", window.dtype))),
            None => vec![1.0; length],
        };
        let x = x.values::<T>();
        parallel::rows(y.values::<T>(), bins * 2, length * 16, |row, y| {
            let start = (row / frames * n + row % frames * step) * parts;
            let frame = x[start..start + length * parts].chunks_exact(parts);
            let mut signal = vec![[0.0; 2]; length];
            for ((value, x), weight) in signal.iter_mut().zip(frame).zip(&window) {
                *value = [x[0].to_f64() * weight, x.get(1).map_or(0.0, |im| im.to_f64() * weight)];
            }
            let mut result = vec![[0.0; 2]; length];
            transform.run(&mut signal, &mut result, false);
            for (y, value) in y.chunks_exact_mut(2).zip(&result) {
                y.copy_from_slice(&value.map(T::from_f64));
            }
        });
        Ok(())
    })
}

/// A transform of one length: Cooley and Tukey's decimation in time over the prime factors.
struct Fourier {
    /// Increasing.
    factors: Vec<usize>,
    /// `exp(−2πik/n)`.
    roots: Vec<Complex>,
}

impl Fourier {
    fn new(length: usize) -> Self {
        let mut factors = Vec::new();
        let (mut rest, mut factor) = (length, 2);
        while rest > 1 {
            if factor * factor > rest {
                factor = rest;
            }
            while rest.is_multiple_of(factor) {
                factors.push(factor);
                rest /= factor;
            }
            factor += 1;
        }
        let root = |index: usize| {
            let (sin, cos) = (-2.0 * PI * index as f64 / length as f64).sin_cos();
            [cos, sin]
        };
        Fourier { factors, roots: (0..length).map(root).collect() }
    }

    /// Transforms `signal` into `result`, both of the transform's length. The inverse divides by the length.
    fn run(&self, signal: &mut [Complex], result: &mut [Complex], inverse: bool) {
        let swap =
            |values: &mut [Complex]| values.iter_mut().for_each(|[re, im]| std::mem::swap(re, im));
        if inverse {
            swap(signal);
        }
        let largest = self.factors.last().copied().unwrap_or(1);
        self.step(signal, 1, &self.factors, result, &mut vec![[0.0; 2]; largest]);
        if inverse {
            swap(result);
            let scale = 1.0 / result.len() as f64;
            result.iter_mut().flatten().for_each(|value| *value *= scale);
        }
    }

    /// The transform of every `stride`-th element of `signal`.
    fn step(
        &self,
        signal: &[Complex],
        stride: usize,
        factors: &[usize],
        result: &mut [Complex],
        terms: &mut [Complex],
    ) {
        let Some((&factor, factors)) = factors.split_first() else {
            result[0] = signal[0];
            return;
        };
        let part = result.len() / factor;
        for (index, result) in result.chunks_exact_mut(part).enumerate() {
            self.step(&signal[index * stride..], stride * factor, factors, result, terms);
        }
        if factor == 2 {
            let (even, odd) = result.split_at_mut(part);
            for (index, (a, b)) in even.iter_mut().zip(odd).enumerate() {
                let turned = times(*b, self.roots[index * stride]);
                (*a, *b) =
                    ([a[0] + turned[0], a[1] + turned[1]], [a[0] - turned[0], a[1] - turned[1]]);
            }
            return;
        }
        let length = self.roots.len();
        let terms = &mut terms[..factor];
        for place in 0..part {
            for (index, term) in terms.iter_mut().enumerate() {
                *term = times(result[index * part + place], self.roots[index * place * stride]);
            }
            for index in 0..factor {
                let mut total = [0.0; 2];
                for (at, &term) in terms.iter().enumerate() {
                    // One full turn has `length` roots; a turn of this butterfly has `factor`.
                    let turned = times(term, self.roots[index * at % factor * (length / factor)]);
                    total = [total[0] + turned[0], total[1] + turned[1]];
                }
                result[index * part + place] = total;
            }
        }
    }
}

fn times([a, b]: Complex, [c, d]: Complex) -> Complex {
    [a * c - b * d, a * d + b * c]
}
