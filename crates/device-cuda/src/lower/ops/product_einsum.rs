//! Einstein summation, as a chain of matrix products from left to right.
//!
//! Each operand loses repeated labels (its diagonal, by strides) and the labels that nothing else needs (their sum, by
//! a product with ones). Two operands then share three kinds of labels: those that remain number independent products,
//! those that vanish are summed over, and the rest are rows and columns. Operands whose strides cannot express that
//! are copied first.

use super::map::{Access, Map, map};
use super::operands::{output, strides_of};
use super::product::{Axes, compute, multiply};
use super::product_integer;
use crate::blas::{Compute, Matrix, Product};
use crate::driver::Address;
use crate::lower::{Emitter, LowerError, Value};
use sublet_graph::{DType, shape};

/// An operand whose labels are distinct, without the axes that broadcast.
#[derive(Clone, Debug)]
struct Term {
    address: Address,
    dtype: DType,
    axes: Vec<Axis>,
}

#[derive(Clone, Copy, Debug)]
struct Axis {
    label: u32,
    size: usize,
    /// Elements from one index to the next.
    step: usize,
}

/// Emits `Op::Einsum`.
pub fn einsum(
    emitter: &mut Emitter<'_>,
    equation: &str,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let y = output(outputs, 0)?;
    let operands: Vec<&Value> = inputs.iter().flatten().collect();
    let shapes: Vec<&[usize]> = operands.iter().map(|operand| &operand.shape[..]).collect();
    let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
    let labels = shape::einsum_labels(equation, &ranks)?;
    if shape::einsum_shape(&labels, &shapes)? != y.shape {
        return Err(LowerError::Invalid(format!("`{equation}` of {shapes:?} into {:?}", y.shape)));
    }
    if y.elements() == 0 {
        return Ok(());
    }
    let size_of = |label: u32| {
        let axes = labels.operands.iter().zip(&shapes).flat_map(|(l, s)| l.iter().zip(*s));
        axes.filter(|(other, _)| **other == label).map(|(_, &dim)| dim).find(|&dim| dim != 1)
    };
    let terms = operands.iter().zip(&labels.operands);
    let mut rest: std::collections::VecDeque<Term> =
        terms.map(|(value, labels)| Term::of(value, labels, |l| size_of(l).unwrap_or(1))).collect();
    if rest.iter().any(|term| term.axes.iter().any(|axis| axis.size == 0)) {
        emitter.fill(y.address, 0, y.bytes());
        return Ok(());
    }
    let first = rest.pop_front();
    let mut total = first.ok_or_else(|| LowerError::Invalid("an equation of nothing".into()))?;
    loop {
        let needed = |label: u32, rest: &std::collections::VecDeque<Term>| {
            labels.output.contains(&label) || rest.iter().any(|term| term.has(label))
        };
        total = total.summed(emitter, |label| needed(label, &rest))?;
        let Some(next) = rest.pop_front() else { break };
        let shared = |label: u32| needed(label, &rest) || total.has(label);
        let next = next.summed(emitter, shared)?;
        total = contracted(emitter, &total, &next, |label| needed(label, &rest))?;
    }
    total.copied(emitter, &labels.output, &y.shape, y.address)
}

impl Term {
    /// The diagonal along repeated labels; axes of size 1 under a longer label are dropped.
    fn of(value: &Value, labels: &[u32], size_of: impl Fn(u32) -> usize) -> Term {
        let mut axes: Vec<Axis> = Vec::new();
        for ((&label, &size), step) in labels.iter().zip(&value.shape).zip(value.strides()) {
            if size != size_of(label) || size == 1 {
                continue;
            }
            match axes.iter_mut().find(|axis| axis.label == label) {
                Some(axis) => axis.step += step,
                None => axes.push(Axis { label, size, step }),
            }
        }
        Term { address: value.address, dtype: value.dtype, axes }
    }

    fn has(&self, label: u32) -> bool {
        self.axes.iter().any(|axis| axis.label == label)
    }

    fn part(&self, wanted: impl Fn(u32) -> bool) -> Vec<Axis> {
        self.axes.iter().copied().filter(|axis| wanted(axis.label)).collect()
    }

    /// Dense in scratch memory, with the axes in that order.
    fn dense(&self, emitter: &mut Emitter<'_>, order: &[Axis]) -> Result<Term, LowerError> {
        let sizes: Vec<usize> = order.iter().map(|axis| axis.size).collect();
        let labels: Vec<u32> = order.iter().map(|axis| axis.label).collect();
        let address = emitter.scratch(sizes.iter().product::<usize>() * self.dtype.size());
        self.copied(emitter, &labels, &sizes, address)?;
        let axes = order.iter().zip(strides_of(&sizes));
        let axes = axes.map(|(&axis, step)| Axis { step, ..axis }).collect();
        Ok(Term { address, dtype: self.dtype, axes })
    }

    /// Copies the elements into row-major order of the labels.
    fn copied(
        &self,
        emitter: &mut Emitter<'_>,
        labels: &[u32],
        sizes: &[usize],
        to: Address,
    ) -> Result<(), LowerError> {
        let step = |label: &u32| {
            self.axes.iter().find(|axis| axis.label == *label).map_or(0, |axis| axis.step as i64)
        };
        let dtype = super::ctype::bits(self.dtype);
        let strides = strides_of(sizes).iter().map(|&step| step as i64).collect();
        let kernel = Map {
            name: "einsum order",
            dims: sizes.to_vec(),
            loads: vec![Access {
                address: self.address,
                dtype,
                strides: labels.iter().map(step).collect(),
            }],
            stores: vec![Access { address: to, dtype, strides }],
            body: "    y0 = x0;\n".to_owned(),
            fault: None,
        };
        map(emitter, kernel)
    }

    /// Sums over the labels that are not needed.
    fn summed(
        self,
        emitter: &mut Emitter<'_>,
        needed: impl Fn(u32) -> bool,
    ) -> Result<Term, LowerError> {
        let gone = self.part(|label| !needed(label));
        if gone.is_empty() {
            return Ok(self);
        }
        // A product with as many ones.
        let count = gone.iter().map(|axis| axis.size).product::<usize>();
        let address = emitter.scratch(count * self.dtype.size());
        let one = Access { address, dtype: self.dtype, strides: vec![1] };
        let kernel = Map {
            name: "ones",
            dims: vec![count],
            loads: Vec::new(),
            stores: vec![one],
            body: "    y0 = 1;\n".to_owned(),
            fault: None,
        };
        map(emitter, kernel)?;
        let sizes: Vec<usize> = gone.iter().map(|axis| axis.size).collect();
        let axes = gone.iter().zip(strides_of(&sizes));
        let axes = axes.map(|(&axis, step)| Axis { step, ..axis }).collect();
        let ones = Term { address, dtype: self.dtype, axes };
        contracted(emitter, &self, &ones, needed)
    }
}

/// Axes as one, where they lie one inside the other.
fn merged(axes: &[Axis]) -> Option<(usize, usize)> {
    let Some((last, outer)) = axes.split_last() else { return Some((1, 1)) };
    let mut size = last.size;
    for axis in outer.iter().rev() {
        if axis.step != last.step * size {
            return None;
        }
        size *= axis.size;
    }
    Some((size, last.step))
}

/// A matrix of a term's axes, where strides express it.
fn matrix(rows: &[Axis], cols: &[Axis]) -> Option<Matrix> {
    let ((row_count, row_step), (col_count, col_step)) = (merged(rows)?, merged(cols)?);
    if (col_step == 1 || col_count == 1) && (row_step >= col_count || row_count == 1) {
        return Some(Matrix::rows(row_step.max(col_count)));
    }
    let columns = (row_step == 1 || row_count == 1) && (col_step >= row_count || col_count == 1);
    columns.then(|| Matrix::columns(col_step.max(row_count)))
}

/// The product of two terms, summed over what they share and nothing needs.
fn contracted(
    emitter: &mut Emitter<'_>,
    a: &Term,
    b: &Term,
    needed: impl Fn(u32) -> bool,
) -> Result<Term, LowerError> {
    let both = |label: u32| a.has(label) && b.has(label);
    let batch = a.part(|label| both(label) && needed(label));
    let gone = a.part(|label| both(label) && !needed(label));
    let rows = a.part(|label| !b.has(label));
    let cols = b.part(|label| !a.has(label));
    // The same axes as they lie in a term.
    let within = |term: &Term, axes: &[Axis]| -> Vec<Axis> {
        let find = |axis: &Axis| term.axes.iter().find(|own| own.label == axis.label);
        axes.iter().map(|axis| *find(axis).expect("the term has the label")).collect()
    };
    let (mut a, mut b) = (a.clone(), b.clone());
    if matrix(&rows, &gone).is_none() {
        a = a.dense(emitter, &[&batch[..], &rows, &gone].concat())?;
    }
    if matrix(&within(&b, &gone), &cols).is_none() {
        let order = [&batch[..], &gone, &cols].concat();
        b = b.dense(emitter, &order)?;
    }
    let of = |term: &Term, first: &[Axis], second: &[Axis]| {
        matrix(&within(term, first), &within(term, second))
            .ok_or_else(|| LowerError::unsupported("an einsum whose operands have no matrix form"))
    };
    let (in_a, in_b) = (of(&a, &rows, &gone)?, of(&b, &gone, &cols)?);
    let count = |axes: &[Axis]| axes.iter().map(|axis| axis.size).product::<usize>();
    let (m, n, k) = (count(&rows), count(&cols), count(&gone));
    let order = [&batch[..], &rows, &cols].concat();
    let sizes: Vec<usize> = order.iter().map(|axis| axis.size).collect();
    let steps = strides_of(&sizes);
    let axes = Axes::new((0..batch.len()).map(|at| {
        let own = [within(&a, &batch)[at].step, within(&b, &batch)[at].step, steps[at]];
        (batch[at].size, own)
    }));
    let address = emitter.scratch(count(&order) * a.dtype.size());
    let float = a.dtype.is_float();
    let arithmetic = if float { compute(emitter.gpu, a.dtype) } else { Compute::I32 };
    let product = Product { a: in_a, b: in_b, ..Product::dense(a.dtype, [m, n, k], arithmetic) };
    if float {
        multiply(emitter, &product, &axes, [a.address, b.address, address])?;
    } else {
        product_integer::multiply(emitter, &product, &axes, [a.address, b.address, address])?;
    }
    let result = order.iter().zip(steps).map(|(&axis, step)| Axis { step, ..axis }).collect();
    Ok(Term { address, dtype: a.dtype, axes: result })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(label: char, size: usize, step: usize) -> Axis {
        Axis { label: label as u32, size, step }
    }

    #[test]
    fn axes_one_inside_the_other_are_one() {
        assert_eq!(merged(&[]), Some((1, 1)));
        assert_eq!(merged(&[axis('a', 2, 12), axis('b', 3, 4)]), Some((6, 4)));
        assert_eq!(merged(&[axis('a', 2, 4), axis('b', 3, 8)]), None);
    }

    #[test]
    fn matrices_have_neighbours_along_one_side() {
        let (i, j) = (axis('i', 2, 3), axis('j', 3, 1));
        assert_eq!(matrix(&[i], &[j]), Some(Matrix::rows(3)));
        assert_eq!(matrix(&[j], &[i]), Some(Matrix::columns(3)));
        assert_eq!(matrix(&[axis('i', 2, 30)], &[axis('j', 3, 10)]), None);
        // A diagonal of a matrix against itself steps over more than it has.
        assert_eq!(matrix(&[axis('i', 3, 4)], &[]), Some(Matrix::rows(4)));
        assert_eq!(matrix(&[], &[axis('i', 3, 4)]), Some(Matrix::columns(4)));
    }
}
