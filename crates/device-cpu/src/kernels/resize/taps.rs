//! Which input indices an output index of a resized axis blends, and how much of each.

use crate::kernels::element::Real;
use sublet_graph::shape::ResizeAxis;
use sublet_graph::{CoordinateTransform, Interpolation, NearestMode, Resize};

/// For each output index of an axis, `count` input indices and their weights.
pub struct Taps<T> {
    pub count: usize,
    pub indices: Vec<usize>,
    pub weights: Vec<T>,
    /// Output indices that lie outside the input and take `extrapolation` (crop-and-resize alone).
    pub outside: Vec<bool>,
    pub extrapolation: T,
}

impl<T: Real> Taps<T> {
    /// Panics when the input axis is empty or the mode is nearest.
    pub fn new(options: &Resize, axis: &ResizeAxis) -> Self {
        // Antialiasing widens the kernel when shrinking.
        let squeeze = if options.antialias { axis.scale.min(1.0) } else { 1.0 };
        let reach = match options.mode {
            Interpolation::Linear => 1.0,
            Interpolation::Cubic { .. } => 2.0,
            Interpolation::Nearest => unreachable!("nearest has no weights"),
        };
        let first = (-reach / squeeze).floor() as i64 + 1;
        let count = (2 - 2 * first) as usize;
        let mut taps = Taps {
            count,
            indices: Vec::with_capacity(axis.output * count),
            weights: Vec::with_capacity(axis.output * count),
            outside: Vec::with_capacity(axis.output),
            extrapolation: T::from_f64(f64::from(options.extrapolation)),
        };
        for index in 0..axis.output {
            let at = coordinate(options.coordinates, axis, index);
            taps.outside.push(is_outside(options, axis, at));
            // The neighbour on the left, strictly: the distance to it is in (0, 1].
            let left = at.ceil() - 1.0;
            let distance = at - left;
            taps.push(options, axis, left as i64 + first, |tap| {
                kernel(options.mode, squeeze * ((first + tap as i64) as f64 - distance))
            });
        }
        taps
    }

    fn push(
        &mut self,
        options: &Resize,
        axis: &ResizeAxis,
        start: i64,
        weight: impl Fn(usize) -> f64,
    ) {
        let last = axis.input as i64 - 1;
        let inside = |tap: usize| (0..=last).contains(&(start + tap as i64));
        let weights = (0..self.count).map(|tap| match options.exclude_outside && !inside(tap) {
            true => 0.0,
            false => weight(tap),
        });
        let weights: Vec<f64> = weights.collect();
        let total: f64 = weights.iter().sum();
        let normalise = (options.exclude_outside || options.antialias) && total != 0.0;
        for (tap, weight) in weights.into_iter().enumerate() {
            self.indices.push((start + tap as i64).clamp(0, last) as usize);
            self.weights.push(T::from_f64(if normalise { weight / total } else { weight }));
        }
    }
}

/// The weight of an input at a distance from the output's place.
fn kernel(mode: Interpolation, distance: f64) -> f64 {
    let x = distance.abs();
    match mode {
        Interpolation::Cubic { a } => {
            // Keys, Cubic convolution interpolation for digital image processing, equation 15.
            let a = f64::from(a);
            if x <= 1.0 {
                ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
            } else {
                0.0
            }
        }
        _ => (1.0 - x).clamp(0.0, 1.0),
    }
}

/// The input index of each output index; `None` where it lies outside (crop-and-resize alone).
pub fn nearest_indices(options: &Resize, axis: &ResizeAxis) -> Vec<Option<usize>> {
    let index = |output: usize| {
        let at = coordinate(options.coordinates, axis, output);
        let nearest = match options.nearest {
            NearestMode::Floor => at.floor(),
            NearestMode::Ceil => at.ceil(),
            NearestMode::RoundPreferFloor => (at - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (at + 0.5).floor(),
        };
        let clamped = (nearest as i64).clamp(0, axis.input as i64 - 1) as usize;
        (!is_outside(options, axis, at)).then_some(clamped)
    };
    (0..axis.output).map(index).collect()
}

fn is_outside(options: &Resize, axis: &ResizeAxis, at: f64) -> bool {
    options.coordinates == CoordinateTransform::TfCropAndResize
        && !(0.0..=(axis.input as f64 - 1.0)).contains(&at)
}

/// The place in the input that an output index stands for.
fn coordinate(transform: CoordinateTransform, axis: &ResizeAxis, index: usize) -> f64 {
    let (index, input) = (index as f64, axis.input as f64);
    // Not rounded down to a whole number.
    let output = axis.scale * input;
    let half_pixel = (index + 0.5) / axis.scale - 0.5;
    match transform {
        CoordinateTransform::HalfPixel => half_pixel,
        CoordinateTransform::PytorchHalfPixel if output == 1.0 => -0.5,
        CoordinateTransform::PytorchHalfPixel => half_pixel,
        CoordinateTransform::HalfPixelSymmetric => {
            input / 2.0 * (1.0 - axis.output as f64 / output) + half_pixel
        }
        CoordinateTransform::AlignCorners if output == 1.0 => 0.0,
        CoordinateTransform::AlignCorners => index * (input - 1.0) / (output - 1.0),
        CoordinateTransform::Asymmetric => index / axis.scale,
        CoordinateTransform::TfCropAndResize => {
            let (start, end) = (f64::from(axis.roi.0), f64::from(axis.roi.1));
            let along = if output == 1.0 { 0.5 } else { index / (output - 1.0) };
            (start + along * (end - start)) * (input - 1.0)
        }
    }
}
