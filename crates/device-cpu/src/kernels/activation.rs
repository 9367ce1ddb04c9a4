//! What fused products apply to their results, in place and while the values are in the cache.

use super::element::Real;
use super::simd::vectorise_for;
use sublet_graph::Activation;

/// Applies `activation` to every value.
pub fn apply<T: Real>(activation: Activation, values: &mut [T]) {
    if activation == Activation::None {
        return;
    }
    vectorise_for::<T, _>(
        #[inline(always)]
        || transform(activation, values),
    );
}

#[inline(always)]
fn transform<T: Real>(activation: Activation, values: &mut [T]) {
    // A loop in place, not a closure, so that it is compiled for the instruction set of its caller.
    macro_rules! each {
        (|$x:ident| $result:expr) => {
            for value in values {
                let $x = *value;
                *value = $result;
            }
        };
    }
    let of = T::of;
    match activation {
        Activation::None => {}
        Activation::Relu => each!(|x| if x < T::ZERO { T::ZERO } else { x }),
        Activation::Clip { low, high } => {
            let (low, high) = (of(low), of(high));
            each!(|x| clip(x, low, high));
        }
        Activation::LeakyRelu { alpha } => {
            let alpha = of(alpha);
            each!(|x| if x < T::ZERO { alpha * x } else { x });
        }
        Activation::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            each!(|x| hard_sigmoid(x, alpha, beta));
        }
        Activation::HardSwish => {
            let (alpha, beta) = (of(1.0) / of(6.0), of(0.5));
            each!(|x| x * hard_sigmoid(x, alpha, beta));
        }
        Activation::Sigmoid => each!(|x| sigmoid(x)),
        Activation::Tanh => each!(|x| x.tanh()),
        Activation::Gelu { tanh: false } => each!(|x| gelu(x)),
        Activation::Gelu { tanh: true } => each!(|x| gelu_tanh(x)),
        Activation::Swish { alpha } => {
            let alpha = of(alpha);
            each!(|x| x * sigmoid(alpha * x));
        }
    }
}

/// `min(high, max(low, x))`; NaN stays NaN.
#[inline(always)]
pub fn clip<T: PartialOrd>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

/// `max(0, min(1, αx + β))`.
#[inline(always)]
pub fn hard_sigmoid<T: Real>(x: T, alpha: T, beta: T) -> T {
    clip(alpha * x + beta, T::ZERO, T::ONE)
}

/// `x · Φ(x)`, by the error function.
#[inline(always)]
pub fn gelu<T: Real>(x: T) -> T {
    let half = T::of(0.5);
    half * x * (T::ONE + (x * half.sqrt()).erf())
}

/// The approximation of [`gelu`] by a hyperbolic tangent.
#[inline(always)]
pub fn gelu_tanh<T: Real>(x: T) -> T {
    let scale = T::from_f64(std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
    let inner = scale * (x + T::from_f64(0.044_715) * x * x * x);
    T::of(0.5) * x * (T::ONE + inner.tanh())
}
