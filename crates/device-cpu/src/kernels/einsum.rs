//! Einstein summation, as a chain of matrix products from left to right.
//!
//! Each operand loses repeated labels (its diagonal) and the labels that nothing else needs (their sum). Two operands
//! then share three kinds of labels: those that remain number independent products, those that vanish are summed
//! over, and the rest are rows and columns.

use super::element::with_wide;
use super::operands::{invalid, strides};
use super::parallel;
use super::product::{Mat, Product};
use super::reduce::{Bounded, sum};
use super::reduce_layout::Layout;
use super::strided::{self, Dim};
use crate::{KernelError, View, ViewMut};
use bytemuck::Pod;
use std::borrow::Cow;
use sublet_graph::shape;

pub fn einsum(
    inputs: &[Option<View<'_>>],
    equation: &str,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let operands: Vec<View<'_>> = inputs.iter().copied().flatten().collect();
    let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape).collect();
    let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
    let labels = shape::einsum_labels(equation, &ranks)?;
    if shape::einsum_shape(&labels, &shapes)? != y.shape
        || operands.iter().any(|operand| operand.dtype != y.dtype)
    {
        return Err(invalid(format!("`{equation}` of {shapes:?} into {} {:?}", y.dtype, y.shape)));
    }
    with_wide!("Einsum", y.dtype, T => {
        let mut terms = Vec::with_capacity(operands.len());
        for (operand, labels) in operands.iter().zip(&labels.operands) {
            terms.push((operand.values::<T>(), operand.shape, labels.as_slice()));
        }
        contract_all(&terms, &labels.output, y.values::<T>())
    })
}

/// An operand whose labels are distinct. Dense; without the axes that broadcast.
struct Term<'a, T: Pod> {
    labels: Vec<u32>,
    shape: Vec<usize>,
    values: Cow<'a, [T]>,
}

fn contract_all<T: Product + Bounded>(
    operands: &[(&[T], &[usize], &[u32])],
    output: &[u32],
    y: &mut [T],
) -> Result<(), KernelError> {
    let size_of = |label: u32| {
        let axes = operands.iter().flat_map(|(_, shape, labels)| labels.iter().zip(*shape));
        axes.filter(|(other, _)| **other == label).map(|(_, &dim)| dim).find(|&dim| dim != 1)
    };
    let mut terms = Vec::with_capacity(operands.len());
    for &(values, shape, labels) in operands {
        terms.push(Term::new(values, shape, labels, |label| size_of(label).unwrap_or(1))?);
    }
    let mut rest = terms.into_iter();
    let mut total = rest.next().ok_or_else(|| invalid("an equation without operands"))?;
    loop {
        let later: Vec<u32> = rest.as_slice().iter().flat_map(|term| term.labels.clone()).collect();
        total = total.sum_except(|label| output.contains(&label) || later.contains(&label))?;
        let Some(next) = rest.next() else {
            break;
        };
        let later: Vec<u32> = rest.as_slice().iter().flat_map(|term| term.labels.clone()).collect();
        let needed = |label: u32| output.contains(&label) || later.contains(&label);
        let next = next.sum_except(|label| needed(label) || total.labels.contains(&label))?;
        // The first axis of the result numbers rows, whose rounding does not depend on how many there are.
        let first_is_new = output
            .first()
            .is_some_and(|first| next.labels.contains(first) && !total.labels.contains(first));
        total = if first_is_new {
            multiply(&next, &total, needed)?
        } else {
            multiply(&total, &next, needed)?
        };
    }
    let values = total.arranged(output)?;
    if values.len() != y.len() {
        return Err(invalid("an output label without a size"));
    }
    y.copy_from_slice(&values);
    Ok(())
}

impl<'a, T: Product + Bounded> Term<'a, T> {
    /// The diagonal along repeated labels; axes of size 1 under a longer label are dropped.
    fn new(
        values: &'a [T],
        shape: &[usize],
        labels: &[u32],
        size_of: impl Fn(u32) -> usize,
    ) -> Result<Self, KernelError> {
        let mut distinct: Vec<(u32, usize, usize)> = Vec::new();
        for ((&label, &dim), stride) in labels.iter().zip(shape).zip(strides(shape)) {
            if dim != size_of(label) {
                continue;
            }
            match distinct.iter_mut().find(|(other, ..)| *other == label) {
                Some((_, _, step)) => *step += stride,
                None => distinct.push((label, dim, stride)),
            }
        }
        let labels: Vec<u32> = distinct.iter().map(|axis| axis.0).collect();
        let shape: Vec<usize> = distinct.iter().map(|axis| axis.1).collect();
        let steps: Vec<usize> = distinct.iter().map(|axis| axis.2).collect();
        let values = match steps == strides(&shape) {
            true => Cow::Borrowed(values),
            false => Cow::Owned(read(values, shape.iter().copied().zip(steps))?),
        };
        Ok(Term { labels, shape, values })
    }

    /// Sums over the labels that are not needed.
    fn sum_except(self, needed: impl Fn(u32) -> bool) -> Result<Self, KernelError> {
        let summed: Vec<usize> =
            (0..self.labels.len()).filter(|&axis| !needed(self.labels[axis])).collect();
        if summed.is_empty() {
            return Ok(self);
        }
        let layout = Layout::new(&self.shape, &summed);
        let mut values = vec![T::ZERO; layout.outputs()];
        sum(&layout, &self.values, &mut values);
        let kept = |axis: &usize| !summed.contains(axis);
        let axes = || (0..self.labels.len()).filter(kept);
        Ok(Term {
            labels: axes().map(|axis| self.labels[axis]).collect(),
            shape: axes().map(|axis| self.shape[axis]).collect(),
            values: Cow::Owned(values),
        })
    }

    fn size(&self, label: u32) -> Option<usize> {
        self.labels.iter().position(|&other| other == label).map(|axis| self.shape[axis])
    }

    /// The values with the axes in the order of `labels`.
    fn arranged(&self, labels: &[u32]) -> Result<Cow<'_, [T]>, KernelError> {
        if self.labels == labels {
            return Ok(Cow::Borrowed(&self.values));
        }
        let steps = strides(&self.shape);
        let dims = labels.iter().map(|label| {
            let axis = self.labels.iter().position(|other| other == label);
            axis.map_or((1, 0), |axis| (self.shape[axis], steps[axis]))
        });
        read(&self.values, dims).map(Cow::Owned)
    }
}

/// Reads `values` along dimensions given by length and step.
fn read<T: Pod>(
    values: &[T],
    dims: impl Iterator<Item = (usize, usize)>,
) -> Result<Vec<T>, KernelError> {
    let size = std::mem::size_of::<T>();
    let dims: Vec<Dim> =
        dims.map(|(len, step)| Dim { len, step: (step * size) as isize }).collect();
    let mut result = vec![T::zeroed(); dims.iter().map(|dim| dim.len).product()];
    let (src, dst) = (bytemuck::cast_slice(values), bytemuck::cast_slice_mut(&mut result));
    strided::copy(src, size, 0, &dims, dst)?;
    Ok(result)
}

fn multiply<T: Product + Bounded>(
    a: &Term<'_, T>,
    b: &Term<'_, T>,
    needed: impl Fn(u32) -> bool,
) -> Result<Term<'static, T>, KernelError> {
    let shared = |label: &u32| b.labels.contains(label);
    let of = |term: &Term<'_, T>, keep: &dyn Fn(&u32) -> bool| -> Vec<u32> {
        term.labels.iter().copied().filter(|label| keep(label)).collect()
    };
    let batch = of(a, &|label| shared(label) && needed(*label));
    let depth = of(a, &|label| shared(label) && !needed(*label));
    let rows = of(a, &|label| !shared(label));
    let columns = of(b, &|label| !a.labels.contains(label));
    let count = |term: &Term<'_, T>, labels: &[u32]| -> usize {
        labels.iter().map(|&label| term.size(label).unwrap_or(1)).product()
    };
    let (m, k, n) = (count(a, &rows), count(a, &depth), count(b, &columns));
    let batches = count(a, &batch);
    let a_values = a.arranged(&[batch.as_slice(), &rows, &depth].concat())?;
    let b_values = b.arranged(&[batch.as_slice(), &depth, &columns].concat())?;
    let mut values = vec![T::ZERO; batches * m * n];
    let product = |index: usize, out: &mut [T]| {
        let left = Mat::new(&a_values[index * m * k..], m, k);
        let right = Mat::new(&b_values[index * k * n..], k, n);
        T::product(out, left, right, None).expect("sizes were checked");
    };
    if batches == 1 {
        product(0, &mut values);
    } else {
        parallel::rows(&mut values, m * n, m * n * k, product);
    }
    let labels = [batch, rows, columns].concat();
    let size = |&label: &u32| a.size(label).or(b.size(label)).unwrap_or(1);
    let shape = labels.iter().map(size).collect();
    Ok(Term { labels, shape, values: Cow::Owned(values) })
}
