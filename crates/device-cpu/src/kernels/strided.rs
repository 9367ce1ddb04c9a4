//! The one loop behind most data movement: a dense output read out of an input along arbitrary steps.
//!
//! Transposition, slicing, expansion, tiling and the block rearrangements of images differ only in their steps. Steps are
//! counted in bytes and elements are `[u8; N]`, so that one loop serves all element types, and a short contiguous run
//! counts as one larger element.

use super::operands::invalid;
use crate::KernelError;
use bytemuck::Pod;
use rayon::prelude::*;
use smallvec::SmallVec;

/// Below this many bytes a copy stays on one thread.
pub const PARALLEL_BYTES: usize = 1 << 18;
/// About what one parallel job copies.
const JOB_BYTES: usize = 1 << 16;
/// Side of the square tiles of a transposition, in elements.
const TILE: usize = 16;

/// One dimension of the output: its length, and how many bytes apart its neighbours lie in the input.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Dim {
    pub len: usize,
    pub step: isize,
}

type Dims = SmallVec<[Dim; 8]>;

/// Evaluates `$body` with `$U` standing for a plain element of `$size` bytes (1, 2, 4, 8 or 16).
macro_rules! with_unit {
    ($size:expr, $U:ident => $body:expr) => {
        match $size {
            1 => {
                type $U = [u8; 1];
                $body
            }
            2 => {
                type $U = [u8; 2];
                $body
            }
            4 => {
                type $U = [u8; 4];
                $body
            }
            8 => {
                type $U = [u8; 8];
                $body
            }
            16 => {
                type $U = [u8; 16];
                $body
            }
            size => unreachable!("no element has {size} bytes"),
        }
    };
}
pub(crate) use with_unit;

/// Fills `dst` with elements of `size` bytes from `src`, starting at byte `offset`.
///
/// # Errors
/// [`KernelError::Invalid`] when a step leads out of `src`.
pub fn copy(
    src: &[u8],
    size: usize,
    offset: usize,
    dims: &[Dim],
    dst: &mut [u8],
) -> Result<(), KernelError> {
    debug_assert_eq!(dims.iter().map(|dim| dim.len).product::<usize>() * size, dst.len());
    if dst.is_empty() {
        return Ok(());
    }
    check_bounds(src.len(), size, offset, dims)?;
    let mut dims = coalesce(dims);
    let mut run = size;
    if let Some(last) = dims.last()
        && last.step == size as isize
    {
        run *= last.len;
        dims.pop();
    }
    match run {
        _ if dims.is_empty() => copy_bytes(&src[offset..offset + run], dst),
        1 | 2 | 4 | 8 | 16 => with_unit!(run, U => copy_units::<U>(src, offset, &dims, dst)),
        _ => copy_runs(src, run, offset, &dims, dst),
    }
    Ok(())
}

/// A plain copy, on several threads when it is large. Panics when the lengths differ.
pub fn copy_bytes(src: &[u8], dst: &mut [u8]) {
    if dst.len() < 8 * PARALLEL_BYTES {
        dst.copy_from_slice(src);
        return;
    }
    let pairs = dst.par_chunks_mut(PARALLEL_BYTES).zip(src.par_chunks(PARALLEL_BYTES));
    pairs.for_each(|(dst, src)| dst.copy_from_slice(src));
}

/// Calls `copy(first, part)` for parts of `dst` that hold whole runs of `run` elements, `first` being the number of
/// the part's first run; on several threads when there is much to copy.
pub fn in_jobs<U: Pod + Send>(dst: &mut [U], run: usize, copy: impl Fn(usize, &mut [U]) + Sync) {
    let copy: &(dyn Fn(usize, &mut [U]) + Sync) = &copy;
    if std::mem::size_of_val(dst) < PARALLEL_BYTES {
        copy(0, dst);
        return;
    }
    let runs = JOB_BYTES.div_ceil(run * std::mem::size_of::<U>());
    dst.par_chunks_mut(runs * run).enumerate().for_each(|(job, dst)| copy(job * runs, dst));
}

fn check_bounds(
    src_len: usize,
    size: usize,
    offset: usize,
    dims: &[Dim],
) -> Result<(), KernelError> {
    let mut first = offset as isize;
    let mut last = offset as isize;
    for dim in dims {
        let reach = dim.step * (dim.len as isize - 1);
        first += reach.min(0);
        last += reach.max(0);
    }
    if first < 0 || last as usize + size > src_len {
        return Err(invalid(format!("reads bytes {first}..={last} of an input of {src_len}")));
    }
    Ok(())
}

/// Drops dimensions of length 1 and joins those that one step covers.
fn coalesce(dims: &[Dim]) -> Dims {
    let mut joined = Dims::new();
    for &dim in dims.iter().filter(|dim| dim.len != 1) {
        match joined.last_mut() {
            Some(outer) if outer.step == dim.step * dim.len as isize => {
                *outer = Dim { len: outer.len * dim.len, step: dim.step };
            }
            _ => joined.push(dim),
        }
    }
    joined
}

/// Runs of `run` contiguous bytes.
fn copy_runs(src: &[u8], run: usize, offset: usize, dims: &[Dim], dst: &mut [u8]) {
    let copy = |first: usize, dst: &mut [u8]| {
        let mut position = Position::at(dims, offset, first);
        for dst in dst.chunks_exact_mut(run) {
            dst.copy_from_slice(&src[position.offset..position.offset + run]);
            position.advance(dims);
        }
    };
    in_jobs(dst, run, copy);
}

/// Single elements; the innermost dimension is not contiguous in the input.
fn copy_units<U: Pod + Send + Sync>(src: &[u8], offset: usize, dims: &[Dim], dst: &mut [u8]) {
    let size = std::mem::size_of::<U>();
    let dst: &mut [U] = bytemuck::cast_slice_mut(dst);
    let last = dims.len() - 1;
    let contiguous = dims[..last].iter().rposition(|dim| dim.step == size as isize);
    match contiguous {
        Some(across) if dims[across].len > 2 && dims[last].len > 2 => {
            transpose(src, offset, dims, across, dst);
        }
        _ => gather(src, offset, dims, dst),
    }
}

/// Row by row along the innermost dimension.
fn gather<U: Pod + Send + Sync>(src: &[u8], offset: usize, dims: &[Dim], dst: &mut [U]) {
    let (row, outer) = dims.split_last().expect("there is a dimension");
    let copy = |first: usize, dst: &mut [U]| {
        let mut position = Position::at(outer, offset, first);
        for dst in dst.chunks_exact_mut(row.len) {
            if row.step == 0 {
                dst.fill(read(src, position.offset));
            } else {
                let mut at = position.offset as isize;
                for unit in dst {
                    *unit = read(src, at as usize);
                    at += row.step;
                }
            }
            position.advance(outer);
        }
    };
    in_jobs(dst, row.len, copy);
}

/// Square tiles over the innermost dimension and dimension `across`, which is contiguous in the input.
fn transpose<U: Pod + Send + Sync>(
    src: &[u8],
    offset: usize,
    dims: &[Dim],
    across: usize,
    dst: &mut [U],
) {
    let (outer, inner) = dims.split_at(across);
    let (columns, between) = (inner[0], &inner[1..inner.len() - 1]);
    let row = inner[inner.len() - 1];
    let pitch: usize = inner[1..].iter().map(|dim| dim.len).product();
    let slab = columns.len * pitch;
    let panel = |first_column: usize, start: usize, dst: &mut [U]| {
        let start = start + first_column * std::mem::size_of::<U>();
        let mut position = Position::at(between, start, 0);
        for middle in (0..pitch).step_by(row.len) {
            transpose_panel(src, position.offset, row, &mut dst[middle..], pitch);
            position.advance(between);
        }
    };
    // Whole panels of one slab, numbered across slabs, so that a job is some panels.
    let panels = columns.len.div_ceil(TILE);
    let fill = |first: usize, dst: &mut [U]| {
        let (index, at) = (first / panels, first % panels);
        panel(at * TILE, Position::at(outer, offset, index).offset, dst);
    };
    let bytes = std::mem::size_of_val(dst);
    let slabs = dst.chunks_mut(slab).flat_map(|slab| slab.chunks_mut(TILE * pitch));
    if bytes < PARALLEL_BYTES {
        slabs.enumerate().for_each(|(first, dst)| fill(first, dst));
        return;
    }
    let mut jobs: Vec<&mut [U]> = slabs.collect();
    let each = JOB_BYTES.div_ceil(TILE * pitch * std::mem::size_of::<U>());
    jobs.par_chunks_mut(each).enumerate().for_each(|(job, panels)| {
        panels.iter_mut().enumerate().for_each(|(at, dst)| fill(job * each + at, dst));
    });
}

/// Up to [`TILE`] output rows, `pitch` apart, from as many contiguous input columns.
fn transpose_panel<U: Pod>(src: &[u8], offset: usize, row: Dim, dst: &mut [U], pitch: usize) {
    let size = std::mem::size_of::<U>();
    let columns = dst.len().div_ceil(pitch).min(TILE);
    let at = |index: usize| (offset as isize + index as isize * row.step) as usize;
    for first in (0..row.len).step_by(TILE) {
        let len = TILE.min(row.len - first);
        if len == TILE && columns == TILE {
            let mut tile = [[U::zeroed(); TILE]; TILE];
            for (index, line) in tile.iter_mut().enumerate() {
                let start = at(first + index);
                line.copy_from_slice(bytemuck::cast_slice(&src[start..start + TILE * size]));
            }
            for (column, out) in dst.chunks_mut(pitch).enumerate() {
                for (unit, line) in out[first..first + TILE].iter_mut().zip(&tile) {
                    *unit = line[column];
                }
            }
        } else {
            for index in first..first + len {
                let start = at(index);
                for column in 0..columns {
                    dst[column * pitch + index] = read(src, start + column * size);
                }
            }
        }
    }
}

#[inline(always)]
fn read<U: Pod>(src: &[u8], at: usize) -> U {
    bytemuck::pod_read_unaligned(&src[at..at + std::mem::size_of::<U>()])
}

/// Where a walk over `dims` in row-major order stands.
pub struct Position {
    index: SmallVec<[usize; 8]>,
    pub offset: usize,
}

impl Position {
    /// At the `linear`-th place of the walk that starts at byte `offset`.
    pub fn at(dims: &[Dim], offset: usize, mut linear: usize) -> Self {
        let mut index: SmallVec<[usize; 8]> = SmallVec::from_elem(0, dims.len());
        let mut at = offset as isize;
        for (dim, index) in dims.iter().zip(&mut index).rev() {
            *index = linear % dim.len.max(1);
            linear /= dim.len.max(1);
            at += *index as isize * dim.step;
        }
        Position { index, offset: at as usize }
    }

    /// One place on; after the last place, back to the first.
    #[inline]
    pub fn advance(&mut self, dims: &[Dim]) {
        for (dim, index) in dims.iter().zip(&mut self.index).rev() {
            *index += 1;
            if *index < dim.len {
                self.offset = (self.offset as isize + dim.step) as usize;
                return;
            }
            *index = 0;
            self.offset = (self.offset as isize - dim.step * (dim.len as isize - 1)) as usize;
        }
    }
}
