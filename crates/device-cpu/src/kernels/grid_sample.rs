//! Sampling an image at the points of a grid, and making such grids from affine maps.

use super::element::{Arithmetic, Real, with_real};
use super::operands::{floats, invalid};
use super::parallel;
use crate::{KernelError, View, ViewMut};
use sublet_graph::{GridPadding, Interpolation};

/// Points whose neighbours are looked up at a time, for all channels.
const POINTS: usize = 1 << 14;

/// How a grid is read.
#[derive(Clone, Copy)]
pub struct Sampling {
    pub mode: Interpolation,
    pub padding: GridPadding,
    pub align_corners: bool,
}

/// x `[n, c, in…]`, grid `[n, out…, rank]` with coordinates in −1 … 1, last axis of the image first; y `[n, c, out…]`.
pub fn grid_sample(
    x: View<'_>,
    grid: View<'_>,
    sampling: Sampling,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let bad = || invalid(format!("a grid of {:?} over {:?}", grid.shape, x.shape));
    let (&[n, c, ref dims @ ..], Some((&rank, outer))) = (x.shape, grid.shape.split_last()) else {
        return Err(bad());
    };
    let points: usize = outer.iter().skip(1).product();
    if rank != dims.len() || rank == 0 || outer.first() != Some(&n) || y.len() != n * c * points {
        return Err(bad());
    }
    if y.is_empty() {
        return Ok(());
    }
    if dims.contains(&0) {
        return Err(bad());
    }
    let plane: usize = dims.iter().product();
    let coordinates = floats(grid)?;
    with_real!("GridSample", x.dtype, T => {
        let (x, y) = (x.values::<T>(), y.values::<T>());
        for batch in 0..n {
            let grid = &coordinates[batch * points * rank..][..points * rank];
            let x = &x[batch * c * plane..][..c * plane];
            let y = &mut y[batch * c * points..][..c * points];
            for first in (0..points).step_by(POINTS) {
                let last = points.min(first + POINTS);
                let taps = Taps::<T>::new(sampling, dims, &grid[first * rank..last * rank]);
                parallel::rows(y, points, (last - first) * taps.count, |channel, y| {
                    taps.apply(&x[channel * plane..][..plane], &mut y[first..last]);
                });
            }
        }
        Ok(())
    })
}

/// For each point `count` elements of the image, with weights; those outside are [`OUTSIDE`].
struct Taps<T> {
    count: usize,
    elements: Vec<usize>,
    weights: Vec<T>,
}

const OUTSIDE: usize = usize::MAX;

impl<T: Real> Taps<T> {
    fn new(sampling: Sampling, dims: &[usize], grid: &[f32]) -> Self {
        let rank = dims.len();
        let width: usize = match sampling.mode {
            Interpolation::Nearest => 1,
            Interpolation::Linear => 2,
            Interpolation::Cubic { .. } => 4,
        };
        let count = width.pow(rank as u32);
        let points = grid.len() / rank;
        let mut taps = Taps {
            count,
            elements: Vec::with_capacity(points * count),
            weights: Vec::with_capacity(points * count),
        };
        let (mut elements, mut weights) = (Vec::new(), Vec::new());
        for point in grid.chunks_exact(rank) {
            elements.clear();
            weights.clear();
            elements.push(0);
            weights.push(1.0);
            // The grid lists the last axis first.
            for (&dim, &at) in dims.iter().zip(point.iter().rev()) {
                let along = axis_taps(sampling, dim, at);
                let step = |before: usize, index: Option<usize>| match index {
                    Some(index) if before != OUTSIDE => before * dim + index,
                    _ => OUTSIDE,
                };
                let products = elements.iter().zip(&weights);
                let (next_elements, next_weights) = products
                    .flat_map(|(&before, &weight)| {
                        let along = along[..width].iter();
                        along.map(move |&(index, factor)| (step(before, index), weight * factor))
                    })
                    .unzip();
                (elements, weights) = (next_elements, next_weights);
            }
            taps.elements.extend(&elements);
            taps.weights.extend(weights.iter().map(|&weight| T::of(weight)));
        }
        taps
    }

    fn apply(&self, plane: &[T], y: &mut [T]) {
        let elements = self.elements.chunks_exact(self.count);
        let weights = self.weights.chunks_exact(self.count);
        for ((y, elements), weights) in y.iter_mut().zip(elements).zip(weights) {
            let mut total = T::ZERO;
            for (&element, &weight) in elements.iter().zip(weights) {
                if element != OUTSIDE {
                    total += plane[element] * weight;
                }
            }
            *y = total;
        }
    }
}

/// The indices around a coordinate along one axis, with weights. Only as many as the mode needs are meant.
fn axis_taps(sampling: Sampling, dim: usize, at: f32) -> [(Option<usize>, f32); 4] {
    let size = dim as f32;
    let (low, high, at) = match sampling.align_corners {
        true => (0.0, size - 1.0, (at + 1.0) / 2.0 * (size - 1.0)),
        false => (-0.5, size - 0.5, ((at + 1.0) * size - 1.0) / 2.0),
    };
    let at = if sampling.mode == Interpolation::Nearest { at.round_ties_even() } else { at };
    let at = match sampling.padding {
        _ if (low..=high).contains(&at) => at,
        GridPadding::Zeros => at,
        GridPadding::Border => at.clamp(0.0, size - 1.0),
        GridPadding::Reflection => reflect(at, low, high),
    };
    let pixel = |at: f32| {
        let inside = match sampling.padding {
            GridPadding::Zeros => return (at >= 0.0 && at < size).then_some(at as usize),
            GridPadding::Border => at,
            GridPadding::Reflection => reflect(at, low, high),
        };
        Some((inside.max(0.0) as usize).min(dim - 1))
    };
    let floor = at.floor();
    let fraction = at - floor;
    match sampling.mode {
        Interpolation::Nearest => [(pixel(at), 1.0); 4],
        Interpolation::Linear => {
            let first = (pixel(floor), 1.0 - fraction);
            [first, (pixel(floor + 1.0), fraction), first, first]
        }
        Interpolation::Cubic { a } => {
            let far = |x: f32| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
            let near = |x: f32| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
            [
                (pixel(floor - 1.0), far(fraction + 1.0)),
                (pixel(floor), near(fraction)),
                (pixel(floor + 1.0), near(1.0 - fraction)),
                (pixel(floor + 2.0), far(2.0 - fraction)),
            ]
        }
    }
}

/// Mirrors a coordinate at the borders until it lies between them.
fn reflect(at: f32, low: f32, high: f32) -> f32 {
    let span = high - low;
    if span <= 0.0 {
        return low;
    }
    let (distance, from_low) = if at < low {
        (low - at, true)
    } else if at > high {
        (at - high, false)
    } else {
        return at;
    };
    let bounces = (distance / span).trunc();
    let rest = distance - bounces * span;
    if (bounces % 2.0 == 0.0) == from_low { low + rest } else { high - rest }
}

/// theta `[n, 2, 3]` or `[n, 3, 4]`; y `[n, (d,) h, w, 2 or 3]`: the map applied to the centres (or corners) of the pixels.
pub fn affine_grid(
    theta: View<'_>,
    align_corners: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let bad = || invalid(format!("an affine map {:?} for a grid {:?}", theta.shape, y.shape));
    let &[n, ref dims @ .., rank] = y.shape else {
        return Err(bad());
    };
    if theta.shape != [n, rank, rank + 1] || dims.len() != rank {
        return Err(bad());
    }
    let axes: Vec<Vec<f64>> = dims.iter().map(|&dim| centres(dim, align_corners)).collect();
    let points: usize = dims.iter().product();
    let dims = dims.to_vec();
    with_real!("AffineGrid", theta.dtype, T => {
        let theta = theta.values::<T>();
        parallel::rows(y.values::<T>(), rank, rank * (rank + 1), |point, y| {
            let theta = &theta[point / points * rank * (rank + 1)..][..rank * (rank + 1)];
            let mut rest = point % points;
            let mut at = [0.0, 0.0, 0.0, 1.0];
            // The last axis of the image is the first coordinate.
            for (place, (axis, &dim)) in axes.iter().zip(&dims).rev().enumerate() {
                at[place] = axis[rest % dim];
                rest /= dim;
            }
            at[rank] = 1.0;
            for (y, row) in y.iter_mut().zip(theta.chunks_exact(rank + 1)) {
                *y = T::from_f64(row.iter().zip(at).map(|(map, at)| map.to_f64() * at).sum());
            }
        });
        Ok(())
    })
}

/// Coordinates of the pixels of an axis that spans −1 … 1.
fn centres(dim: usize, align_corners: bool) -> Vec<f64> {
    let at = |index: usize| match align_corners {
        true if dim == 1 => 0.0,
        true => 2.0 * index as f64 / (dim as f64 - 1.0) - 1.0,
        false => (2.0 * index as f64 + 1.0) / dim as f64 - 1.0,
    };
    (0..dim).map(at).collect()
}
