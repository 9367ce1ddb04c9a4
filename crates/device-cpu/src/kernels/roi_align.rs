//! Pooling of regions of interest with bilinear sampling (He et al., Mask R-CNN, section 3).

use super::element::{Real, with_real};
use super::operands::{input, integers, invalid};
use super::parallel;
use crate::{KernelError, View, ViewMut};

#[derive(Clone, Copy)]
pub struct RoiAlign {
    pub output: [usize; 2],
    /// Samples per output element and axis; 0: as many as the region has pixels per output element.
    pub sampling_ratio: usize,
    pub spatial_scale: f32,
    pub average: bool,
    pub half_pixel: bool,
}

/// Samples in one region at most, so that a malformed region cannot take forever.
const SAMPLES_MAX: f64 = (1 << 24) as f64;

/// Inputs: x `[n, c, h, w]`, regions `[count, 4]` (x, y of two corners), batch index of each region.
pub fn roi_align(
    inputs: &[Option<View<'_>>],
    options: RoiAlign,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let (x, regions, batches) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let (&[n, c, h, w], &[count, 4]) = (x.shape, regions.shape) else {
        return Err(invalid(format!("regions {:?} of {:?}", regions.shape, x.shape)));
    };
    let batches = integers(batches)?;
    let [rows, columns] = options.output;
    if batches.len() != count || y.shape != [count, c, rows, columns] || x.dtype != regions.dtype {
        return Err(invalid(format!("{count} regions into {:?}", y.shape)));
    }
    if let Some(batch) = batches.iter().find(|&&batch| batch < 0 || batch >= n as i64) {
        return Err(invalid(format!("batch index {batch} of {n}")));
    }
    with_real!("RoiAlign", x.dtype, T => {
        let (x, regions) = (x.values::<T>(), regions.values::<T>());
        let sampled: Vec<Region<T>> = regions
            .chunks_exact(4)
            .map(|corners| Region::new(options, [h, w], corners))
            .collect::<Result<_, _>>()?;
        parallel::rows(y.values::<T>(), rows * columns, rows * columns * 16, |row, y| {
            let (region, channel) = (row / c, row % c);
            let plane = (batches[region] as usize * c + channel) * h * w;
            sampled[region].pool(options.average, &x[plane..][..h * w], y);
        });
        Ok(())
    })
}

/// The samples of all output elements of a region, `samples` for each.
struct Region<T> {
    samples: usize,
    /// Four neighbours with their weights; `None` for a sample outside the image.
    taps: Vec<Option<[(usize, T); 4]>>,
}

impl<T: Real> Region<T> {
    fn new(options: RoiAlign, [h, w]: [usize; 2], corners: &[T]) -> Result<Self, KernelError> {
        let offset = if options.half_pixel { 0.5 } else { 0.0 };
        let place = |corner: T| corner.to_f64() * f64::from(options.spatial_scale) - offset;
        let corners = [corners[1], corners[0], corners[3], corners[2]].map(place);
        // Along y, then x: the start, the size of an output element, and samples in it.
        let mut axes = [(0.0, 0.0, 0); 2];
        for axis in 0..2 {
            let size = corners[axis + 2] - corners[axis];
            let size = if options.half_pixel { size } else { size.max(1.0) };
            let bin = size / options.output[axis] as f64;
            let samples =
                if options.sampling_ratio > 0 { options.sampling_ratio as f64 } else { bin.ceil() };
            axes[axis] = (corners[axis], bin, samples.max(0.0) as usize);
        }
        let [(top, height, sample_rows), (left, width, sample_columns)] = axes;
        let [rows, columns] = options.output;
        let samples = sample_rows as f64 * sample_columns as f64;
        if samples * (rows * columns) as f64 > SAMPLES_MAX {
            return Err(invalid("a region of interest is too large"));
        }
        let samples = sample_rows * sample_columns;
        let mut taps = Vec::with_capacity(rows * columns * samples);
        let at = |start: f64, bin: f64, index: usize, sample: usize, samples: usize| {
            start + index as f64 * bin + (sample as f64 + 0.5) * bin / samples as f64
        };
        for row in 0..rows {
            for column in 0..columns {
                for sample in 0..samples {
                    let y = at(top, height, row, sample / sample_columns, sample_rows);
                    let x = at(left, width, column, sample % sample_columns, sample_columns);
                    taps.push(neighbours([h, w], y, x));
                }
            }
        }
        Ok(Region { samples, taps })
    }

    /// The mean of the samples of each output element, or the largest weighted neighbour of any of them.
    fn pool(&self, average: bool, plane: &[T], y: &mut [T]) {
        if self.samples == 0 {
            y.fill(T::ZERO);
            return;
        }
        let count = T::from_f64(self.samples as f64);
        for (y, taps) in y.iter_mut().zip(self.taps.chunks_exact(self.samples)) {
            let sample = |taps: &Option<[(usize, T); 4]>| match taps {
                None => T::ZERO,
                Some(taps) => {
                    let products = taps.map(|(at, weight)| plane[at] * weight);
                    let [first, rest @ ..] = products;
                    if average {
                        rest.into_iter().fold(first, |a, b| a + b)
                    } else {
                        rest.into_iter().fold(first, T::larger)
                    }
                }
            };
            let samples = taps.iter().map(sample);
            *y = if average {
                samples.fold(T::ZERO, |a, b| a + b) / count
            } else {
                samples.reduce(T::larger).unwrap_or(T::ZERO)
            };
        }
    }
}

fn neighbours<T: Real>([h, w]: [usize; 2], y: f64, x: f64) -> Option<[(usize, T); 4]> {
    let inside = (-1.0..=h as f64).contains(&y) && (-1.0..=w as f64).contains(&x);
    if !inside || h == 0 || w == 0 {
        return None;
    }
    let split = |at: f64, len: usize| {
        let at = at.max(0.0).min((len - 1) as f64);
        let low = (at as usize).min(len - 1);
        (low, (low + 1).min(len - 1), at - low as f64)
    };
    let (y_low, y_high, dy) = split(y, h);
    let (x_low, x_high, dx) = split(x, w);
    Some([
        (y_low * w + x_low, T::from_f64((1.0 - dy) * (1.0 - dx))),
        (y_low * w + x_high, T::from_f64((1.0 - dy) * dx)),
        (y_high * w + x_low, T::from_f64(dy * (1.0 - dx))),
        (y_high * w + x_high, T::from_f64(dy * dx)),
    ])
}
