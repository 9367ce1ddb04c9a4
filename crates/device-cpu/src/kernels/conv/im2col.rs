//! Unrolling a part of an image into the columns of a matrix, so that a convolution becomes a product.

use crate::kernels::window::Window;
use std::ops::Range;

/// Fills `out`, row-major `[channels · taps, positions.len()]`: row `(channel, tap)`, column `position` is what that
/// output position reads through that tap, zero in the padding. `x` is `[channels, input…]`.
pub fn unroll<T: Copy + Default>(window: &Window, x: &[T], positions: Range<usize>, out: &mut [T]) {
    let columns = positions.len();
    if columns == 0 {
        return;
    }
    let [depth, height, width] = window.kernel;
    let taps =
        (0..depth).flat_map(|z| (0..height).flat_map(move |y| (0..width).map(move |x| [z, y, x])));
    let taps: Vec<[usize; 3]> = taps.collect();
    let planes = x.chunks_exact(window.inputs().max(1));
    for (plane, rows) in planes.zip(out.chunks_exact_mut(taps.len() * columns)) {
        for (&tap, row) in taps.iter().zip(rows.chunks_exact_mut(columns)) {
            fill_row(window, plane, tap, positions.clone(), row);
        }
    }
}

/// One row of the matrix: one tap over a range of output positions.
fn fill_row<T: Copy + Default>(
    window: &Window,
    plane: &[T],
    tap: [usize; 3],
    positions: Range<usize>,
    mut row: &mut [T],
) {
    let [_, out_height, out_width] = window.output;
    let [_, in_height, in_width] = window.input;
    let covered: [Range<usize>; 3] = std::array::from_fn(|axis| window.covered(axis, tap[axis]));
    let mut position = positions.start;
    while position < positions.end {
        let x = position % out_width;
        let line = position / out_width;
        let (y, z) = (line % out_height, line / out_height);
        let count = (out_width - x).min(positions.end - position);
        let (segment, rest) = row.split_at_mut(count);
        row = rest;
        position += count;
        if !covered[0].contains(&z) || !covered[1].contains(&y) {
            segment.fill(T::default());
            continue;
        }
        let source_line = window.source(0, z, tap[0]) * in_height + window.source(1, y, tap[1]);
        let source = &plane[source_line * in_width..][..in_width];
        let first = covered[2].start.clamp(x, x + count) - x;
        let last = covered[2].end.clamp(x, x + count) - x;
        segment[..first].fill(T::default());
        segment[last..].fill(T::default());
        if first >= last {
            continue;
        }
        let from = &source[window.source(2, x + first, tap[2])..];
        let into = &mut segment[first..last];
        match window.stride[2] {
            1 => into.copy_from_slice(&from[..into.len()]),
            step => {
                into.iter_mut().zip(from.iter().step_by(step)).for_each(|(out, &x)| *out = x);
            }
        }
    }
}
