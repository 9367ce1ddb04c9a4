//! Raising a mean rate to what one second asks for at most, ninety-nine times in a hundred.

/// The smallest whole number that a Poisson variable of this mean does not exceed with a probability of at least 0.99
/// (gpulet, section 4.3), but never less than the mean itself, so that a rare model is still served.
///
/// The weights are taken relative to the mode's and normalised by their sum, so no factorial can overflow.
pub fn ninety_ninth(mean: f64) -> f64 {
    if !(mean.is_finite() && mean > 0.0) {
        return 0.0;
    }
    let mode = mean.floor();
    let reach = 12.0 * mean.sqrt() + 60.0;
    let first = (mode - reach).max(0.0);
    let mut below = Vec::new();
    let (mut weight, mut count) = (1.0, mode);
    while count > first && weight > 1e-30 {
        weight *= count / mean;
        count -= 1.0;
        below.push(weight);
    }
    let mut above = vec![1.0];
    let (mut weight, mut count) = (1.0, mode);
    while count < mode + reach && weight > 1e-30 {
        count += 1.0;
        weight *= mean / count;
        above.push(weight);
    }
    let total: f64 = below.iter().sum::<f64>() + above.iter().sum::<f64>();
    let lowest = mode - below.len() as f64;
    let mut sum = 0.0;
    for (index, weight) in below.iter().rev().chain(&above).enumerate() {
        sum += weight / total;
        if sum >= 0.99 {
            return (lowest + index as f64).max(mean);
        }
    }
    (mode + reach).max(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_quantiles_and_every_size() {
        assert_eq!([50.0, 100.0, 200.0].map(ninety_ninth), [67.0, 124.0, 234.0]);
        assert_eq!(ninety_ninth(0.0), 0.0);
        // Poisson(0.005) is zero with probability 0.995: the mean is kept.
        assert_eq!(ninety_ninth(0.005), 0.005);
        assert_eq!(ninety_ninth(0.5), 3.0);
        let large = ninety_ninth(1e8);
        assert!((large - (1e8 + 2.326 * 1e4)).abs() < 20.0, "{large}");
        assert_eq!(ninety_ninth(f64::NAN), 0.0);
    }

    #[test]
    fn grows_with_the_mean() {
        let mut last = 0.0;
        for step in 1..3000 {
            let raised = ninety_ninth(f64::from(step) * 0.1);
            assert!(raised >= last && raised >= f64::from(step) * 0.1);
            last = raised;
        }
    }
}
