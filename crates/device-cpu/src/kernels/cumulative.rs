//! Running sums and products along an axis.

use super::element::{Arithmetic, with_arithmetic};
use super::operands::{around, input, integer};
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape;

/// What runs along the axis.
#[derive(Clone, Copy, PartialEq)]
pub enum Running {
    Sum,
    Product,
}

/// Inputs: data, axis. Element `i` combines the elements up to `i`, or before it (`exclusive`), counted from the end when `reverse`.
pub fn cumulative(
    inputs: &[Option<View<'_>>],
    running: Running,
    exclusive: bool,
    reverse: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let axis = shape::axis(integer(input(inputs, 1)?)?, x.rank())?;
    let (_, len, inner) = around(x.shape, axis);
    if y.is_empty() {
        return Ok(());
    }
    with_arithmetic!("a running sum or product", x.dtype, T => {
        let (start, combine): (T, fn(T, T) -> T) = match running {
            Running::Sum => (T::ZERO, T::add),
            Running::Product => (T::ONE, T::mul),
        };
        let rows = x.values::<T>().chunks_exact(len * inner);
        let mut sums = vec![start; inner];
        for (x, y) in rows.zip(y.values::<T>().chunks_exact_mut(len * inner)) {
            sums.fill(start);
            for step in 0..len {
                let step = if reverse { len - 1 - step } else { step } * inner;
                let x = &x[step..step + inner];
                let y = &mut y[step..step + inner];
                for ((sum, &x), y) in sums.iter_mut().zip(x).zip(y) {
                    let next = combine(*sum, x);
                    *y = if exclusive { *sum } else { next };
                    *sum = next;
                }
            }
        }
        Ok(())
    })
}
