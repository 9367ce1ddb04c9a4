//! Window functions of signal processing and the mel filter bank.

use super::element::{Arithmetic, with_arithmetic};
use super::operands::{floats, input, integer, invalid, store_floats};
use crate::{KernelError, View, ViewMut};
use std::f64::consts::PI;
use sublet_graph::DType;

/// Coefficients of `a₀ + a₁ cos(2πn/N) + a₂ cos(4πn/N)`.
pub const HANN: [f64; 3] = [0.5, -0.5, 0.0];
pub const HAMMING: [f64; 3] = [25.0 / 46.0, -21.0 / 46.0, 0.0];
pub const BLACKMAN: [f64; 3] = [0.42, -0.5, 0.08];

/// A cosine-sum window as long as `y`; the period is its length, or one less when symmetric.
pub fn cosine_sum(
    coefficients: [f64; 3],
    periodic: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let len = y.len();
    let period = if periodic { len } else { len.saturating_sub(1) };
    let [constant, first, second] = coefficients;
    let value = |index: usize| {
        if period == 0 {
            return 1.0;
        }
        let angle = 2.0 * PI * index as f64 / period as f64;
        constant + first * angle.cos() + second * (2.0 * angle).cos()
    };
    store_values(y, &(0..len).map(value).collect::<Vec<_>>())
}

/// Inputs as ONNX: mel bins, DFT length, sample rate, lower and upper edge in hertz.
/// `y` is `[dft length / 2 + 1, mel bins]`: triangles that overlap by half on the mel scale `2595 log₁₀(1 + f/700)`.
pub fn mel_weight_matrix(
    inputs: &[Option<View<'_>>],
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let dft_length = integer(input(inputs, 1)?)? as f64;
    let sample_rate = integer(input(inputs, 2)?)? as f64;
    let edge = |index: usize| -> Result<f64, KernelError> {
        match floats(input(inputs, index)?)?.as_ref() {
            [edge] => Ok(2595.0 * (1.0 + f64::from(*edge) / 700.0).log10()),
            _ => Err(invalid("an edge frequency is one number")),
        }
    };
    let (low, high) = (edge(3)?, edge(4)?);
    let &[spectrum, mels] = y.shape else {
        return Err(invalid(format!("{:?} is not a matrix", y.shape)));
    };
    let step = (high - low) / (mels + 2) as f64;
    let bins: Vec<i64> = (0..mels + 2)
        .map(|index| {
            let hertz = 700.0 * (10f64.powf((index as f64 * step + low) / 2595.0) - 1.0);
            ((dft_length + 1.0) * hertz / sample_rate).floor() as i64
        })
        .collect();
    let inside = bins.iter().all(|&bin| (0..spectrum as i64).contains(&bin));
    if mels > 0 && !(inside && bins.is_sorted()) {
        return Err(invalid("the mel bands do not lie within the spectrum"));
    }
    let mut weights = vec![0.0; spectrum * mels];
    for mel in 0..mels {
        let (left, centre, right) =
            (bins[mel] as usize, bins[mel + 1] as usize, bins[mel + 2] as usize);
        if left == centre {
            weights[centre * mels + mel] = 1.0;
        } else {
            for bin in left..=centre {
                weights[bin * mels + mel] = (bin - left) as f64 / (centre - left) as f64;
            }
        }
        for bin in centre..right {
            weights[bin * mels + mel] = (right - bin) as f64 / (right - centre) as f64;
        }
    }
    store_values(y, &weights)
}

/// Integer types take the truncated values.
fn store_values(y: &mut ViewMut<'_>, values: &[f64]) -> Result<(), KernelError> {
    if matches!(y.dtype, DType::F16 | DType::BF16) {
        let singles: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        return store_floats(y, &singles);
    }
    with_arithmetic!("a window", y.dtype, T => {
        let pairs = y.values::<T>().iter_mut().zip(values);
        pairs.for_each(|(y, &value)| *y = T::from_f64(value));
        Ok(())
    })
}
