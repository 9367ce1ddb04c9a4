//! Padding and cropping: each output index of an axis maps to an input index or to the constant.

use super::operands::{around, input, integers, invalid, optional};
use super::strided::{copy_bytes, in_jobs, with_unit};
use crate::{KernelError, View, ViewMut};
use sublet_graph::{PadMode, shape};

/// Inputs as ONNX: data, pads, constant value, axes. Negative pads crop, before anything is added.
pub fn pad(
    inputs: &[Option<View<'_>>],
    mode: PadMode,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let pads = integers(input(inputs, 1)?)?;
    let axes = optional(inputs, 3).map(integers).transpose()?;
    let amounts = shape::pad_amounts(x.rank(), &pads, axes.as_deref())?;
    let mut constant = [0; 8];
    let size = x.dtype.size();
    if let Some(value) = optional(inputs, 2).filter(|value| !value.is_empty()) {
        if value.dtype != x.dtype || value.len() != 1 {
            return Err(invalid(format!("{} values of {} as padding", value.len(), value.dtype)));
        }
        constant[..size].copy_from_slice(value.bytes);
    }
    place(x, &amounts, mode, &constant[..size], y)
}

/// Crops or zero-pads around the centre.
pub fn center_crop_pad(x: View<'_>, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let lens = x.shape.iter().zip(y.shape);
    let amounts: Vec<(i64, i64)> = lens
        .map(|(&from, &to)| {
            // Halves are rounded towards the start for both cropping and padding.
            let (from, to) = (from as i64, to as i64);
            let before = (to - from) / 2;
            (before, to - from - before)
        })
        .collect();
    place(x, &amounts, PadMode::Constant, &[0; 8][..x.dtype.size()], y)
}

/// Where the elements of one output axis come from.
enum Map {
    /// The input index, or `None` for the constant.
    Each(Vec<Option<usize>>),
    Same,
}

fn place(
    x: View<'_>,
    amounts: &[(i64, i64)],
    mode: PadMode,
    constant: &[u8],
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let fits = x.rank() == y.shape.len()
        && x.shape.iter().zip(amounts).zip(y.shape).all(|((&from, &(before, after)), &to)| {
            (from as i64).checked_add(before).and_then(|len| len.checked_add(after))
                == Some(to as i64)
        });
    if !fits {
        return Err(invalid(format!(
            "pads {amounts:?} of {:?} do not give {:?}",
            x.shape, y.shape
        )));
    }
    if y.bytes.is_empty() {
        return Ok(());
    }
    let Some(last) = amounts.iter().rposition(|&pads| pads != (0, 0)) else {
        copy_bytes(x.bytes, y.bytes);
        return Ok(());
    };
    let maps: Vec<Map> = (0..=last)
        .map(|axis| match amounts[axis] {
            (0, 0) => Ok(Map::Same),
            pads => index_map(x.shape[axis], pads, mode, y.shape[axis]).map(Map::Each),
        })
        .collect::<Result<_, _>>()?;
    let (_, _, inner) = around(y.shape, last);
    let padding = Padding {
        x: x.bytes,
        x_shape: &x.shape[..=last],
        y_shape: &y.shape[..=last],
        maps: &maps,
        run: inner * x.dtype.size(),
        constant,
    };
    let row = y.shape[last] * padding.run;
    in_jobs(y.bytes, row, |first, dst| {
        let rows = dst.chunks_exact_mut(row).enumerate();
        rows.for_each(|(at, dst)| padding.row(first + at, dst));
    });
    Ok(())
}

/// The input index of each of `out` output indices of an axis of `len`.
fn index_map(
    len: usize,
    (before, after): (i64, i64),
    mode: PadMode,
    out: usize,
) -> Result<Vec<Option<usize>>, KernelError> {
    let first = (-before).max(0);
    let count = len as i64 - first - (-after).max(0);
    if mode != PadMode::Constant && count <= 0 {
        return Err(invalid(format!("{mode:?} padding ({before}, {after}) of an axis of {len}")));
    }
    let map = |index: i64| {
        let at = index - before.max(0);
        let inside = match mode {
            PadMode::Constant => (0..count).contains(&at).then_some(at)?,
            PadMode::Edge => at.clamp(0, count - 1),
            PadMode::Wrap => at.rem_euclid(count),
            PadMode::Reflect if count == 1 => 0,
            PadMode::Reflect => {
                let around = at.rem_euclid(2 * (count - 1));
                around.min(2 * (count - 1) - around)
            }
        };
        Some((first + inside) as usize)
    };
    Ok((0..out as i64).map(map).collect())
}

/// Everything that a row of the output needs. Axes end at the last padded one.
struct Padding<'a> {
    x: &'a [u8],
    x_shape: &'a [usize],
    y_shape: &'a [usize],
    maps: &'a [Map],
    /// Bytes of one index of the last padded axis.
    run: usize,
    constant: &'a [u8],
}

impl Padding<'_> {
    /// Fills row `at` of the output: all indices of the last padded axis.
    fn row(&self, mut at: usize, dst: &mut [u8]) {
        let last = self.maps.len() - 1;
        let mut start = 0;
        let mut stride = self.x_shape[last] * self.run;
        for axis in (0..last).rev() {
            let index = at % self.y_shape[axis];
            at /= self.y_shape[axis];
            let from = match &self.maps[axis] {
                Map::Same => Some(index),
                Map::Each(map) => map[index],
            };
            let Some(from) = from else {
                return self.fill(dst);
            };
            start += from * stride;
            stride *= self.x_shape[axis];
        }
        let Map::Each(map) = &self.maps[last] else {
            unreachable!("the last axis is padded");
        };
        let mut index = 0;
        while index < map.len() {
            let begin = index;
            let Some(first) = map[begin] else {
                index += map[begin..].iter().take_while(|from| from.is_none()).count();
                self.fill(&mut dst[begin * self.run..index * self.run]);
                continue;
            };
            let run = map[begin..].iter().zip(first..);
            index += run.take_while(|&(&from, expected)| from == Some(expected)).count();
            let from = start + first * self.run;
            let bytes = (index - begin) * self.run;
            dst[begin * self.run..index * self.run].copy_from_slice(&self.x[from..from + bytes]);
        }
    }

    fn fill(&self, dst: &mut [u8]) {
        with_unit!(self.constant.len(), U => {
            let value: U = bytemuck::pod_read_unaligned(self.constant);
            bytemuck::cast_slice_mut::<u8, U>(dst).fill(value);
        })
    }
}
