//! Determinants of square matrices.

use super::element::{Arithmetic, with_real};
use super::operands::invalid;
use crate::{KernelError, View, ViewMut};

/// x `[…, n, n]`, y `[…]`. Computed in double precision by elimination with row exchanges.
pub fn determinant(x: View<'_>, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let n = match x.shape {
        &[.., rows, columns] if rows == columns => rows,
        other => return Err(invalid(format!("the determinant of {other:?}"))),
    };
    if y.len() * n * n != x.len() {
        return Err(invalid(format!("the determinant of {:?} into {:?}", x.shape, y.shape)));
    }
    with_real!("Det", x.dtype, T => {
        let x = x.values::<T>();
        for (index, y) in y.values::<T>().iter_mut().enumerate() {
            let matrix = x[index * n * n..][..n * n].iter().map(|x| x.to_f64()).collect();
            *y = T::from_f64(eliminate(matrix, n));
        }
        Ok(())
    })
}

fn eliminate(mut matrix: Vec<f64>, n: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..n {
        let size = |row: &usize| matrix[row * n + column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        if pivot != column {
            product = -product;
            for place in column..n {
                matrix.swap(pivot * n + place, column * n + place);
            }
        }
        let value = matrix[column * n + column];
        product *= value;
        if value == 0.0 {
            return 0.0;
        }
        let (above, below) = matrix.split_at_mut((column + 1) * n);
        let pivot_row = &above[column * n..];
        for row in below.chunks_exact_mut(n) {
            let factor = row[column] / value;
            for (place, pivot) in row.iter_mut().zip(pivot_row).skip(column) {
                *place -= factor * pivot;
            }
        }
    }
    product
}
