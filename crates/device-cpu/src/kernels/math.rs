//! Exponential, error function and hyperbolic tangent for `f32`, without branches so that loops over them vectorise.
//!
//! All are within 2 units in the last place of the true value, propagate NaN, and give the same bits wherever an
//! element stands in a slice. `f64` has its own error function here because the standard library has none.

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// `ln 2` in two parts, the first of which has few bits.
const LN_2_HIGH: f32 = 6.931_457_5e-1;
const LN_2_LOW: f32 = 1.428_606_8e-6;
/// `1.5 · 2^23`: adding it rounds to an integer, which then stands in the low bits.
pub const ROUND: f32 = 12_582_912.0;

/// `e^x`. The power of two is split off (Cody and Waite), the rest is a polynomial of degree 6.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these bounds the result is infinite or zero; written so that NaN passes.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let shifted = x.mul_add(LOG2_E, ROUND);
    let power = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let whole = shifted - ROUND;
    let r = whole.mul_add(-LN_2_LOW, whole.mul_add(-LN_2_HIGH, x));
    let mut p = 1.378_059_4e-3f32;
    p = p.mul_add(r, 8.373_124_5e-3);
    p = p.mul_add(r, 4.166_953_6e-2);
    p = p.mul_add(r, 1.666_647_2e-1);
    p = p.mul_add(r, 4.999_998_5e-1);
    p = p.mul_add(r, 1.0);
    p = p.mul_add(r, 1.0);
    // In two steps, so that neither factor leaves the range of normal numbers.
    let half = power >> 1;
    let low = f32::from_bits((half.wrapping_add(127) << 23) as u32);
    let high = f32::from_bits((power.wrapping_sub(half).wrapping_add(127) << 23) as u32);
    p * low * high
}

/// The error function: a polynomial near zero, one minus an exponential of a polynomial elsewhere.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let mut far = (-1.728_534_7e-5f32).mul_add(t, 3.831_971_3e-4);
    let step = (-3.883_964_4e-3f32).mul_add(t, 2.425_462_2e-2);
    far = far.mul_add(s, step);
    far = far.mul_add(t, -1.067_778_8e-1);
    far = far.mul_add(t, -6.348_467e-1);
    far = far.mul_add(t, -1.287_175_1e-1);
    far = far.mul_add(t, -t);
    let far = (1.0 - exp(far)).copysign(x);
    let mut near = -5.967_617e-4f32;
    near = near.mul_add(s, 4.991_194e-3);
    near = near.mul_add(s, -2.676_813_5e-2);
    near = near.mul_add(s, 1.128_199_2e-1);
    near = near.mul_add(s, -3.761_253_4e-1);
    near = near.mul_add(s, 1.283_791_7e-1);
    let near = near.mul_add(x, x);
    if t > 0.927_734_4 { far } else { near }
}

/// The hyperbolic tangent: a polynomial near zero, a quotient of exponentials elsewhere.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let mut near = -5.704_988_7e-3f32;
    near = near.mul_add(s, 2.063_909e-2);
    near = near.mul_add(s, -5.373_971_6e-2);
    near = near.mul_add(s, 1.333_144_2e-1);
    near = near.mul_add(s, -3.333_328e-1);
    let near = (near * s).mul_add(x, x);
    let far = (1.0 - 2.0 / (exp(2.0 * t) + 1.0)).copysign(x);
    // NaN compares false and takes the polynomial, which is NaN too.
    if t > 0.625 { far } else { near }
}

/// The error function in double precision: its power series up to 2.5, beyond that the continued fraction of
/// its complement (Abramowitz and Stegun 7.1.5 and 7.1.14).
pub fn erf_f64(x: f64) -> f64 {
    let t = x.abs();
    if t.is_nan() {
        return x;
    }
    if t < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    if t > 6.0 {
        return 1f64.copysign(x);
    }
    let mut fraction = t;
    for n in (1..120).rev() {
        fraction = t + f64::from(n) / 2.0 / fraction;
    }
    let complement = (-t * t).exp() / (fraction * std::f64::consts::PI.sqrt());
    (1.0 - complement).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error over a grid, in units in the last place of the true value.
    fn check(
        name: &str,
        low: f64,
        high: f64,
        ours: impl Fn(f32) -> f32,
        truth: impl Fn(f64) -> f64,
    ) {
        let mut worst: (f64, f32) = (0.0, 0.0);
        for step in 0..200_000 {
            let x = (low + (high - low) * f64::from(step) / 200_000.0) as f32;
            let want = truth(f64::from(x));
            let ulp = f64::from((want as f32).abs().next_up()) - f64::from((want as f32).abs());
            let error = (f64::from(ours(x)) - want).abs() / ulp;
            if error > worst.0 {
                worst = (error, x);
            }
        }
        assert!(worst.0 <= 2.0, "{name}({}) is off by {} ulp", worst.1, worst.0);
    }

    #[test]
    fn functions_are_within_two_units_in_the_last_place() {
        check("exp", -87.0, 88.7, exp, f64::exp);
        check("exp", -0.01, 0.01, exp, f64::exp);
        check("tanh", -12.0, 12.0, tanh, f64::tanh);
        check("tanh", -0.7, 0.7, tanh, f64::tanh);
        check("erf", -5.0, 5.0, erf, erf_f64);
        check("erf", -0.01, 0.01, erf, erf_f64);
    }

    #[test]
    fn functions_reach_their_limits_and_pass_nan() {
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(erf(f32::INFINITY), 1.0);
        for f in [exp, tanh, erf] {
            assert!(f(f32::NAN).is_nan());
        }
        for (x, want) in [(0.5, 0.520_499_877_813_046_5), (3.0, 0.999_977_909_503_001_4)] {
            assert!((erf_f64(x) - want).abs() < 1e-15, "erf({x}) = {}", erf_f64(x));
        }
    }
}
