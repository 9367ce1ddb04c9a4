//! Convolution: which algorithm computes it, and the parts they share.
//!
//! The choice depends on attributes and on all sizes but the batch, so that an image gives the same bits alone and
//! in a batch.

mod blocks;
mod depthwise;
mod direct;
mod few_positions;
mod im2col;
pub mod integer;
mod padded;
mod parts;
pub mod transposed;

use super::activation;
use super::element::{Real, with_real};
use super::operands::{input, invalid, optional, output};
use super::product::Product;
use super::simd::vectorise_for;
use super::window::Window;
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape::conv_geometry;
use sublet_graph::{Activation, Conv, DType};

/// Up to so many output positions, results are dot products of weights and patches.
const FEW_POSITIONS: usize = 16;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub batch: usize,
    pub groups: usize,
    /// Input and output channels of one group.
    pub channels: usize,
    pub filters: usize,
    pub window: Window,
}

impl Geometry {
    /// # Errors
    /// [`KernelError::Invalid`] when the shapes do not fit together.
    pub fn new(conv: &Conv, x: &[usize], w: &[usize], out: &[usize]) -> Result<Self, KernelError> {
        let groups = conv.group;
        let window = Window::new(&conv_geometry(conv, x, w)?, out)?;
        let fits = groups > 0
            && w[0].is_multiple_of(groups)
            && x[1] == w[1] * groups
            && out[..2] == [x[0], w[0]];
        if !fits {
            return Err(invalid(format!("convolution of {x:?} by {w:?} in {groups} groups")));
        }
        Ok(Geometry { batch: x[0], groups, channels: w[1], filters: w[0] / groups, window })
    }

    /// Elements of one filter.
    pub fn depth(&self) -> usize {
        self.channels * self.window.taps()
    }

    fn is_pointwise(&self) -> bool {
        let Window { kernel, stride, input, output, pad, .. } = self.window;
        (kernel, stride, pad) == ([1; 3], [1; 3], [0; 3]) && input == output
    }
}

/// What is done to the products.
#[derive(Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// One per filter.
    pub bias: Option<&'a [T]>,
    /// As large as the output.
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
}

impl<T: Real> Epilogue<'_, T> {
    /// Finishes outputs of filter `filter` that begin at element `start` of the whole output.
    fn finish(&self, filter: usize, start: usize, products: &[T], out: &mut [T]) {
        vectorise_for::<T, _>(
            #[inline(always)]
            || self.add(filter, start, products, out),
        );
        activation::apply(self.activation, out);
    }

    /// The results before the activation.
    #[inline(always)]
    fn add(&self, filter: usize, start: usize, products: &[T], out: &mut [T]) {
        let bias = self.bias.map_or(T::ZERO, |bias| bias[filter]);
        if let Some(residual) = self.residual {
            let products = products.iter().zip(&residual[start..]);
            for (out, (&p, &r)) in out.iter_mut().zip(products) {
                *out = p + bias + r;
            }
        } else {
            for (out, &p) in out.iter_mut().zip(products) {
                *out = p + bias;
            }
        }
    }
}

/// Computes [`sublet_graph::Op::Conv`].
pub fn run(
    conv: &Conv,
    activation: Activation,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, w) = (input(inputs, 0)?, input(inputs, 1)?);
    let (bias, residual) = (optional(inputs, 2), optional(inputs, 3));
    let out = output(outputs, 0)?;
    let geometry = Geometry::new(conv, x.shape, w.shape, out.shape)?;
    if bias.is_some_and(|bias| bias.len() != w.shape[0])
        || residual.is_some_and(|residual| residual.len() != out.len())
    {
        return Err(invalid("a bias or residual of another size than the convolution"));
    }
    if x.dtype == DType::F32 {
        let epilogue = Epilogue {
            bias: bias.map(|bias| bias.values()),
            residual: residual.map(|residual| residual.values()),
            activation,
        };
        return f32(&geometry, x.values(), w.values(), epilogue, out.values());
    }
    with_real!("Conv", x.dtype, T => {
        let epilogue = Epilogue::<T> {
            bias: bias.map(|bias| bias.values()),
            residual: residual.map(|residual| residual.values()),
            activation,
        };
        general::<T>(&geometry, x.values(), w.values(), epilogue, out.values())
    })
}

fn f32(
    geometry: &Geometry,
    x: &[f32],
    w: &[f32],
    epilogue: Epilogue<'_, f32>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    if geometry.window.outputs() <= FEW_POSITIONS {
        few_positions::run(geometry, x, w, epilogue, out);
        return Ok(());
    }
    if depthwise::suits(geometry) {
        depthwise::run(geometry, x, w, epilogue, out);
        return Ok(());
    }
    if direct::suits(geometry) {
        return direct::run(geometry, x, w, epilogue, out);
    }
    general(geometry, x, w, epilogue, out)
}

fn general<T: Real + Product>(
    geometry: &Geometry,
    x: &[T],
    w: &[T],
    epilogue: Epilogue<'_, T>,
    out: &mut [T],
) -> Result<(), KernelError> {
    blocks::run(geometry, x, w, out, &|filter, start, products, out| {
        epilogue.finish(filter, start, products, out);
    })
}
