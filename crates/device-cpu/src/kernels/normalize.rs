//! Normalisation by the statistics of rows, channels and groups.

use super::broadcast::{Walk, map2};
use super::element::{Arithmetic, Real, with_real};
use super::operands::{around, input, invalid, output};
use super::parallel;
use super::pool::Norm;
use super::simd::{sum_of, vectorise_for};
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape::axis;

/// Computes [`sublet_graph::Op::BatchNorm`]: x, scale, bias, mean, variance.
pub fn batch(
    epsilon: f32,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let channels = x.shape.get(1).copied().unwrap_or(1);
    let plane = x.shape.iter().skip(2).product::<usize>();
    let out = output(outputs, 0)?;
    let mut rows = Vec::new();
    for index in 1..5 {
        let view = input(inputs, index)?;
        if view.len() != channels {
            return Err(invalid(format!("{} statistics for {channels} channels", view.len())));
        }
        rows.push(view);
    }
    with_real!("BatchNormalization", x.dtype, T => {
        let values: Vec<Vec<T>> = rows.iter().map(|&view| reals(view)).collect::<Result<_, _>>()?;
        let [scale, bias, mean, variance] = &values[..] else { unreachable!("four were read") };
        let epsilon = T::of(epsilon);
        let x = x.values::<T>();
        parallel::rows(out.values::<T>(), plane, plane, |row, out| {
            let channel = row % channels;
            let factor = scale[channel] / (variance[channel] + epsilon).sqrt();
            let shift = bias[channel] - mean[channel] * factor;
            scale_row(&x[row * plane..][..plane], out, factor, shift);
        });
        Ok(())
    })
}

/// Computes [`sublet_graph::Op::InstanceNorm`]: x, scale, bias.
pub fn instance(
    epsilon: f32,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let channels = input(inputs, 0)?.shape.get(1).copied().unwrap_or(1);
    group(channels, epsilon, inputs, outputs)
}

/// Computes [`sublet_graph::Op::GroupNorm`]: x, scale, bias, the latter one per channel.
pub fn group(
    groups: usize,
    epsilon: f32,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, scale, bias) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let out = output(outputs, 0)?;
    let channels = x.shape.get(1).copied().unwrap_or(1);
    let plane = x.shape.iter().skip(2).product::<usize>();
    let fits = groups > 0 && channels.is_multiple_of(groups);
    if !fits || scale.len() != channels || bias.len() != channels {
        return Err(invalid(format!("{groups} groups of {channels} channels")));
    }
    with_real!("normalisation", x.dtype, T => {
        let (scale, bias) = (scale.values::<T>(), bias.values::<T>());
        let (x, epsilon) = (x.values::<T>(), T::of(epsilon));
        let members = channels / groups;
        parallel::rows(out.values::<T>(), members * plane, 4 * members * plane, |row, out| {
            let x = &x[row * members * plane..][..members * plane];
            let (mean, variance) = moments(x);
            let inverse = T::ONE / (variance + epsilon).sqrt();
            for (member, (out, x)) in out.chunks_mut(plane).zip(x.chunks(plane)).enumerate() {
                let channel = row % groups * members + member;
                let factor = scale[channel] * inverse;
                scale_row(x, out, factor, bias[channel] - mean * factor);
            }
        });
        Ok(())
    })
}

/// Computes [`sublet_graph::Op::LayerNorm`]: x, scale, bias (optional). Outputs: y, mean, inverse standard deviation.
pub fn layer(
    from: i64,
    epsilon: f32,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, scale) = (input(inputs, 0)?, input(inputs, 1)?);
    let bias = inputs.get(2).copied().flatten();
    let shape = &x.shape[axis(from, x.rank())?..];
    let len = shape.iter().product::<usize>();
    with_real!("LayerNormalization", x.dtype, T => {
        let scale = spread::<T>(scale, shape)?;
        let bias = bias.map(|bias| spread::<T>(bias, shape)).transpose()?;
        let (x, epsilon) = (x.values::<T>(), T::of(epsilon));
        let rows = x.len().checked_div(len).unwrap_or(0);
        let mut statistics = vec![(T::ZERO, T::ZERO); rows];
        parallel::rows(&mut statistics, 1, 4 * len, |row, statistics| {
            let (mean, variance) = moments(&x[row * len..][..len]);
            statistics[0] = (mean, T::ONE / (variance + epsilon).sqrt());
        });
        if let Some(out) = outputs.first_mut().and_then(Option::as_mut) {
            parallel::rows(out.values::<T>(), len, 4 * len, |row, out| {
                let (mean, inverse) = statistics[row];
                let x = &x[row * len..][..len];
                affine_row(x, out, (mean, inverse), &scale, bias.as_deref());
            });
        }
        for (index, out) in outputs.iter_mut().enumerate().skip(1) {
            if let Some(out) = out {
                let pick = |&(mean, inverse): &(T, T)| if index == 1 { mean } else { inverse };
                let out = out.values::<T>().iter_mut();
                out.zip(&statistics).for_each(|(out, both)| *out = pick(both));
            }
        }
        Ok(())
    })
}

/// Computes [`sublet_graph::Op::RmsNorm`]: x, scale.
pub fn rms(
    from: i64,
    epsilon: f32,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, scale) = (input(inputs, 0)?, input(inputs, 1)?);
    let out = output(outputs, 0)?;
    let shape = &x.shape[axis(from, x.rank())?..];
    let len = shape.iter().product::<usize>();
    with_real!("RMSNormalization", x.dtype, T => {
        let scale = spread::<T>(scale, shape)?;
        let (x, epsilon) = (x.values::<T>(), T::of(epsilon));
        parallel::rows(out.values::<T>(), len, 4 * len, |row, out| {
            let x = &x[row * len..][..len];
            let squares = vectorise_for::<T, _>(#[inline(always)] || sum_of(x, #[inline(always)] |x| x * x));
            let inverse = T::ONE / (squares / T::from_f64(len as f64) + epsilon).sqrt();
            affine_row(x, out, (T::ZERO, inverse), &scale, None);
        });
        Ok(())
    })
}

/// Computes [`sublet_graph::Op::LpNormalization`]; where the norm is zero, so is the result.
pub fn lp(
    along: i64,
    p: i64,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    let (_, len, inner) = around(x.shape, axis(along, x.rank())?);
    with_real!("LpNormalization", x.dtype, T => {
        let norm = Norm::<T>::new(p);
        let x = x.values::<T>();
        parallel::rows(out.values::<T>(), len * inner, 4 * len * inner, |row, out| {
            let x = &x[row * len * inner..][..len * inner];
            let mut sums = vec![T::ZERO; inner];
            for x in x.chunks(inner) {
                sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += norm.power(x));
            }
            sums.iter_mut().for_each(|sum| *sum = norm.root(*sum));
            for (out, x) in out.chunks_mut(inner).zip(x.chunks(inner)) {
                for ((out, &x), &norm) in out.iter_mut().zip(x).zip(&sums) {
                    *out = if norm == T::ZERO { T::ZERO } else { x / norm };
                }
            }
        });
        Ok(())
    })
}

/// Computes [`sublet_graph::Op::MeanVarianceNormalization`]: `(x − mean) / (deviation + 1e-9)` over the axes together.
pub fn mean_variance(
    axes: &[i64],
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    let over: Vec<usize> = axes.iter().map(|&a| axis(a, x.rank())).collect::<Result<_, _>>()?;
    // Which group each element belongs to: its position along the axes that stay.
    let mut group_of = vec![0usize; x.len()];
    let mut groups = 1;
    for (at, &size) in x.shape.iter().enumerate() {
        if over.contains(&at) {
            continue;
        }
        let (_, _, inner) = around(x.shape, at);
        for (index, group) in group_of.iter_mut().enumerate() {
            *group = *group * size + index / inner % size;
        }
        groups *= size;
    }
    with_real!("MeanVarianceNormalization", x.dtype, T => {
        let x = x.values::<T>();
        let count = T::from_f64(x.len() as f64 / groups.max(1) as f64);
        let mut means = vec![T::ZERO; groups];
        let mut deviations = vec![T::ZERO; groups];
        x.iter().zip(&group_of).for_each(|(&x, &group)| means[group] += x);
        means.iter_mut().for_each(|mean| *mean /= count);
        for (&x, &group) in x.iter().zip(&group_of) {
            deviations[group] += (x - means[group]) * (x - means[group]);
        }
        let tiny = T::from_f64(1e-9);
        deviations.iter_mut().for_each(|sum| *sum = (*sum / count).sqrt() + tiny);
        for ((out, &x), &group) in out.values::<T>().iter_mut().zip(x).zip(&group_of) {
            *out = (x - means[group]) / deviations[group];
        }
        Ok(())
    })
}

/// Computes [`sublet_graph::Op::Lrn`]: `x / (bias + alpha / size · Σ x²)^beta` over neighbouring channels.
pub fn local_response(
    (alpha, beta, bias): (f32, f32, f32),
    size: usize,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    if x.rank() < 2 || size == 0 {
        return Err(invalid(format!("LRN of size {size} over shape {:?}", x.shape)));
    }
    let channels = x.shape[1];
    let plane = x.shape[2..].iter().product::<usize>();
    with_real!("LRN", x.dtype, T => {
        let (alpha, beta, bias) = (T::of(alpha) / T::from_f64(size as f64), T::of(beta), T::of(bias));
        let x = x.values::<T>();
        parallel::rows(out.values::<T>(), plane, 16 * plane, |row, out| {
            let (image, channel) = (row / channels, row % channels);
            let first = channel.saturating_sub((size - 1) / 2);
            let last = (channel + size / 2).min(channels - 1);
            let mut sums = vec![T::ZERO; plane];
            for neighbour in first..=last {
                let x = &x[(image * channels + neighbour) * plane..][..plane];
                sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x * x);
            }
            let x = &x[row * plane..][..plane];
            for ((out, &x), &sum) in out.iter_mut().zip(x).zip(&sums) {
                *out = x / (bias + alpha * sum).powf(beta);
            }
        });
        Ok(())
    })
}

/// Mean and variance, in two passes.
fn moments<T: Real>(x: &[T]) -> (T, T) {
    vectorise_for::<T, _>(
        #[inline(always)]
        || {
            let count = T::from_f64(x.len() as f64);
            let mean = sum_of(
                x,
                #[inline(always)]
                |x| x,
            ) / count;
            let squares = sum_of(
                x,
                #[inline(always)]
                |x: T| (x - mean) * (x - mean),
            );
            (mean, squares / count)
        },
    )
}

fn scale_row<T: Real>(x: &[T], out: &mut [T], factor: T, shift: T) {
    vectorise_for::<T, _>(
        #[inline(always)]
        || {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = x * factor + shift;
            }
        },
    );
}

/// `(x − mean) · inverse · scale + bias`.
fn affine_row<T: Real>(
    x: &[T],
    out: &mut [T],
    (mean, inverse): (T, T),
    scale: &[T],
    bias: Option<&[T]>,
) {
    vectorise_for::<T, _>(
        #[inline(always)]
        || {
            let pairs = out.iter_mut().zip(x.iter().zip(scale));
            match bias {
                Some(bias) => {
                    for ((out, (&x, &scale)), &bias) in pairs.zip(bias) {
                        *out = (x - mean) * inverse * scale + bias;
                    }
                }
                None => {
                    for (out, (&x, &scale)) in pairs {
                        *out = (x - mean) * inverse * scale;
                    }
                }
            }
        },
    );
}

/// The values broadcast to `shape`.
fn spread<T: Real>(view: View<'_>, shape: &[usize]) -> Result<Vec<T>, KernelError> {
    let len = shape.iter().product::<usize>();
    if view.len() == len {
        return Ok(view.values::<T>().to_vec());
    }
    let mut out = vec![T::ZERO; len];
    let walk = Walk::new(shape, [view.shape, &[]])?;
    map2(&walk, view.values::<T>(), &[T::ZERO], &mut out, |x, _| x);
    Ok(out)
}

/// Statistics may have another floating-point type than the data.
fn reals<T: Real>(view: View<'_>) -> Result<Vec<T>, KernelError> {
    with_real!("statistics", view.dtype, S => {
        Ok(view.values::<S>().iter().map(|&x| T::from_f64(x.to_f64())).collect())
    })
}
