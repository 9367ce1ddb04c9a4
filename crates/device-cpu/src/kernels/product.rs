//! The product of two matrices, the loop under convolutions, linear layers and attention.
//!
//! In `f32`, large products run in `rten-gemm`. It adds up `k` in order within blocks of [`DEPTH_BLOCK`], and then
//! the blocks; [`few_rows`] does exactly the same without packing the right matrix, so that a row of the result has
//! the same bits whether it is computed alone or among many. Which algorithm computes a row therefore may depend
//! on how many rows there are, while everything that changes rounding depends on `k` and `n` alone.

use super::dots::{self, Rows};
use super::element::Arithmetic;
use super::operands::invalid;
use super::parallel;
use super::simd::vectorise_for;
use crate::KernelError;
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp};

/// How much of `k` `rten-gemm` adds up at a time for `f32`.
const DEPTH_BLOCK: usize = 256;
/// Up to so many rows the right matrix is read in place.
const FEW_ROWS: usize = 8;
/// Below so many columns, results are dot products over a transposed right matrix.
const FEW_COLS: usize = 8;
/// From this depth on, a right matrix that is given by columns is multiplied by dot products.
const DEEP: usize = 64;

/// A matrix in somebody's memory.
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    pub values: &'a [T],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A row-major matrix. Panics when `values` is shorter.
    pub fn new(values: &'a [T], rows: usize, cols: usize) -> Self {
        Mat { values: &values[..rows * cols], rows, cols, row_stride: cols, col_stride: 1 }
    }

    pub fn transposed(self) -> Self {
        Mat {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    fn at(&self, row: usize, col: usize) -> &T {
        &self.values[row * self.row_stride + col * self.col_stride]
    }
}

/// A type that matrices are multiplied in.
pub trait Product: Arithmetic {
    /// `out = a · b + bias`, with one bias per column.
    fn product(
        out: &mut [Self],
        a: Mat<'_, Self>,
        b: Mat<'_, Self>,
        bias: Option<&[Self]>,
    ) -> Result<(), KernelError>;

    /// `out = a · b`, rounded alike whether `b` is a whole matrix or some columns of one.
    fn block_product(
        out: &mut [Self],
        a: Mat<'_, Self>,
        b: Mat<'_, Self>,
    ) -> Result<(), KernelError> {
        Self::product(out, a, b, None)
    }
}

impl Product for f32 {
    fn product(
        out: &mut [f32],
        a: Mat<'_, f32>,
        b: Mat<'_, f32>,
        bias: Option<&[f32]>,
    ) -> Result<(), KernelError> {
        if !prepare(out, &a, &b, bias)? {
            return Ok(());
        }
        let by_column = b.row_stride == 1 && b.col_stride != 1 && b.rows >= DEEP;
        if b.cols < FEW_COLS || by_column {
            by_dots(out, a, b, bias);
            return Ok(());
        }
        in_order(out, a, b, bias)
    }

    fn block_product(out: &mut [f32], a: Mat<'_, f32>, b: Mat<'_, f32>) -> Result<(), KernelError> {
        if !prepare(out, &a, &b, None)? {
            return Ok(());
        }
        in_order(out, a, b, None)
    }
}

macro_rules! plain_product {
    ($($T:ty),*) => {$(
        impl Product for $T {
            fn product(
                out: &mut [$T],
                a: Mat<'_, $T>,
                b: Mat<'_, $T>,
                bias: Option<&[$T]>,
            ) -> Result<(), KernelError> {
                if prepare(out, &a, &b, bias)? {
                    plain(out, a, b, bias);
                }
                Ok(())
            }
        }
    )*};
}

plain_product!(f64, i32, i64, u32, u64);

/// Checks sizes and answers products without work. False when nothing is left to do.
fn prepare<T: Arithmetic>(
    out: &mut [T],
    a: &Mat<'_, T>,
    b: &Mat<'_, T>,
    bias: Option<&[T]>,
) -> Result<bool, KernelError> {
    let bias_fits = bias.is_none_or(|bias| bias.len() == b.cols);
    if a.cols != b.rows || out.len() != a.rows * b.cols || !bias_fits {
        return Err(invalid(format!(
            "product of [{}, {}] and [{}, {}] into {} elements",
            a.rows,
            a.cols,
            b.rows,
            b.cols,
            out.len()
        )));
    }
    if out.is_empty() || a.cols == 0 {
        match bias {
            Some(bias) if b.cols > 0 => {
                out.chunks_mut(b.cols).for_each(|row| row.copy_from_slice(bias));
            }
            _ => out.fill(T::ZERO),
        }
        return Ok(false);
    }
    Ok(true)
}

/// `out = a · b + bias`, by one of two algorithms that round alike.
fn in_order(
    out: &mut [f32],
    a: Mat<'_, f32>,
    b: Mat<'_, f32>,
    bias: Option<&[f32]>,
) -> Result<(), KernelError> {
    if a.rows <= FEW_ROWS && a.col_stride == 1 && b.col_stride == 1 {
        few_rows(out, a, b, bias);
        return Ok(());
    }
    gemm(out, a, b, bias.map(BiasVector::Row))
}

/// `out = a · b` by `rten-gemm`.
fn gemm(
    out: &mut [f32],
    a: Mat<'_, f32>,
    b: Mat<'_, f32>,
    bias: Option<BiasVector<'_, f32>>,
) -> Result<(), KernelError> {
    let executor = GemmExecutor::<f32>::new();
    let (a, b) = (view(a)?, view(b)?);
    let options = GemmOptions { bias, ..GemmOptions::default() };
    // Given one plain row it would change to another order of additions.
    let packed = (out.len() == b_cols(&b)).then(|| executor.prepack_a(a));
    let a = packed.as_ref().map_or(GemmInputA::Unpacked(a), GemmInputA::Packed);
    executor
        .gemm(out, a, GemmInputB::Unpacked(b), options)
        .map_err(|error| invalid(format!("matrix product: {error}")))
}

fn b_cols(b: &rten_tensor::Matrix<'_, f32>) -> usize {
    use rten_tensor::MatrixLayout;
    b.cols()
}

fn view<T>(mat: Mat<'_, T>) -> Result<rten_tensor::Matrix<'_, T>, KernelError> {
    rten_tensor::Matrix::from_data_with_strides(
        [mat.rows, mat.cols],
        mat.values,
        [mat.row_stride, mat.col_stride],
    )
    .map_err(|error| invalid(format!("matrix of {} by {}: {error}", mat.rows, mat.cols)))
}

/// `out = a · b + bias` by dot products.
fn by_dots(out: &mut [f32], a: Mat<'_, f32>, b: Mat<'_, f32>, bias: Option<&[f32]>) {
    let (dense_a, dense_b);
    let rows = if a.col_stride == 1 {
        Rows { values: a.values, stride: a.row_stride }
    } else {
        dense_a = rows_of(a);
        Rows { values: &dense_a, stride: a.cols }
    };
    let columns = if b.row_stride == 1 {
        Rows { values: b.values, stride: b.col_stride }
    } else {
        dense_b = rows_of(b.transposed());
        Rows { values: &dense_b, stride: b.rows }
    };
    dots::run(out, b.cols, a.cols, rows, columns);
    if let Some(bias) = bias {
        parallel::rows(out, b.cols, b.cols, |_, out| {
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        });
    }
}

/// The elements of `mat`, row-major.
fn rows_of<T: Copy>(mat: Mat<'_, T>) -> Vec<T> {
    let cells = (0..mat.rows).flat_map(|row| (0..mat.cols).map(move |col| (row, col)));
    cells.map(|(row, col)| *mat.at(row, col)).collect()
}

/// `out = a · b` where `a` has few rows: reads `b` once, in place.
fn few_rows(out: &mut [f32], a: Mat<'_, f32>, b: Mat<'_, f32>, bias: Option<&[f32]>) {
    const COLS: usize = 256;
    let (rows, cols) = (a.rows, b.cols);
    let parts: Vec<usize> = (0..cols).step_by(COLS).collect();
    let results = parallel::tasks(parts.len(), rows * a.cols * COLS / 8, |part| {
        let first = parts[part];
        let len = COLS.min(cols - first);
        let mut results = vec![0.0; rows * len];
        for (group, results) in results.chunks_mut(4 * len).enumerate() {
            FewRows { a, b, bias, first_row: group * 4, first_col: first, len, out: results }
                .dispatch();
        }
        results
    });
    for (&first, results) in parts.iter().zip(results) {
        let len = COLS.min(cols - first);
        for (row, values) in results.chunks(len).enumerate() {
            out[row * cols + first..][..len].copy_from_slice(values);
        }
    }
}

/// Up to four rows of a product, for a range of columns.
struct FewRows<'a> {
    a: Mat<'a, f32>,
    b: Mat<'a, f32>,
    bias: Option<&'a [f32]>,
    first_row: usize,
    first_col: usize,
    len: usize,
    out: &'a mut [f32],
}

impl SimdOp for FewRows<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        match self.out.len() / self.len {
            1 => self.rows::<I, 1>(isa),
            2 => self.rows::<I, 2>(isa),
            3 => self.rows::<I, 3>(isa),
            _ => self.rows::<I, 4>(isa),
        }
    }
}

impl FewRows<'_> {
    #[inline(always)]
    fn rows<I: Isa, const ROWS: usize>(self, isa: I) {
        let depth = self.a.cols;
        let mut sums = vec![0.0; ROWS * self.len];
        for start in (0..depth).step_by(DEPTH_BLOCK) {
            let end = depth.min(start + DEPTH_BLOCK);
            sums.fill(0.0);
            let mut k = start;
            while k + 8 <= end {
                self.steps::<I, ROWS, 8>(isa, k, &mut sums);
                k += 8;
            }
            while k < end {
                self.steps::<I, ROWS, 1>(isa, k, &mut sums);
                k += 1;
            }
            for row in 0..ROWS {
                let sums = &sums[row * self.len..][..self.len];
                let out = &mut self.out[row * self.len..][..self.len];
                if start > 0 {
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                } else if let Some(bias) = self.bias {
                    let bias = &bias[self.first_col..][..self.len];
                    let sums = sums.iter().zip(bias);
                    out.iter_mut().zip(sums).for_each(|(out, (sum, bias))| *out = sum + bias);
                } else {
                    out.copy_from_slice(sums);
                }
            }
        }
    }

    /// Adds `a[.., k..k + STEPS] · b[k..k + STEPS, ..]` to `sums`, one `k` after the other.
    #[inline(always)]
    fn steps<I: Isa, const ROWS: usize, const STEPS: usize>(
        &self,
        isa: I,
        k: usize,
        sums: &mut [f32],
    ) {
        let ops = isa.f32();
        let lanes = ops.len();
        let factors: [[I::F32; STEPS]; ROWS] = std::array::from_fn(|row| {
            let a = &self.a.values[(self.first_row + row) * self.a.row_stride + k..][..STEPS];
            std::array::from_fn(|step| ops.splat(a[step]))
        });
        let b: [&[f32]; STEPS] = std::array::from_fn(|step| {
            &self.b.values[(k + step) * self.b.row_stride + self.first_col..][..self.len]
        });
        let mut col = 0;
        while col + lanes <= self.len {
            let mut totals: [I::F32; ROWS] =
                std::array::from_fn(|row| ops.load(&sums[row * self.len + col..]));
            for step in 0..STEPS {
                let b = ops.load(&b[step][col..]);
                for row in 0..ROWS {
                    totals[row] = ops.mul_add(factors[row][step], b, totals[row]);
                }
            }
            for row in 0..ROWS {
                ops.store(totals[row], &mut sums[row * self.len + col..]);
            }
            col += lanes;
        }
        if col == self.len {
            return;
        }
        for row in 0..ROWS {
            let tail = &mut sums[row * self.len + col..(row + 1) * self.len];
            let mut total = ops.load_pad(tail).0;
            for step in 0..STEPS {
                let b = ops.load_pad(&b[step][col..]).0;
                total = ops.mul_add(factors[row][step], b, total);
            }
            let values = total.to_array();
            tail.iter_mut().enumerate().for_each(|(lane, out)| *out = values[lane]);
        }
    }
}

/// `out = a · b + bias` in any arithmetic, adding up `k` in order.
fn plain<T: Arithmetic>(out: &mut [T], a: Mat<'_, T>, b: Mat<'_, T>, bias: Option<&[T]>) {
    let dense;
    let (b_values, b_stride) = if b.col_stride == 1 {
        (b.values, b.row_stride)
    } else {
        dense = rows_of(b);
        (&dense[..], b.cols)
    };
    parallel::rows(out, b.cols, b.cols * a.cols, |row, out| {
        vectorise_for::<T, _>(
            #[inline(always)]
            || {
                out.fill(T::ZERO);
                for k in 0..a.cols {
                    let factor = *a.at(row, k);
                    let b = &b_values[k * b_stride..][..out.len()];
                    out.iter_mut().zip(b).for_each(|(out, &b)| *out = out.add(factor.mul(b)));
                }
                if let Some(bias) = bias {
                    out.iter_mut().zip(bias).for_each(|(out, &bias)| *out = out.add(bias));
                }
            },
        );
    });
}
