//! When two tensors count as equal.

use sublet_graph::{DType, Literal};

/// As `numpy.allclose`: `|got − want| ≤ absolute + relative·|want|`, NaN equals NaN. For `f32` and `f64`, `absolute`
/// is at least one rounding of the tensor's largest element: a sum of such elements that cancels cannot be known
/// better.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

/// The first difference beyond the tolerance, in words; `None` when there is none. Types and shapes must agree.
pub fn difference(got: &Literal, want: &Literal, tolerance: Tolerance) -> Option<String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Some(format!(
            "got {}{:?}, expected {}{:?}",
            got.dtype(),
            got.shape(),
            want.dtype(),
            want.shape()
        ));
    }
    if !got.dtype().is_float() {
        let (got, want) = (integers(got), integers(want));
        let index = got.iter().zip(&want).position(|(got, want)| got != want)?;
        return Some(format!("element {index} is {}, expected {}", got[index], want[index]));
    }
    let rounding = match want.dtype() {
        DType::F32 => f64::from(f32::EPSILON),
        DType::F64 => f64::EPSILON,
        _ => 0.0,
    };
    let (got, want) = (floats(got), floats(want));
    let finite = want.iter().map(|want| want.abs()).filter(|want| want.is_finite());
    let absolute = tolerance.absolute.max(rounding * finite.fold(0.0, f64::max));
    let tolerance = Tolerance { absolute, ..tolerance };
    let index = got.iter().zip(&want).position(|(&got, &want)| !close(got, want, tolerance))?;
    Some(format!("element {index} is {}, expected {}", got[index], want[index]))
}

fn close(got: f64, want: f64, tolerance: Tolerance) -> bool {
    if got.is_nan() || want.is_nan() || got.is_infinite() || want.is_infinite() {
        return got == want || (got.is_nan() && want.is_nan());
    }
    (got - want).abs() <= tolerance.absolute + tolerance.relative * want.abs()
}

/// `‖got − want‖ ÷ ‖want‖` in the Euclidean norm; infinite when types or shapes differ or a value is not finite
/// on one side only. Integers count as their values.
pub fn relative_difference(got: &Literal, want: &Literal) -> f64 {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return f64::INFINITY;
    }
    let values = |literal: &Literal| match literal.dtype().is_float() {
        true => floats(literal),
        false => integers(literal).into_iter().map(|value| value as f64).collect(),
    };
    let (mut error, mut norm) = (0.0, 0.0);
    for (got, want) in values(got).into_iter().zip(values(want)) {
        if got == want || (got.is_nan() && want.is_nan()) {
            norm += if want.is_finite() { want * want } else { 0.0 };
            continue;
        }
        error += (got - want) * (got - want);
        norm += want * want;
    }
    if error == 0.0 {
        return 0.0;
    }
    let ratio = (error / norm).sqrt();
    if ratio.is_nan() { f64::INFINITY } else { ratio }
}

fn floats(literal: &Literal) -> Vec<f64> {
    match literal.dtype() {
        DType::F64 => literal.to_vec(),
        _ => literal.to_f32s().expect("a floating-point type").into_iter().map(f64::from).collect(),
    }
}

fn integers(literal: &Literal) -> Vec<i128> {
    fn wide<T: bytemuck::Pod + Into<i128>>(literal: &Literal) -> Vec<i128> {
        literal.to_vec::<T>().into_iter().map(Into::into).collect()
    }
    match literal.dtype() {
        DType::I8 => wide::<i8>(literal),
        DType::I16 => wide::<i16>(literal),
        DType::I32 => wide::<i32>(literal),
        DType::I64 => wide::<i64>(literal),
        DType::U8 | DType::Bool => wide::<u8>(literal),
        DType::U16 => wide::<u16>(literal),
        DType::U32 => wide::<u32>(literal),
        DType::U64 => wide::<u64>(literal),
        DType::F32 | DType::F16 | DType::BF16 | DType::F64 => unreachable!("a floating-point type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-7 };

    #[test]
    fn finds_differences_and_forgives_rounding() {
        let want = Literal::f32(&[2], &[1.0, f32::NAN]);
        assert_eq!(difference(&Literal::f32(&[2], &[1.0005, f32::NAN]), &want, NODE), None);
        assert!(
            difference(&Literal::f32(&[2], &[1.1, f32::NAN]), &want, NODE)
                .unwrap()
                .contains("element 0")
        );
        assert!(difference(&Literal::f32(&[2], &[1.0, 0.0]), &want, NODE).is_some());
        assert!(difference(&Literal::f32(&[1, 2], &[1.0, f32::NAN]), &want, NODE).is_some());
        assert!(difference(&Literal::i64(&[1], &[3]), &Literal::i64(&[1], &[4]), NODE).is_some());
    }

    #[test]
    fn measures_the_relative_norm() {
        let want = Literal::f32(&[2], &[3.0, 4.0]);
        assert_eq!(relative_difference(&want, &want), 0.0);
        assert!((relative_difference(&Literal::f32(&[2], &[3.0, 4.5]), &want) - 0.1).abs() < 1e-9);
        assert_eq!(
            relative_difference(&Literal::f32(&[2], &[3.0, f32::NAN]), &want),
            f64::INFINITY
        );
    }
}
