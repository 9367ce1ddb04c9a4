//! Convolution with few output positions, as in squeeze-and-excitation blocks and short frames: each result is the
//! dot product of a filter and a patch.

use super::im2col::unroll;
use super::{Epilogue, Geometry};
use crate::kernels::parallel;
use crate::kernels::simd::{dot, vectorise};

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
    let images = geometry.batch * groups;
    let patches = parallel::tasks(images, depth * positions, |image| {
        let x = &x[image * channels * inputs..][..channels * inputs];
        if geometry.is_pointwise() && positions == 1 {
            return x.to_vec();
        }
        let mut columns = vec![0.0; depth * positions];
        unroll(&window, x, 0..positions, &mut columns);
        let cells = (0..positions).flat_map(|p| (0..depth).map(move |k| k * positions + p));
        cells.map(|cell| columns[cell]).collect()
    });
    parallel::rows(out, positions, positions * depth, |row, out| {
        let (image, filter) = (row / filters, row % filters);
        let filter = image % groups * filters + filter;
        let w = &w[filter * depth..][..depth];
        vectorise(
            #[inline(always)]
            || {
                let mut products = [0.0; super::FEW_POSITIONS];
                for (position, product) in products[..positions].iter_mut().enumerate() {
                    *product = dot(w, &patches[image][position * depth..][..depth]);
                }
                epilogue.finish(filter, row * positions, &products[..positions], out);
            },
        );
    });
}
