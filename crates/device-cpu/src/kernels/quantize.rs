//! Between real numbers and integers with a scale and a zero point: per tensor, per index of an axis, or per block.

use super::activation::clip;
use super::element::{Arithmetic, with_real};
use super::math::ROUND;
use super::operands::{around, floats, input, invalid, optional, output, unsupported};
use super::parallel;
use super::simd::vectorise;
use crate::{KernelError, View, ViewMut};
use std::borrow::Cow;
use sublet_graph::DType;
use sublet_graph::shape::axis;

/// Computes [`sublet_graph::Op::QuantizeLinear`]: x, scale, zero point (optional).
pub fn quantize(
    along: i64,
    block: usize,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    let scales = Scales::new(x.shape, along, block, input(inputs, 1)?, optional(inputs, 2))?;
    let values = match x.dtype {
        DType::I32 => Cow::Owned(x.values::<i32>().iter().map(|&x| x as f32).collect()),
        _ => floats(x)?,
    };
    // Adding `1.5 · 2^23` rounds a number below `2^22` to the nearest even integer and leaves it in the low bits, which
    // is cheaper than rounding, converting and saturating. The zero point is whole, so bounds may be checked first.
    macro_rules! round {
        ($T:ty) => {{
            let (lowest, highest) = (f32::from(<$T>::MIN), f32::from(<$T>::MAX));
            scales.each(
                &values,
                out.values::<$T>(),
                #[inline(always)]
                |x, scale, zero| {
                    let bounded = clip(x / scale, lowest - zero, highest - zero);
                    ((bounded + ROUND + zero).to_bits()) as $T
                },
            )
        }};
    }
    match out.dtype {
        DType::U8 => round!(u8),
        DType::I8 => round!(i8),
        DType::U16 => round!(u16),
        DType::I16 => round!(i16),
        other => return Err(unsupported(format!("QuantizeLinear to {other}"))),
    }
    Ok(())
}

/// Computes [`sublet_graph::Op::DequantizeLinear`]: x, scale, zero point (optional).
pub fn dequantize(
    along: i64,
    block: usize,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    let scales = Scales::new(x.shape, along, block, input(inputs, 1)?, optional(inputs, 2))?;
    if out.dtype != DType::F32 {
        return Err(unsupported(format!("DequantizeLinear to {}", out.dtype)));
    }
    let out = out.values::<f32>();
    macro_rules! widen {
        ($T:ty) => {
            scales.each(
                x.values::<$T>(),
                out,
                #[inline(always)]
                |x, scale, zero| (x as f32 - zero) * scale,
            )
        };
    }
    match x.dtype {
        DType::U8 => widen!(u8),
        DType::I8 => widen!(i8),
        DType::U16 => widen!(u16),
        DType::I16 => widen!(i16),
        DType::I32 => widen!(i32),
        other => return Err(unsupported(format!("DequantizeLinear from {other}"))),
    }
    Ok(())
}

/// Computes [`sublet_graph::Op::DynamicQuantizeLinear`]: the range of all of x, widened to hold zero, becomes 0..=255.
pub fn dynamic(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let [y, scale_out, zero_out] = outputs else {
        return Err(invalid("DynamicQuantizeLinear has three outputs"));
    };
    with_real!("DynamicQuantizeLinear", x.dtype, T => {
        let x = x.values::<T>();
        let largest = x.iter().fold(T::ZERO, |max, &x| max.larger(x));
        let smallest = x.iter().fold(T::ZERO, |min, &x| min.smaller(x));
        let range = if largest == smallest { T::ONE } else { largest - smallest };
        let scale = range / T::from_f64(255.0);
        let zero = (-smallest / scale).round_ties_even().to_f64() as u8;
        if let Some(y) = y {
            let shift = T::from(zero);
            parallel::chunks(y.values::<u8>(), |start, part| {
                let x = &x[start..];
                part.iter_mut().zip(x).for_each(|(out, &x)| {
                    *out = ((x / scale).round_ties_even() + shift).to_f64() as u8;
                });
            });
        }
        if let Some(out) = scale_out {
            out.values::<T>()[0] = scale;
        }
        if let Some(out) = zero_out {
            out.values::<u8>()[0] = zero;
        }
        Ok(())
    })
}

/// Which scale and zero point hold for which element.
struct Scales<'a> {
    scales: Cow<'a, [f32]>,
    zeros: Vec<f32>,
    /// Consecutive elements with one scale where it is not the last axis that has scales; else a whole run of scales.
    layout: Layout,
}

enum Layout {
    /// One scale for so many elements at a time, the scales repeating from the start when they are used up.
    Runs(usize),
    /// As many scales as elements of the last axis.
    Last,
    /// Scales shaped like the input, `blocks` along an axis of length `len` with `inner` elements each.
    Blocks { block: usize, blocks: usize, len: usize, inner: usize },
}

impl<'a> Scales<'a> {
    fn new(
        shape: &[usize],
        along: i64,
        block: usize,
        scale: View<'a>,
        zero: Option<View<'_>>,
    ) -> Result<Self, KernelError> {
        let scales = floats(scale)?;
        let count = shape.iter().product::<usize>();
        let layout = if scales.len() == 1 && block == 0 {
            Layout::Runs(count.max(1))
        } else {
            let axis = axis(along, shape.len())?;
            let (_, len, inner) = around(shape, axis);
            if block > 0 {
                let blocks = len.div_ceil(block);
                if scale.shape.len() != shape.len() || scale.shape.get(axis) != Some(&blocks) {
                    return Err(invalid(format!(
                        "scales {:?} for blocks of {shape:?}",
                        scale.shape
                    )));
                }
                Layout::Blocks { block, blocks, len, inner }
            } else if scales.len() != len {
                return Err(invalid(format!("{} scales for an axis of {len}", scales.len())));
            } else if inner == 1 {
                Layout::Last
            } else {
                Layout::Runs(inner.max(1))
            }
        };
        let zeros = match zero {
            Some(zero) if zero.len() == scales.len() || zero.len() == 1 => {
                let zeros = integers(zero)?;
                (0..scales.len()).map(|index| zeros[index.min(zeros.len() - 1)]).collect()
            }
            Some(zero) => {
                return Err(invalid(format!(
                    "{} zero points for {} scales",
                    zero.len(),
                    scales.len()
                )));
            }
            None => vec![0.0; scales.len()],
        };
        Ok(Scales { scales, zeros, layout })
    }

    /// `out[i] = f(x[i], scale, zero point)`.
    fn each<A: Copy + Sync, O: Copy + Send>(
        &self,
        x: &[A],
        out: &mut [O],
        f: impl Fn(A, f32, f32) -> O + Sync,
    ) {
        let (scales, zeros) = (&self.scales[..], &self.zeros[..]);
        if out.is_empty() {
            return;
        }
        match self.layout {
            Layout::Runs(run) if scales.len() == 1 || run >= out.len() => {
                let (scale, zero) = (scales[0], zeros[0]);
                parallel::chunks(out, |start, part| {
                    let x = &x[start..start + part.len()];
                    vectorise(
                        #[inline(always)]
                        || {
                            for (out, &x) in part.iter_mut().zip(x) {
                                *out = f(x, scale, zero);
                            }
                        },
                    );
                });
            }
            Layout::Runs(run) => parallel::rows(out, run, run, |row, part| {
                let (scale, zero) = (scales[row % scales.len()], zeros[row % zeros.len()]);
                let x = &x[row * run..][..run];
                vectorise(
                    #[inline(always)]
                    || {
                        for (out, &x) in part.iter_mut().zip(x) {
                            *out = f(x, scale, zero);
                        }
                    },
                );
            }),
            Layout::Last => parallel::rows(out, scales.len(), scales.len(), |row, part| {
                let x = &x[row * scales.len()..][..scales.len()];
                vectorise(
                    #[inline(always)]
                    || {
                        let parameters = scales.iter().zip(zeros);
                        for ((out, &x), (&scale, &zero)) in part.iter_mut().zip(x).zip(parameters) {
                            *out = f(x, scale, zero);
                        }
                    },
                );
            }),
            Layout::Blocks { block, blocks, len, inner } => {
                parallel::rows(out, inner, inner, |row, part| {
                    let (outer, at) = (row / len, row % len);
                    let first = (outer * blocks + at / block) * inner;
                    let x = &x[row * inner..][..inner];
                    for (index, (out, &x)) in part.iter_mut().zip(x).enumerate() {
                        *out = f(x, scales[first + index], zeros[first + index]);
                    }
                });
            }
        }
    }
}

fn integers(view: View<'_>) -> Result<Vec<f32>, KernelError> {
    let zeros = super::integer::widened(view, usize::MAX, &[0])?;
    Ok(zeros.into_iter().map(|zero| zero as f32).collect())
}
