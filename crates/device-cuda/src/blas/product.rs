//! A product as the library is asked for it: sizes, layouts, types, and what happens to the result.

use super::call::Call;
use super::{Blas, call};
use crate::driver::{Address, CudaError};
use crate::program::Enqueue;
use crate::tune::Problem;
use serde::{Deserialize, Serialize};
use sublet_graph::DType;

/// `d = round(alpha · a · b + beta · c + bias)`, as many times as `batch` says; `a` is `[m, k]`, `b` `[k, n]`, `c` and
/// `d` are `[m, n]`, the bias is `[n]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    /// Element type of `a` and `b`.
    pub dtype: DType,
    /// Element type of `c`, `d` and the bias.
    pub out: DType,
    pub compute: Compute,
    pub a: Matrix,
    pub b: Matrix,
    /// Layout of `c`, where there is one.
    pub c: Option<Matrix>,
    pub d: Matrix,
    pub alpha: f64,
    pub beta: f64,
    pub bias: bool,
    pub round: Round,
    /// What every address is a multiple of, in bytes.
    pub alignment: usize,
}

/// What sums are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    F32,
    /// Factors rounded to 10 bits of mantissa.
    Tf32,
    F64,
    /// Exact, of 8-bit factors.
    I32,
}

/// Where elements of a matrix lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Elements from one row to the next (from one column to the next when `transposed`); the others are neighbours.
    pub step: usize,
    pub transposed: bool,
    /// Elements from one matrix of the batch to the next.
    pub batch_step: usize,
}

/// What the library may do to the result before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    None,
    Relu,
    /// By way of `tanh`.
    Gelu,
}

/// An algorithm of the library, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductChoice {
    pub(super) algorithm: [u64; 8],
    pub(super) workspace_bytes: usize,
}

impl Matrix {
    /// Rows one behind the other.
    pub fn rows(step: usize) -> Matrix {
        Matrix { step, transposed: false, batch_step: 0 }
    }

    /// Columns one behind the other.
    pub fn columns(step: usize) -> Matrix {
        Matrix { step, transposed: true, batch_step: 0 }
    }

    /// The same in a batch.
    pub fn every(self, batch_step: usize) -> Matrix {
        Matrix { batch_step, ..self }
    }

    /// Elements from the first to behind the last of `batch` matrices of `rows` × `cols`.
    fn extent(&self, rows: usize, cols: usize, batch: usize) -> usize {
        let (outer, inner) = if self.transposed { (cols, rows) } else { (rows, cols) };
        (batch - 1) * self.batch_step + (outer - 1) * self.step + inner
    }
}

impl Product {
    /// One plain product of dense row-major matrices; change what differs.
    pub fn dense(dtype: DType, [m, n, k]: [usize; 3], compute: Compute) -> Product {
        Product {
            m,
            n,
            k,
            batch: 1,
            dtype,
            out: if compute == Compute::I32 { DType::I32 } else { dtype },
            compute,
            a: Matrix::rows(k),
            b: Matrix::rows(n),
            c: None,
            d: Matrix::rows(n),
            alpha: 1.0,
            beta: 0.0,
            bias: false,
            round: Round::None,
            alignment: 16,
        }
    }

    /// The addresses' common alignment, for [`Product::alignment`]; more than 16 makes no difference to any algorithm.
    pub fn alignment_of(addresses: &[Address]) -> usize {
        let low = addresses.iter().fold(16, |low, address| low | address);
        1 << low.trailing_zeros()
    }
}

/// A product with the library that computes it. Operands: a, b, d, then c and bias where there are such.
pub struct WithBlas<'a> {
    pub blas: &'a Blas,
    pub product: &'a Product,
}

impl Blas {
    pub fn problem<'a>(&'a self, product: &'a Product) -> WithBlas<'a> {
        WithBlas { blas: self, product }
    }
}

impl Problem for WithBlas<'_> {
    type Choice = ProductChoice;

    fn key(&self) -> String {
        let p = self.product;
        let matrix = |m: &Matrix| {
            format!("{}{}+{}", if m.transposed { "t" } else { "" }, m.step, m.batch_step)
        };
        format!(
            "product {} {}x{}x{} {}-{} {:?} a{} b{} c{} d{}{}{}{:?} align{}",
            p.batch,
            p.m,
            p.n,
            p.k,
            p.dtype.wire_name(),
            p.out.wire_name(),
            p.compute,
            matrix(&p.a),
            matrix(&p.b),
            p.c.as_ref().map_or("-".to_owned(), matrix),
            matrix(&p.d),
            if p.beta == 0.0 { " " } else { " beta " },
            if p.bias { "bias " } else { "" },
            p.round,
            p.alignment,
        )
    }

    fn operands(&self) -> Vec<(usize, DType)> {
        let p = self.product;
        let bytes = |matrix: &Matrix, rows, cols, dtype: DType| {
            (matrix.extent(rows, cols, p.batch) * dtype.size(), dtype)
        };
        let mut operands = vec![
            bytes(&p.a, p.m, p.k, p.dtype),
            bytes(&p.b, p.k, p.n, p.dtype),
            bytes(&p.d, p.m, p.n, p.out),
        ];
        operands.extend(p.c.as_ref().map(|c| bytes(c, p.m, p.n, p.out)));
        operands.extend(p.bias.then_some((p.n * p.out.size(), p.out)));
        operands
    }

    fn choices(&self) -> Result<Vec<ProductChoice>, CudaError> {
        match call::choices(self.blas, self.product) {
            Err(error) if error.is_unsupported() => Ok(Vec::new()),
            other => other,
        }
    }

    fn scratch_bytes(&self, choice: &ProductChoice) -> usize {
        choice.workspace_bytes
    }

    fn calls(
        &self,
        choice: &ProductChoice,
        operands: &[Address],
        scratch: Address,
    ) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        Ok(vec![Box::new(Call::new(self.blas, self.product, choice, operands, scratch)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_reach_from_the_first_to_the_last_element() {
        assert_eq!(Matrix::rows(5).extent(3, 4, 1), 14);
        assert_eq!(Matrix::columns(5).extent(4, 3, 1), 14);
        assert_eq!(Matrix::rows(4).every(100).extent(3, 4, 2), 112);
    }

    #[test]
    fn alignment_is_that_of_the_worst_address() {
        assert_eq!(Product::alignment_of(&[0x1000, 0x2048]), 8);
        assert_eq!(Product::alignment_of(&[0x1000, 0x2100]), 16);
        assert_eq!(Product::alignment_of(&[0x1002]), 2);
    }
}
