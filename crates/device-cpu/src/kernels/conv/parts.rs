//! Dividing the output of a convolution into parts that tasks compute on their own.

use super::Geometry;
use crate::KernelError;
use rayon::prelude::*;

/// A range of output positions of one group of one image.
pub struct OutputPart<'a, T> {
    pub image: usize,
    pub group: usize,
    /// The first position.
    pub start: usize,
    /// Where the results go, a row per filter.
    pub rows: Vec<&'a mut [T]>,
}

/// Parts of up to `width` positions that cover `out`, which is not empty.
pub fn split<'a, T>(geometry: &Geometry, out: &'a mut [T], width: usize) -> Vec<OutputPart<'a, T>> {
    let positions = geometry.window.outputs();
    let mut parts = Vec::new();
    for (index, rows) in out.chunks_mut(geometry.filters * positions).enumerate() {
        let first = parts.len();
        let (image, group) = (index / geometry.groups, index % geometry.groups);
        for start in (0..positions).step_by(width) {
            let rows = Vec::with_capacity(geometry.filters);
            parts.push(OutputPart { image, group, start, rows });
        }
        for row in rows.chunks_mut(positions) {
            for (part, piece) in parts[first..].iter_mut().zip(row.chunks_mut(width)) {
                part.rows.push(piece);
            }
        }
    }
    parts
}

/// Calls `compute` for every part with all threads; a thread keeps its `S` from part to part.
pub fn for_each<T: Send, S: Default>(
    parts: Vec<OutputPart<'_, T>>,
    compute: &(dyn Fn(&mut S, OutputPart<'_, T>) -> Result<(), KernelError> + Sync),
) -> Result<(), KernelError> {
    if parts.len() == 1 || rayon::current_num_threads() == 1 {
        let mut scratch = S::default();
        return parts.into_iter().try_for_each(|part| compute(&mut scratch, part));
    }
    parts.into_par_iter().try_for_each_init(S::default, compute)
}

/// `count` rounded up so that all threads get as many parts, where there are few; `images` are divided alike.
pub fn even(count: usize, images: usize) -> usize {
    let threads = rayon::current_num_threads();
    if images * count < 4 * threads { count.next_multiple_of(threads) } else { count }
}
