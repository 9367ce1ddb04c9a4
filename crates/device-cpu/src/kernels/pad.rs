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

/// The input index of each output index of an axis, or `None` for the constant.
type Map = Vec<Option<usize>>;

/// A stretch of output indices of the last padded axis.
struct Piece {
    len: usize,
    /// Where its input starts, contiguous as well; `None` for the constant.
    from: Option<usize>,
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
            let from = from as i64;
            let sum = from.checked_add(before).and_then(|len| len.checked_add(after));
            // Neither end loses more than there is.
            before >= -from && after >= -from && sum == Some(to as i64)
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
        .map(|axis| index_map(x.shape[axis], amounts[axis], mode, y.shape[axis]))
        .collect::<Result<_, _>>()?;
    let (_, _, inner) = around(y.shape, last);
    let padding = Padding {
        x: x.bytes,
        x_shape: &x.shape[..=last],
        maps: &maps[..last],
        pieces: pieces(&maps[last]),
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
) -> Result<Map, KernelError> {
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

fn pieces(map: &Map) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for &from in map {
        match pieces.last_mut() {
            // A constant follows a constant, the next element its neighbour.
            Some(piece) if from == piece.from.map(|start| start + piece.len) => piece.len += 1,
            _ => pieces.push(Piece { len: 1, from }),
        }
    }
    pieces
}

/// Everything that a row of the output needs: all indices of the last padded axis.
struct Padding<'a> {
    x: &'a [u8],
    /// Up to the last padded axis.
    x_shape: &'a [usize],
    /// Of the axes before it.
    maps: &'a [Map],
    pieces: Vec<Piece>,
    /// Bytes of one index of the last padded axis.
    run: usize,
    constant: &'a [u8],
}

impl Padding<'_> {
    fn row(&self, mut at: usize, dst: &mut [u8]) {
        let mut start = 0;
        let mut stride = self.x_shape[self.maps.len()] * self.run;
        for (map, dim) in self.maps.iter().zip(self.x_shape).rev() {
            let Some(from) = map[at % map.len()] else {
                return self.fill(dst);
            };
            at /= map.len();
            start += from * stride;
            stride *= dim;
        }
        let mut rest = dst;
        for piece in &self.pieces {
            let (dst, tail) = rest.split_at_mut(piece.len * self.run);
            match piece.from {
                Some(from) => {
                    let from = start + from * self.run;
                    dst.copy_from_slice(&self.x[from..from + dst.len()]);
                }
                None => self.fill(dst),
            }
            rest = tail;
        }
    }

    fn fill(&self, dst: &mut [u8]) {
        with_unit!(self.constant.len(), U => {
            let value: U = bytemuck::pod_read_unaligned(self.constant);
            bytemuck::cast_slice_mut::<u8, U>(dst).fill(value);
        })
    }
}
