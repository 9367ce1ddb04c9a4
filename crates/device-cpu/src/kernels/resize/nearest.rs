//! Nearest-neighbour resizing, for any element type.

use super::is_unchanged;
use super::taps::nearest_indices;
use crate::kernels::element::{Arithmetic, with_arithmetic};
use crate::kernels::operands::strides;
use crate::kernels::parallel;
use crate::kernels::strided::{copy_bytes, with_unit};
use crate::{KernelError, View, ViewMut};
use bytemuck::Pod;
use sublet_graph::shape::ResizeAxis;
use sublet_graph::{DType, Resize};

/// Where the output indices of the resized axes come from.
struct Source<'a> {
    x: &'a [u8],
    /// Input indices of each axis up to the last resized one; `None` lies outside.
    maps: Vec<Vec<Option<usize>>>,
    /// Bytes between neighbours along each of those axes.
    steps: Vec<usize>,
    /// Bytes of one index of the last resized axis.
    run: usize,
    outside: Vec<u8>,
}

pub fn nearest(
    x: View<'_>,
    options: &Resize,
    axes: &[ResizeAxis],
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let Some(last) = axes.iter().rposition(|axis| !is_unchanged(options, axis)) else {
        copy_bytes(x.bytes, y.bytes);
        return Ok(());
    };
    let size = x.dtype.size();
    let map = |axis: &ResizeAxis| match is_unchanged(options, axis) {
        true => (0..axis.output).map(Some).collect(),
        false => nearest_indices(options, axis),
    };
    let mut outside = vec![0; size];
    if x.dtype == DType::Bool {
        outside[0] = u8::from(options.extrapolation != 0.0);
    } else {
        with_arithmetic!("Resize", x.dtype, T => {
            let value = T::from_f64(f64::from(options.extrapolation));
            outside.copy_from_slice(bytemuck::bytes_of(&value));
            Ok(())
        })?;
    }
    let source = Source {
        x: x.bytes,
        maps: axes[..=last].iter().map(map).collect(),
        steps: strides(x.shape)[..=last].iter().map(|step| step * size).collect(),
        run: x.shape[last + 1..].iter().product::<usize>() * size,
        outside,
    };
    let row = y.shape[last] * source.run;
    // Rows that repeat the row above are copied from it.
    let group = if last > 0 { y.shape[last - 1] } else { 1 };
    parallel::rows(y.bytes, group * row, group * row, |at, rows| {
        source.fill(at * group, row, rows)
    });
    Ok(())
}

impl Source<'_> {
    /// Fills whole rows from number `first` on.
    fn fill(&self, first: usize, row: usize, rows: &mut [u8]) {
        let mut above = None;
        for at in 0..rows.len() / row {
            let start = self.start(first + at);
            if at > 0 && start == above {
                rows.copy_within((at - 1) * row..at * row, at * row);
                continue;
            }
            above = start;
            let dst = &mut rows[at * row..(at + 1) * row];
            match start {
                None => dst.chunks_exact_mut(self.outside.len()).for_each(|y| {
                    y.copy_from_slice(&self.outside);
                }),
                Some(start) => self.fill_row(start, dst),
            }
        }
    }

    /// The byte at which the input row of an output row starts; `None` outside.
    fn start(&self, mut row: usize) -> Option<usize> {
        let mut start = 0;
        let outer = self.maps.len() - 1;
        for (map, step) in self.maps[..outer].iter().zip(&self.steps).rev() {
            start += map[row % map.len()]? * step;
            row /= map.len();
        }
        Some(start)
    }

    fn fill_row(&self, start: usize, dst: &mut [u8]) {
        let map = &self.maps[self.maps.len() - 1];
        match self.run {
            1 | 2 | 4 | 8 | 16 if map.iter().all(Option::is_some) => {
                with_unit!(self.run, U => pick::<U>(&self.x[start..], map, dst));
            }
            run => {
                for (from, dst) in map.iter().zip(dst.chunks_exact_mut(run)) {
                    match from {
                        Some(from) => {
                            let from = start + from * run;
                            dst.copy_from_slice(&self.x[from..from + run]);
                        }
                        None => dst.chunks_exact_mut(self.outside.len()).for_each(|y| {
                            y.copy_from_slice(&self.outside);
                        }),
                    }
                }
            }
        }
    }
}

fn pick<U: Pod>(x: &[u8], map: &[Option<usize>], dst: &mut [u8]) {
    let size = std::mem::size_of::<U>();
    for (from, y) in map.iter().zip(bytemuck::cast_slice_mut::<u8, U>(dst)) {
        let from = from.unwrap_or(0) * size;
        *y = bytemuck::pod_read_unaligned(&x[from..from + size]);
    }
}
