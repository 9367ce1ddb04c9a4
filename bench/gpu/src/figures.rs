//! Medians, values of half precision in f32, and results written as JSON.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;
use sublet_graph::Literal;

/// The middle value; the upper of two.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies; NaN without any.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub fn largest(values: &[f64]) -> f64 {
    quantile(values, 1.0)
}

/// Milliseconds.
pub fn ms(span: impl Into<std::time::Duration>) -> f64 {
    span.into().as_secs_f64() * 1e3
}

/// The values in f32; what is no floating-point tensor stays.
pub fn widened(literal: &Literal) -> Literal {
    match literal.to_f32s() {
        Some(values) => Literal::f32(literal.shape(), &values),
        None => literal.clone(),
    }
}

/// Writes a result file into the folder of results.
pub fn write(out: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let path = out.join(name);
    let beside = out.join(format!("{name}.part"));
    fs::write(&beside, serde_json::to_string_pretty(value)? + "\n")
        .with_context(|| beside.display().to_string())?;
    fs::rename(&beside, &path).with_context(|| path.display().to_string())
}

/// A line of figures that is printed and kept in a file of its own.
pub fn summary(out: &Path, name: &str, line: &str) -> Result<()> {
    println!("{line}");
    fs::create_dir_all(out)?;
    let path = out.join(format!("{name}.txt"));
    fs::write(&path, format!("{line}\n")).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_list() {
        let values = [3.0, 1.0, 2.0, f64::NAN];
        assert_eq!(median(&values), 2.0);
        assert_eq!(largest(&values), 3.0);
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert!(median(&[]).is_nan());
    }
}
