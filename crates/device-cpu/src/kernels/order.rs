//! Numbers of any type as integers in the same order, so that searching and sorting exist once.

use super::element::{Arithmetic, with_arithmetic};
use super::operands::floats;
use super::parallel;
use super::simd::vectorise;
use crate::{KernelError, View};
use sublet_graph::DType;

/// One key per element: keys compare as the numbers do, with all NaN equal and above everything, and both zeros equal.
///
/// # Errors
/// None for the types that there are.
pub fn keys(x: View<'_>) -> Result<Vec<i64>, KernelError> {
    let mut keys = vec![0; x.len()];
    match x.dtype {
        DType::Bool => fill(&mut keys, x.bytes, i64::from),
        DType::U64 => fill(&mut keys, x.values::<u64>(), |x| (x ^ (1 << 63)) as i64),
        DType::I64 => keys.copy_from_slice(x.values()),
        DType::F16 | DType::BF16 => fill(&mut keys, &floats(x)?, |x| float_key(f64::from(x))),
        DType::F32 => fill(&mut keys, x.values::<f32>(), |x| float_key(f64::from(x))),
        // Exact: doubles hold all integers of up to 32 bits.
        _ => with_arithmetic!("an order", x.dtype, T => {
            fill(&mut keys, x.values::<T>(), |x| float_key(x.to_f64()));
            Ok(())
        })?,
    }
    Ok(keys)
}

fn fill<T: Copy + Sync>(keys: &mut [i64], x: &[T], key: impl Fn(T) -> i64 + Sync) {
    parallel::chunks(keys, |start, keys| {
        keys.iter_mut().zip(&x[start..]).for_each(|(to, &x)| *to = key(x));
    });
}

/// As [`keys`] for single precision, in half the space.
pub fn narrow_keys(x: &[f32]) -> Vec<i32> {
    let key = |x: f32| {
        let bits = (x + 0.0).to_bits() as i32;
        let ordered = bits ^ ((bits >> 31) as u32 >> 1) as i32;
        if x.is_nan() { i32::MAX } else { ordered }
    };
    let mut keys = vec![0; x.len()];
    parallel::chunks(&mut keys, |start, keys| {
        vectorise(
            #[inline(always)]
            || keys.iter_mut().zip(&x[start..]).for_each(|(to, &x)| *to = key(x)),
        );
    });
    keys
}

/// The bits of a double, with those of negative numbers reversed.
fn float_key(x: f64) -> i64 {
    if x.is_nan() {
        return i64::MAX;
    }
    // Adding zero makes the negative zero positive.
    let bits = (x + 0.0).to_bits() as i64;
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order() {
        let increasing =
            [f32::NEG_INFINITY, -2.0, -1e-40, 0.0, 1e-40, 0.5, f32::INFINITY, f32::NAN];
        let of = |values: &[f32]| {
            let bytes = bytemuck::cast_slice(values);
            keys(View { dtype: DType::F32, shape: &[values.len()], bytes }).unwrap()
        };
        assert!(of(&increasing).is_sorted_by(|a, b| a < b));
        assert_eq!(of(&[-0.0, -f32::NAN]), of(&[0.0, f32::NAN]));
        assert!(narrow_keys(&increasing).is_sorted_by(|a, b| a < b));
        assert_eq!(narrow_keys(&[-0.0, -f32::NAN]), narrow_keys(&[0.0, f32::NAN]));
        let unsigned = [0u64, 1, 1 << 63, u64::MAX];
        let bytes = bytemuck::cast_slice(&unsigned);
        let unsigned = keys(View { dtype: DType::U64, shape: &[4], bytes }).unwrap();
        assert!(unsigned.is_sorted_by(|a, b| a < b));
    }
}
