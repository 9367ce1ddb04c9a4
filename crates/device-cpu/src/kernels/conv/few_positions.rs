//! Convolution with few output positions, as in squeeze-and-excitation blocks and short frames: each result is the
//! dot product of a filter and a patch.

use super::im2col::unroll;
use super::{Epilogue, Geometry};
use crate::kernels::activation;
use crate::kernels::dots::{self, Rows};
use crate::kernels::simd::vectorise;

pub fn run(
    geometry: &Geometry,
    x: &[f32],
    w: &[f32],
    epilogue: Epilogue<'_, f32>,
    out: &mut [f32],
) {
    let Geometry { groups, channels, filters, window, .. } = *geometry;
    let (depth, inputs, positions) = (geometry.depth(), window.inputs(), window.outputs());
    if out.is_empty() {
        return;
    }
    let mut columns = vec![0.0; depth * positions];
    let mut patches = vec![0.0; depth * positions];
    let mut products = vec![0.0; filters * positions];
    for (part, out) in out.chunks_mut(filters * positions).enumerate() {
        let group = part % groups;
        let x = &x[part * channels * inputs..][..channels * inputs];
        let patches = if geometry.is_pointwise() && positions == 1 {
            x
        } else {
            unroll(&window, x, 0..positions, &mut columns);
            for (position, patch) in patches.chunks_mut(depth.max(1)).enumerate() {
                let column = columns[position..].iter().step_by(positions);
                patch.iter_mut().zip(column).for_each(|(out, &x)| *out = x);
            }
            &patches
        };
        let w = Rows { values: &w[group * filters * depth..], stride: depth };
        let patches = Rows { values: patches, stride: depth };
        dots::run(&mut products, positions, depth, w, patches);
        vectorise(
            #[inline(always)]
            || {
                let results = out.chunks_mut(positions).zip(products.chunks(positions));
                for (filter, (out, products)) in results.enumerate() {
                    let at = (part * filters + filter) * positions;
                    epilogue.add(group * filters + filter, at, products, out);
                }
            },
        );
        activation::apply(epilogue.activation, out);
    }
}
