//! Functions of one element.

use super::activation::{gelu, gelu_tanh, hard_sigmoid, sigmoid};
use super::broadcast::map1;
use super::element::{Arithmetic, Real, unsupported_type, with_arithmetic, with_real};
use super::operands::{input, output};
use crate::{KernelError, View, ViewMut};
use bytemuck::Pod;
use sublet_graph::{DType, Unary};

/// Computes [`sublet_graph::Op::Unary`].
pub fn run(
    unary: Unary,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    match unary {
        Unary::Not => map1(x.values::<u8>(), out.values::<u8>(), |x| u8::from(x == 0)),
        Unary::BitwiseNot => match x.dtype.size() {
            _ if !x.dtype.is_int() => return unsupported_type("BitwiseNot", x.dtype),
            1 => map1(x.values::<u8>(), out.values::<u8>(), |x| !x),
            2 => map1(x.values::<u16>(), out.values::<u16>(), |x| !x),
            4 => map1(x.values::<u32>(), out.values::<u32>(), |x| !x),
            _ => map1(x.values::<u64>(), out.values::<u64>(), |x| !x),
        },
        Unary::IsNaN => with_real!("IsNaN", x.dtype, T => {
            map1(x.values::<T>(), out.values::<u8>(), |x| u8::from(x.is_nan()));
            Ok(())
        })?,
        Unary::IsInf { negative, positive } => with_real!("IsInf", x.dtype, T => {
            map1(x.values::<T>(), out.values::<u8>(), |x| {
                u8::from((positive && x == T::INFINITY) || (negative && x == T::NEG_INFINITY))
            });
            Ok(())
        })?,
        Unary::Abs | Unary::Neg | Unary::Sign | Unary::Relu => {
            with_arithmetic!("Abs, Neg, Sign or Relu", x.dtype, T => {
                arithmetic::<T>(unary, x.values(), out.values());
                Ok(())
            })?
        }
        _ if x.dtype == DType::F32 => {
            let (x, out) = (x.values::<f32>(), out.values::<f32>());
            real(unary, x, out);
        }
        _ => with_real!(&format!("{unary:?}"), x.dtype, T => {
            real::<T>(unary, x.values(), out.values());
            Ok(())
        })?,
    }
    Ok(())
}

/// Applies a floating-point function in place, for gates of recurrent layers.
pub fn apply(unary: Unary, values: &mut [f32]) {
    let copy = values.to_vec();
    match unary {
        Unary::Relu | Unary::Abs | Unary::Neg | Unary::Sign => arithmetic(unary, &copy, values),
        _ => real(unary, &copy, values),
    }
}

fn arithmetic<T: Arithmetic>(unary: Unary, x: &[T], out: &mut [T]) {
    match unary {
        Unary::Abs => map1(
            x,
            out,
            #[inline(always)]
            |x| x.absolute(),
        ),
        Unary::Neg => map1(
            x,
            out,
            #[inline(always)]
            |x| x.negate(),
        ),
        Unary::Sign => map1(
            x,
            out,
            #[inline(always)]
            |x| x.sign(),
        ),
        Unary::Relu => map1(
            x,
            out,
            #[inline(always)]
            |x| if x < T::ZERO { T::ZERO } else { x },
        ),
        _ => unreachable!("{unary:?} is a function of real numbers"),
    }
}

/// Formulas as in the ONNX operators' function bodies.
fn real<T: Real + Functions + Pod>(unary: Unary, x: &[T], out: &mut [T]) {
    macro_rules! map {
        ($f:expr) => {
            map1(
                x,
                out,
                #[inline(always)]
                $f,
            )
        };
    }
    let of = T::of;
    match unary {
        Unary::Acos => map!(|x: T| x.acos()),
        Unary::Acosh => map!(|x: T| x.acosh()),
        Unary::Asin => map!(|x: T| x.asin()),
        Unary::Asinh => map!(|x: T| x.asinh()),
        Unary::Atan => map!(|x: T| x.atan()),
        Unary::Atanh => map!(|x: T| x.atanh()),
        Unary::Ceil => map!(|x: T| x.ceil()),
        Unary::Celu { alpha } => {
            let alpha = of(alpha);
            map!(|x: T| if x < T::ZERO { alpha * (x / alpha).exp_minus_1() } else { x })
        }
        Unary::Cos => map!(|x: T| x.cos()),
        Unary::Cosh => map!(|x: T| x.cosh()),
        Unary::Elu { alpha } => {
            let alpha = of(alpha);
            map!(|x: T| if x < T::ZERO { alpha * x.exp_minus_1() } else { x })
        }
        Unary::Erf => map!(|x: T| x.erf()),
        Unary::Exp => map!(|x: T| x.exp()),
        Unary::Floor => map!(|x: T| x.floor()),
        Unary::Gelu { tanh: false } => map!(|x: T| gelu(x)),
        Unary::Gelu { tanh: true } => map!(|x: T| gelu_tanh(x)),
        Unary::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            map!(|x: T| hard_sigmoid(x, alpha, beta))
        }
        Unary::HardSwish => map!(|x: T| x * hard_sigmoid(x, of(1.0) / of(6.0), of(0.5))),
        Unary::LeakyRelu { alpha } => {
            let alpha = of(alpha);
            map!(|x: T| if x < T::ZERO { alpha * x } else { x })
        }
        Unary::Log => map!(|x: T| x.ln()),
        Unary::Mish => map!(|x: T| x * softplus(x).tanh()),
        Unary::Reciprocal => map!(|x: T| T::ONE / x),
        Unary::Round => map!(|x: T| x.round_ties_even()),
        Unary::Selu { alpha, gamma } => {
            let (alpha, gamma) = (of(alpha), of(gamma));
            map!(|x: T| if x > T::ZERO { gamma * x } else { gamma * alpha * x.exp_minus_1() })
        }
        Unary::Shrink { bias, lambd } => {
            let (bias, lambd) = (of(bias), of(lambd));
            map!(|x: T| if x < -lambd {
                x + bias
            } else if x > lambd {
                x - bias
            } else {
                T::ZERO
            })
        }
        Unary::Sigmoid => map!(|x: T| sigmoid(x)),
        Unary::Sin => map!(|x: T| x.sin()),
        Unary::Sinh => map!(|x: T| x.sinh()),
        Unary::Softplus => map!(|x: T| softplus(x)),
        Unary::Softsign => map!(|x: T| x / (T::ONE + x.absolute())),
        Unary::Sqrt => map!(|x: T| x.sqrt()),
        Unary::Swish { alpha } => {
            let alpha = of(alpha);
            map!(|x: T| x * sigmoid(alpha * x))
        }
        Unary::Tan => map!(|x: T| x.tan()),
        Unary::Tanh => map!(|x: T| x.tanh()),
        Unary::ThresholdedRelu { alpha } => {
            let alpha = of(alpha);
            map!(|x: T| if x > alpha { x } else { T::ZERO })
        }
        Unary::Abs | Unary::Neg | Unary::Sign | Unary::Relu => arithmetic(unary, x, out),
        Unary::Not | Unary::BitwiseNot | Unary::IsInf { .. } | Unary::IsNaN => {
            unreachable!("{unary:?} does not compute in real numbers")
        }
    }
}

/// `ln(1 + eˣ)`, written so that nothing overflows.
#[inline(always)]
fn softplus<T: Real>(x: T) -> T {
    let positive = if x < T::ZERO { T::ZERO } else { x };
    positive + (-x.absolute()).exp().ln_1_plus()
}

/// Functions taken from the standard library as they are.
trait Functions {
    fn acos(self) -> Self;
    fn acosh(self) -> Self;
    fn asin(self) -> Self;
    fn asinh(self) -> Self;
    fn atan(self) -> Self;
    fn atanh(self) -> Self;
    fn cos(self) -> Self;
    fn cosh(self) -> Self;
    fn sin(self) -> Self;
    fn sinh(self) -> Self;
    fn tan(self) -> Self;
}

macro_rules! functions {
    ($T:ident: $($name:ident),*) => {
        impl Functions for $T {
            $(
                #[inline(always)]
                fn $name(self) -> Self {
                    $T::$name(self)
                }
            )*
        }
    };
}

functions!(f32: acos, acosh, asin, asinh, atan, atanh, cos, cosh, sin, sinh, tan);
functions!(f64: acos, acosh, asin, asinh, atan, atanh, cos, cosh, sin, sinh, tan);
