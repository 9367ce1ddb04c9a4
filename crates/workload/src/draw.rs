//! Seeded random numbers, and the distributions of this crate.
//!
//! The generator is xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021) seeded by
//! splitmix64. The formulas below take a fixed number of 64-bit draws or reject by fixed rules, so that a seed means the
//! same numbers for good.

/// A stream of random numbers. Two streams of one seed are independent.
#[derive(Clone, Debug)]
pub struct Draw {
    state: [u64; 4],
    /// The second normal variate of a pair, kept for the next call.
    spare: Option<f64>,
}

impl Draw {
    /// Stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut mix = splitmix(&mut seed.clone()) ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03);
        let state = [(); 4].map(|()| splitmix(&mut mix));
        Draw { state, spare: None }
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let out = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        let (b, a) = (b ^ c, a ^ d);
        self.state = [a, b, c ^ (self.state[1] << 17), d.rotate_left(45)];
        out
    }

    /// Uniform in (0, 1]: never zero, so that its logarithm is finite.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n`; `n` must not be zero.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// True with probability `p`.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() <= p
    }

    /// Exponential with mean 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Standard normal, by Marsaglia's polar method.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }

    /// Gamma with the given shape and scale 1 (Marsaglia and Tsang, "A simple method for generating gamma variables", 2000).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let power = self.unit().powf(1.0 / shape);
            return self.gamma(shape + 1.0) * power;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            if v <= 0.0 {
                continue;
            }
            let v = v * v * v;
            if self.unit().ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
    }

    /// A point of the simplex of `weights.len()` corners, from the Dirichlet distribution whose parameters all are
    /// `concentration`; written into `weights`, which sum to 1.
    pub fn dirichlet(&mut self, concentration: f64, weights: &mut [f64]) {
        weights.fill_with(|| self.gamma(concentration));
        let sum: f64 = weights.iter().sum();
        match sum > 0.0 {
            true => weights.iter_mut().for_each(|weight| *weight /= sum),
            // So small a concentration that every draw underflowed: all of the mass lies on one corner.
            false => {
                weights.fill(0.0);
                let corner = self.below(weights.len() as u64) as usize;
                weights[corner] = 1.0;
            }
        }
    }
}

/// The next number of splitmix64 (Steele, Lea and Flood, 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut sample: impl FnMut() -> f64) -> (f64, f64) {
        let n = 200_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let x = sample();
            sum += x;
            squares += x * x;
        }
        let mean = sum / f64::from(n);
        (mean, squares / f64::from(n) - mean * mean)
    }

    #[test]
    fn the_generator_is_xoshiro256_plus_plus() {
        // The reference implementation's first outputs from the state 1, 2, 3, 4.
        let mut draw = Draw { state: [1, 2, 3, 4], spare: None };
        let wanted = [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386];
        assert_eq!([(); 4].map(|()| draw.bits()), wanted);
    }

    #[test]
    fn a_seed_means_the_same_numbers_for_good() {
        let first: Vec<u64> = (0..3).map(|stream| Draw::new(7, stream).bits()).collect();
        let again: Vec<u64> = (0..3).map(|stream| Draw::new(7, stream).bits()).collect();
        assert_eq!(first, again);
        assert!(first[0] != first[1] && first[1] != first[2]);
        assert_ne!(Draw::new(8, 0).bits(), first[0]);
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut draw = Draw::new(1, 0);
        let (mean, variance) = moments(|| draw.exponential());
        assert!((mean - 1.0).abs() < 0.01 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let (mean, variance) = moments(|| draw.normal());
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        for shape in [0.0625, 0.5, 1.0, 4.0, 16.0] {
            let (mean, variance) = moments(|| draw.gamma(shape));
            assert!((mean / shape - 1.0).abs() < 0.03, "shape {shape}: mean {mean}");
            assert!((variance / shape - 1.0).abs() < 0.06, "shape {shape}: variance {variance}");
        }
    }

    #[test]
    fn dirichlet_sums_to_one_and_is_even_on_average() {
        let mut draw = Draw::new(3, 0);
        let mut total = [0.0; 4];
        for _ in 0..20_000 {
            let mut weights = [0.0; 4];
            draw.dirichlet(0.5, &mut weights);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            total.iter_mut().zip(weights).for_each(|(total, weight)| *total += weight);
        }
        assert!(total.iter().all(|sum| (sum / 20_000.0 - 0.25).abs() < 0.01), "{total:?}");
        let mut weights = [0.0; 3];
        draw.dirichlet(1e-9, &mut weights);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
