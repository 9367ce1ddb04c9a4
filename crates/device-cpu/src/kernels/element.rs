//! What kernels ask of element types, and choosing a Rust type for a [`DType`].
//!
//! `f16` and `bf16` are absent: [`super::halves`] computes them in `f32`.

use super::math;
use crate::KernelError;
use bytemuck::Pod;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};
use sublet_graph::DType;

/// A type of numbers with the arithmetic of ONNX: integers wrap, minimum and maximum propagate NaN.
pub trait Arithmetic: Pod + PartialOrd + Default + Send + Sync {
    const ZERO: Self;
    const ONE: Self;
    /// Whether plain loops over this type are compiled again for each instruction set: worth its code size for `f32`.
    const VECTORISED: bool;

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// Integers truncate; an integer divisor must not be zero.
    fn div(self, other: Self) -> Self;
    /// The remainder with the sign of `self`; an integer divisor must not be zero.
    fn remainder(self, other: Self) -> Self;
    /// The remainder with the sign of `other`; an integer divisor must not be zero.
    fn modulo(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn power(self, exponent: f64) -> Self;
    fn absolute(self) -> Self;
    fn negate(self) -> Self;
    fn sign(self) -> Self;
    /// Saturates; NaN becomes zero.
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
}

/// `f32` and `f64`.
pub trait Real:
    Arithmetic
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
{
    const NEG_INFINITY: Self;

    fn of(value: f32) -> Self;
    fn exp(self) -> Self;
    fn exp_minus_1(self) -> Self;
    fn ln(self) -> Self;
    fn ln_1_plus(self) -> Self;
    fn sqrt(self) -> Self;
    fn tanh(self) -> Self;
    fn erf(self) -> Self;
    fn powf(self, exponent: Self) -> Self;
    fn round_ties_even(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
}

macro_rules! integer {
    ($signed:tt: $($T:ty),*) => {$(
        impl Arithmetic for $T {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const VECTORISED: bool = false;

            #[inline(always)]
            fn add(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)]
            fn div(self, other: Self) -> Self { self.wrapping_div(other) }
            #[inline(always)]
            fn remainder(self, other: Self) -> Self { self.wrapping_rem(other) }
            #[inline(always)]
            fn modulo(self, other: Self) -> Self {
                let rest = self.wrapping_rem(other);
                let differs = integer!(@negative $signed rest) != integer!(@negative $signed other);
                if rest != 0 && differs { rest.wrapping_add(other) } else { rest }
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self { Ord::min(self, other) }
            #[inline(always)]
            fn larger(self, other: Self) -> Self { Ord::max(self, other) }
            #[inline(always)]
            fn power(self, exponent: f64) -> Self {
                if (0.0..=63.0).contains(&exponent) && exponent.fract() == 0.0 {
                    return self.wrapping_pow(exponent as u32);
                }
                (self as f64).powf(exponent) as $T
            }
            #[inline(always)]
            fn absolute(self) -> Self { integer!(@absolute $signed self) }
            #[inline(always)]
            fn negate(self) -> Self { self.wrapping_neg() }
            #[inline(always)]
            fn sign(self) -> Self { integer!(@sign $signed self) }
            #[inline(always)]
            fn from_f64(value: f64) -> Self { value as $T }
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
        }
    )*};
    (@negative signed $x:ident) => { $x < 0 };
    (@negative unsigned $x:ident) => { { let _ = $x; false } };
    (@absolute signed $x:ident) => { $x.wrapping_abs() };
    (@absolute unsigned $x:ident) => { $x };
    (@sign signed $x:ident) => { $x.signum() };
    (@sign unsigned $x:ident) => { Ord::min($x, 1) };
}

integer!(signed: i8, i16, i32, i64);
integer!(unsigned: u8, u16, u32, u64);

macro_rules! real {
    ($T:ident, $vectorised:literal, $exp:expr, $tanh:expr, $erf:expr) => {
        impl Arithmetic for $T {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const VECTORISED: bool = $vectorised;

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn remainder(self, other: Self) -> Self {
                self % other
            }
            #[inline(always)]
            fn modulo(self, other: Self) -> Self {
                let rest = self % other;
                if rest != 0.0 && (rest < 0.0) != (other < 0.0) { rest + other } else { rest }
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                if self < other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn power(self, exponent: f64) -> Self {
                $T::powf(self, exponent as $T)
            }
            #[inline(always)]
            fn absolute(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn negate(self) -> Self {
                -self
            }
            #[inline(always)]
            fn sign(self) -> Self {
                if self > 0.0 {
                    1.0
                } else if self < 0.0 {
                    -1.0
                } else {
                    self
                }
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $T
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }

        impl Real for $T {
            const NEG_INFINITY: Self = $T::NEG_INFINITY;

            #[inline(always)]
            fn of(value: f32) -> Self {
                $T::from(value)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn exp_minus_1(self) -> Self {
                self.exp_m1()
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $T::ln(self)
            }
            #[inline(always)]
            fn ln_1_plus(self) -> Self {
                self.ln_1p()
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $T::sqrt(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                $T::powf(self, exponent)
            }
            #[inline(always)]
            fn round_ties_even(self) -> Self {
                $T::round_ties_even(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $T::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                $T::ceil(self)
            }
        }
    };
}

real!(f32, true, math::exp, math::tanh, math::erf);
real!(f64, false, f64::exp, f64::tanh, math::erf_f64);

/// The error for an element type that a kernel does not compute.
pub fn unsupported_type<T>(what: &str, dtype: DType) -> Result<T, KernelError> {
    Err(KernelError::Unsupported(format!("{what} of {dtype}")))
}

/// `body` with `$T` the Rust type of a number type; an error naming `$what` otherwise.
macro_rules! with_arithmetic {
    ($what:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            sublet_graph::DType::I8 => {
                type $T = i8;
                $body
            }
            sublet_graph::DType::I16 => {
                type $T = i16;
                $body
            }
            sublet_graph::DType::U8 => {
                type $T = u8;
                $body
            }
            sublet_graph::DType::U16 => {
                type $T = u16;
                $body
            }
            dtype => $crate::kernels::element::with_wide!($what, dtype, $T => $body),
        }
    };
}

/// As [`with_arithmetic!`] for the types that ONNX multiplies matrices in: not the 8-bit and 16-bit integers.
macro_rules! with_wide {
    ($what:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            sublet_graph::DType::I32 => {
                type $T = i32;
                $body
            }
            sublet_graph::DType::I64 => {
                type $T = i64;
                $body
            }
            sublet_graph::DType::U32 => {
                type $T = u32;
                $body
            }
            sublet_graph::DType::U64 => {
                type $T = u64;
                $body
            }
            dtype => $crate::kernels::element::with_real!($what, dtype, $T => $body),
        }
    };
}

/// As [`with_arithmetic!`] for floating point alone.
macro_rules! with_real {
    ($what:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            sublet_graph::DType::F32 => {
                type $T = f32;
                $body
            }
            sublet_graph::DType::F64 => {
                type $T = f64;
                $body
            }
            dtype => $crate::kernels::element::unsupported_type($what, dtype),
        }
    };
}

pub(crate) use {with_arithmetic, with_real, with_wide};
