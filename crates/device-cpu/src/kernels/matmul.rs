//! Matrix products as operators: MatMul, Linear, Gemm.

use super::activation;
use super::broadcast::{Walk, map2};
use super::element::{Arithmetic, Real, with_real, with_wide};
use super::operands::{input, invalid, optional, output};
use super::parallel;
use super::product::{Mat, Product};
use crate::{KernelError, View, ViewMut};
use sublet_graph::Activation;

/// The matrices of a product with broadcast leading axes, as `numpy.matmul` sees them.
pub struct Batches {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// For each matrix of the result, which matrix of each operand; empty when the right operand is one matrix.
    pub pairs: Vec<(usize, usize)>,
}

impl Batches {
    /// # Errors
    /// [`KernelError::Invalid`] when the shapes do not multiply.
    pub fn new(a: &[usize], b: &[usize]) -> Result<Self, KernelError> {
        let mismatch = || invalid(format!("product of shapes {a:?} and {b:?}"));
        let (a_lead, m, k) = match a {
            [] => return Err(mismatch()),
            [k] => (&a[..0], 1, *k),
            [lead @ .., m, k] => (lead, *m, *k),
        };
        let (b_lead, b_k, n) = match b {
            [] => return Err(mismatch()),
            [k] => (&b[..0], *k, 1),
            [lead @ .., k, n] => (lead, *k, *n),
        };
        if k != b_k {
            return Err(mismatch());
        }
        let count = |lead: &[usize]| lead.iter().product::<usize>();
        if b_lead.iter().all(|&size| size == 1) {
            return Ok(Batches { m: m * count(a_lead), k, n, pairs: Vec::new() });
        }
        let rank = a_lead.len().max(b_lead.len());
        let size = |lead: &[usize], axis: usize| {
            (axis + lead.len()).checked_sub(rank).map_or(1, |axis| lead[axis])
        };
        let mut pairs = vec![(0, 0)];
        for axis in 0..rank {
            let (own_a, own_b) = (size(a_lead, axis), size(b_lead, axis));
            if own_a != own_b && own_a != 1 && own_b != 1 {
                return Err(mismatch());
            }
            let steps = if own_a == 1 { own_b } else { own_a };
            let pick = |own, step| if own == 1 { 0 } else { step };
            pairs = pairs
                .iter()
                .flat_map(|&(in_a, in_b)| {
                    (0..steps).map(move |step| {
                        (in_a * own_a + pick(own_a, step), in_b * own_b + pick(own_b, step))
                    })
                })
                .collect();
        }
        Ok(Batches { m, k, n, pairs })
    }
}

/// Computes [`sublet_graph::Op::MatMul`].
pub fn matmul(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let out = output(outputs, 0)?;
    let batches = Batches::new(a.shape, b.shape)?;
    with_wide!("MatMul", a.dtype, T => {
        multiply::<T>(&batches, a.values(), b.values(), out.values())
    })
}

fn multiply<T: Product>(
    batches: &Batches,
    a: &[T],
    b: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    let Batches { m, k, n, pairs } = batches;
    let (m, k, n) = (*m, *k, *n);
    if pairs.is_empty() {
        return T::product(out, Mat::new(a, m, k), Mat::new(b, k, n), None);
    }
    if out.len() != pairs.len() * m * n {
        return Err(invalid(format!(
            "{} elements for a product of {}",
            out.len(),
            pairs.len() * m * n
        )));
    }
    parallel::rows(out, m * n, m * n * k, |matrix, out| {
        let (in_a, in_b) = pairs[matrix];
        let a = Mat::new(&a[in_a * m * k..], m, k);
        let b = Mat::new(&b[in_b * k * n..], k, n);
        T::product(out, a, b, None).expect("sizes were checked");
    });
    Ok(())
}

/// Computes [`sublet_graph::Op::Linear`].
pub fn linear(
    activation: Activation,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (x, w) = (input(inputs, 0)?, input(inputs, 1)?);
    let bias = optional(inputs, 2);
    let out = output(outputs, 0)?;
    let &[k, n] = w.shape else {
        return Err(invalid(format!("weights of shape {:?} in a linear layer", w.shape)));
    };
    if x.shape.last() != Some(&k) {
        return Err(invalid(format!("{:?} times weights {:?}", x.shape, w.shape)));
    }
    let m = x.shape[..x.rank() - 1].iter().product();
    with_real!("Linear", x.dtype, T => {
        let bias = bias.map(|bias| bias.values::<T>());
        let out = out.values::<T>();
        T::product(out, Mat::new(x.values(), m, k), Mat::new(w.values(), k, n), bias)?;
        activate(activation, out);
        Ok(())
    })
}

/// Applies `activation` with all threads.
pub fn activate<T: Real>(act: Activation, values: &mut [T]) {
    if act != Activation::None {
        parallel::chunks(values, |_, part| activation::apply(act, part));
    }
}

/// Computes [`sublet_graph::Op::Gemm`].
pub fn gemm(
    alpha: f32,
    beta: f32,
    (trans_a, trans_b): (bool, bool),
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (a, b, c) = (input(inputs, 0)?, input(inputs, 1)?, optional(inputs, 2));
    let out = output(outputs, 0)?;
    let (&[a_rows, a_cols], &[b_rows, b_cols]) = (a.shape, b.shape) else {
        return Err(invalid(format!("Gemm of shapes {:?} and {:?}", a.shape, b.shape)));
    };
    with_wide!("Gemm", a.dtype, T => {
        let a = Mat::<T>::new(a.values(), a_rows, a_cols);
        let b = Mat::<T>::new(b.values(), b_rows, b_cols);
        let a = if trans_a { a.transposed() } else { a };
        let b = if trans_b { b.transposed() } else { b };
        let shape = out.shape;
        let out = out.values::<T>();
        let scale = |by: f32| T::from_f64(f64::from(by));
        // The usual case, a bias per column, is added while the product is made.
        let row_bias = c.filter(|c| {
            alpha == 1.0 && beta == 1.0 && c.len() == b.cols && c.shape.last() == Some(&b.cols)
        });
        if let Some(c) = row_bias {
            return T::product(out, a, b, Some(c.values()));
        }
        T::product(out, a, b, None)?;
        if alpha != 1.0 {
            let alpha = scale(alpha);
            parallel::chunks(out, |_, part| part.iter_mut().for_each(|x| *x = x.mul(alpha)));
        }
        if let Some(c) = c.filter(|_| beta != 0.0) {
            let beta = scale(beta);
            let walk = Walk::new(shape, [shape, c.shape])?;
            let product = out.to_vec();
            map2(&walk, &product, c.values::<T>(), out, |x: T, c| x.add(beta.mul(c)));
        }
        Ok(())
    })
}
