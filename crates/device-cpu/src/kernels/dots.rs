//! Products whose right matrix is given by columns, as dot products: `out[m, n] = Σ a[m, k] · w[n, k]`.
//!
//! Each result is added up in one vector of partial sums, in the same order whatever tile computes it. Nothing is
//! packed, so one row costs no more than its share of many.

use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

/// Rows and columns of a tile.
const TILE: usize = 4;
/// Elements of `w` that stay in the cache while all rows of `a` pass.
const PANEL_ELEMENTS: usize = 64 * 1024;
/// Products worth a task of their own.
const TASK_PRODUCTS: usize = 64 * 1024;

/// Rows of equal length in somebody's memory.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [f32],
    pub stride: usize,
}

impl<'a> Rows<'a> {
    fn row(&self, row: usize, depth: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..depth]
    }
}

/// Fills `out`, `[rows, cols]`, with the dot products of rows of `a` and rows of `w`, all of length `depth`.
pub fn run(out: &mut [f32], cols: usize, depth: usize, a: Rows<'_>, w: Rows<'_>) {
    if out.is_empty() {
        return;
    }
    let rows = out.len() / cols;
    let threads = rayon::current_num_threads();
    if threads == 1 || rows * cols * depth < 2 * TASK_PRODUCTS {
        Block { out, cols, first_row: 0, first_col: 0, depth, a, w }.dispatch();
        return;
    }
    if rows == 1 {
        let part = (TASK_PRODUCTS / depth.max(1)).max(cols.div_ceil(4 * threads));
        let part = part.next_multiple_of(TILE);
        out.par_chunks_mut(part).enumerate().for_each(|(index, out)| {
            let cols = out.len();
            Block { out, cols, first_row: 0, first_col: index * part, depth, a, w }.dispatch();
        });
        return;
    }
    let part = (TASK_PRODUCTS / (depth * cols).max(1)).max(rows.div_ceil(4 * threads)).max(1);
    let part = if part >= TILE { part.next_multiple_of(TILE) } else { part };
    out.par_chunks_mut(part * cols).enumerate().for_each(|(index, out)| {
        Block { out, cols, first_row: index * part, first_col: 0, depth, a, w }.dispatch();
    });
}

/// Some rows, or some columns of one row.
struct Block<'a> {
    out: &'a mut [f32],
    cols: usize,
    first_row: usize,
    first_col: usize,
    depth: usize,
    a: Rows<'a>,
    w: Rows<'a>,
}

impl SimdOp for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(mut self, isa: I) {
        let rows = self.out.len() / self.cols;
        let panel = (PANEL_ELEMENTS / self.depth.max(1)).max(TILE) / TILE * TILE;
        let mut start = 0;
        while start < self.cols {
            let end = self.cols.min(start + panel);
            let mut row = 0;
            while row + TILE <= rows {
                self.columns::<I, TILE>(isa, row, start, end);
                row += TILE;
            }
            while row < rows {
                self.columns::<I, 1>(isa, row, start, end);
                row += 1;
            }
            start = end;
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn columns<I: Isa, const ROWS: usize>(&mut self, isa: I, row: usize, start: usize, end: usize) {
        let mut col = start;
        while col + TILE <= end {
            self.tile::<I, ROWS, TILE>(isa, row, col);
            col += TILE;
        }
        while col < end {
            self.tile::<I, ROWS, 1>(isa, row, col);
            col += 1;
        }
    }

    #[inline(always)]
    fn tile<I: Isa, const ROWS: usize, const COLS: usize>(
        &mut self,
        isa: I,
        row: usize,
        col: usize,
    ) {
        let ops = isa.f32();
        let lanes = ops.len();
        let a: [&[f32]; ROWS] =
            std::array::from_fn(|index| self.a.row(self.first_row + row + index, self.depth));
        let w: [&[f32]; COLS] =
            std::array::from_fn(|index| self.w.row(self.first_col + col + index, self.depth));
        let mut sums = [[ops.zero(); COLS]; ROWS];
        let mut k = 0;
        while k + lanes <= self.depth {
            let factors: [I::F32; COLS] = std::array::from_fn(|index| ops.load(&w[index][k..]));
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = ops.load(&a[k..]);
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = ops.mul_add(a, factor, *sum);
                }
            }
            k += lanes;
        }
        if k < self.depth {
            let factors: [I::F32; COLS] =
                std::array::from_fn(|index| ops.load_pad(&w[index][k..]).0);
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = ops.load_pad(&a[k..]).0;
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = ops.mul_add(a, factor, *sum);
                }
            }
        }
        for (index, sums) in sums.into_iter().enumerate() {
            let out = &mut self.out[(row + index) * self.cols + col..][..COLS];
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = ops.sum(sum);
            }
        }
    }
}
