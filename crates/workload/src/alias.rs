//! Choosing a model by weight in constant time: Walker's alias table (Vose, 1991).

use crate::draw::Draw;

/// Weights prepared for drawing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alias {
    /// Per column: the share of the column that is its own, of 2⁶⁴, and whose the rest is.
    columns: Vec<(u64, u32)>,
    small: Vec<u32>,
    large: Vec<u32>,
    scaled: Vec<f64>,
}

impl Alias {
    pub fn new(weights: &[f64]) -> Self {
        let mut alias = Alias::default();
        alias.set(weights);
        alias
    }

    /// Takes other weights; keeps its memory.
    pub fn set(&mut self, weights: &[f64]) {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        self.columns.clear();
        self.columns.extend((0..weights.len()).map(|index| (u64::MAX, index as u32)));
        self.scaled.clear();
        self.scaled.extend(weights.iter().map(|weight| weight / mean));
        for (index, &weight) in self.scaled.iter().enumerate() {
            let list = if weight < 1.0 { &mut self.small } else { &mut self.large };
            list.push(index as u32);
        }
        while let (Some(small), Some(large)) = (self.small.pop(), self.large.last().copied()) {
            let own = self.scaled[small as usize];
            self.columns[small as usize] = ((own * 2f64.powi(64)) as u64, large);
            let left = &mut self.scaled[large as usize];
            *left -= 1.0 - own;
            if *left < 1.0 {
                self.large.pop();
                self.small.push(large);
            }
        }
        self.small.clear();
        self.large.clear();
    }

    #[inline]
    pub fn draw(&self, draw: &mut Draw) -> u32 {
        let product = u128::from(draw.bits()) * self.columns.len() as u128;
        let (column, within) = ((product >> 64) as u32, product as u64);
        let (own, other) = self.columns[column as usize];
        if within < own { column } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_in_proportion_to_the_weights() {
        let weights = [10.0, 0.0, 1.0, 5.0, 4.0];
        let alias = Alias::new(&weights);
        let mut draw = Draw::new(5, 0);
        let mut seen = [0u32; 5];
        (0..200_000).for_each(|_| seen[alias.draw(&mut draw) as usize] += 1);
        for (seen, weight) in seen.iter().zip(weights) {
            assert!(
                (f64::from(*seen) / 200_000.0 - weight / 20.0).abs() < 0.005,
                "{seen} {weight}"
            );
        }
        assert_eq!(seen[1], 0);
    }
}
