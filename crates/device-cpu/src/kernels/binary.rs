//! Functions of two elements, with broadcasting: arithmetic, logic, bits and comparisons.

use super::broadcast::{Walk, map2};
use super::element::{Arithmetic, unsupported_type, with_arithmetic};
use super::operands::{input, invalid, output};
use crate::{KernelError, View, ViewMut};
use sublet_graph::{Binary, Compare, DType};

/// Computes [`sublet_graph::Op::Binary`].
pub fn run(
    binary: Binary,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let out = output(outputs, 0)?;
    if binary == Binary::Pow {
        return power(a, b, out);
    }
    if a.dtype != b.dtype {
        return Err(invalid(format!("{binary:?} of {} and {}", a.dtype, b.dtype)));
    }
    let walk = Walk::new(out.shape, [a.shape, b.shape])?;
    match binary {
        Binary::And | Binary::Or | Binary::Xor => logic(binary, &walk, a, b, out),
        Binary::BitwiseAnd | Binary::BitwiseOr | Binary::BitwiseXor => {
            bits(binary, &walk, a, b, out)
        }
        Binary::BitShift { left } => shift(left, &walk, a, b, out),
        _ => with_arithmetic!(&format!("{binary:?}"), a.dtype, T => {
            arithmetic::<T>(binary, a.dtype, &walk, a.values(), b.values(), out.values())
        }),
    }
}

/// Computes [`sublet_graph::Op::Compare`].
pub fn compare(
    compare: Compare,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let out = output(outputs, 0)?;
    if a.dtype != b.dtype {
        return Err(invalid(format!("{compare:?} of {} and {}", a.dtype, b.dtype)));
    }
    let walk = Walk::new(out.shape, [a.shape, b.shape])?;
    let dtype = if a.dtype == DType::Bool { DType::U8 } else { a.dtype };
    with_arithmetic!("comparison", dtype, T => {
        let (a, b, out) = (a.values::<T>(), b.values::<T>(), out.values::<u8>());
        match compare {
            Compare::Equal => map2(&walk, a, b, out, #[inline(always)] |a, b| u8::from(a == b)),
            Compare::Less => map2(&walk, a, b, out, #[inline(always)] |a, b| u8::from(a < b)),
            Compare::LessOrEqual => {
                map2(&walk, a, b, out, #[inline(always)] |a, b| u8::from(a <= b));
            }
            Compare::Greater => map2(&walk, a, b, out, #[inline(always)] |a, b| u8::from(a > b)),
            Compare::GreaterOrEqual => {
                map2(&walk, a, b, out, #[inline(always)] |a, b| u8::from(a >= b));
            }
        }
        Ok(())
    })
}

fn arithmetic<T: Arithmetic>(
    binary: Binary,
    dtype: DType,
    walk: &Walk<2>,
    a: &[T],
    b: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    let divides = matches!(binary, Binary::Div | Binary::Mod { .. });
    if divides && dtype.is_int() && !out.is_empty() && b.contains(&T::ZERO) {
        return Err(invalid(format!("{binary:?} of {dtype} by zero")));
    }
    macro_rules! map {
        ($f:expr) => {
            map2(
                walk,
                a,
                b,
                out,
                #[inline(always)]
                $f,
            )
        };
    }
    match binary {
        Binary::Add => map!(|a: T, b| a.add(b)),
        Binary::Sub => map!(|a: T, b| a.sub(b)),
        Binary::Mul => map!(|a: T, b| a.mul(b)),
        Binary::Div => map!(|a: T, b| a.div(b)),
        Binary::Mod { fmod: true } => map!(|a: T, b| a.remainder(b)),
        Binary::Mod { fmod: false } => map!(|a: T, b| a.modulo(b)),
        Binary::Min => map!(|a: T, b| a.smaller(b)),
        Binary::Max => map!(|a: T, b| a.larger(b)),
        Binary::PRelu => map!(|a: T, b: T| if a < T::ZERO { a.mul(b) } else { a }),
        _ => unreachable!("{binary:?} is not arithmetic"),
    }
    Ok(())
}

/// The result has the base's type; the exponent may have another one.
fn power(base: View<'_>, exponent: View<'_>, out: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let walk = Walk::new(out.shape, [base.shape, exponent.shape])?;
    if base.dtype == DType::F32 && exponent.len() == 1 {
        let only = with_arithmetic!("Pow exponent", exponent.dtype, E => {
            Ok(exponent.values::<E>()[0].to_f64())
        })?;
        let (x, out) = (base.values::<f32>(), out.values::<f32>());
        if x.len() == out.len() && power_by(only, x, out) {
            return Ok(());
        }
    }
    let exponents: Vec<f64> = with_arithmetic!("Pow exponent", exponent.dtype, E => {
        Ok(exponent.values::<E>().iter().map(|&e| e.to_f64()).collect())
    })?;
    with_arithmetic!("Pow", base.dtype, T => {
        map2(&walk, base.values::<T>(), &exponents, out.values::<T>(), |x: T, e| x.power(e));
        Ok(())
    })
}

/// Powers that are products or roots. False when `exponent` is none of them.
fn power_by(exponent: f64, x: &[f32], out: &mut [f32]) -> bool {
    use super::broadcast::map1;
    if exponent == 2.0 {
        map1(
            x,
            out,
            #[inline(always)]
            |x| x * x,
        );
    } else if exponent == 3.0 {
        map1(
            x,
            out,
            #[inline(always)]
            |x| x * x * x,
        );
    } else if exponent == 1.0 {
        out.copy_from_slice(x);
    } else {
        return false;
    }
    true
}

fn logic(
    binary: Binary,
    walk: &Walk<2>,
    a: View<'_>,
    b: View<'_>,
    out: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    if a.dtype != DType::Bool {
        return unsupported_type(&format!("{binary:?}"), a.dtype);
    }
    let (a, b, out) = (a.values::<u8>(), b.values::<u8>(), out.values::<u8>());
    let truth = |x: u8| x != 0;
    match binary {
        Binary::And => map2(walk, a, b, out, |a, b| u8::from(truth(a) & truth(b))),
        Binary::Or => map2(walk, a, b, out, |a, b| u8::from(truth(a) | truth(b))),
        _ => map2(walk, a, b, out, |a, b| u8::from(truth(a) ^ truth(b))),
    }
    Ok(())
}

fn bits(
    binary: Binary,
    walk: &Walk<2>,
    a: View<'_>,
    b: View<'_>,
    out: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    if !a.dtype.is_int() {
        return unsupported_type(&format!("{binary:?}"), a.dtype);
    }
    macro_rules! bits {
        ($T:ty) => {{
            let (a, b, out) = (a.values::<$T>(), b.values::<$T>(), out.values::<$T>());
            match binary {
                Binary::BitwiseAnd => map2(walk, a, b, out, |a, b| a & b),
                Binary::BitwiseOr => map2(walk, a, b, out, |a, b| a | b),
                _ => map2(walk, a, b, out, |a, b| a ^ b),
            }
        }};
    }
    match a.dtype.size() {
        1 => bits!(u8),
        2 => bits!(u16),
        4 => bits!(u32),
        _ => bits!(u64),
    }
    Ok(())
}

/// Shifting by the width of the type or more gives zero.
fn shift(
    left: bool,
    walk: &Walk<2>,
    a: View<'_>,
    b: View<'_>,
    out: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    macro_rules! shift {
        ($T:ty) => {{
            let (a, b, out) = (a.values::<$T>(), b.values::<$T>(), out.values::<$T>());
            let amount = |by: $T| u32::try_from(by).unwrap_or(u32::MAX);
            if left {
                map2(walk, a, b, out, |a, b| a.checked_shl(amount(b)).unwrap_or(0));
            } else {
                map2(walk, a, b, out, |a, b| a.checked_shr(amount(b)).unwrap_or(0));
            }
        }};
    }
    match a.dtype {
        DType::U8 => shift!(u8),
        DType::U16 => shift!(u16),
        DType::U32 => shift!(u32),
        DType::U64 => shift!(u64),
        other => return unsupported_type("BitShift", other),
    }
    Ok(())
}
