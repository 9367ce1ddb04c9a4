//! The classification extension: an output's largest elements, as `score:index`.

use std::cmp::Ordering;
use sublet_graph::{DType, Literal};

/// The `classes` largest elements, best first, of the tensor or of each row of a batch. Returns the answer's shape,
/// `[classes]` or `[batch, classes]`, and its strings. Equal scores keep their order.
pub(crate) fn top(tensor: &Literal, classes: usize, batched: bool) -> (Vec<usize>, Vec<String>) {
    let rows = if batched { tensor.shape().first().copied().unwrap_or(1) } else { 1 };
    let row_len = tensor.len().checked_div(rows).unwrap_or(0);
    let classes = classes.min(row_len);
    let shape = if batched { vec![rows, classes] } else { vec![classes] };
    let scores = scores(tensor);
    let rows = scores.chunks_exact(row_len.max(1)).take(rows);
    (shape, rows.flat_map(|row| top_of_row(row, classes)).collect())
}

fn top_of_row(row: &[Score], classes: usize) -> Vec<String> {
    let better = |&a: &usize, &b: &usize| row[b].compare(&row[a]).then(a.cmp(&b));
    let mut order: Vec<usize> = (0..row.len()).collect();
    if classes > 0 && classes < order.len() {
        order.select_nth_unstable_by(classes - 1, better);
        order.truncate(classes);
    }
    order.sort_unstable_by(better);
    order.into_iter().take(classes).map(|index| row[index].label(index)).collect()
}

/// An element, exact for every type.
#[derive(Clone, Copy)]
enum Score {
    Float(f64),
    Int(i128),
}

impl Score {
    /// NaN counts as less than any number.
    fn compare(&self, other: &Score) -> Ordering {
        match (*self, *other) {
            (Score::Float(a), Score::Float(b)) => {
                a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
            }
            (Score::Int(a), Score::Int(b)) => a.cmp(&b),
            (Score::Float(_), Score::Int(_)) | (Score::Int(_), Score::Float(_)) => {
                unreachable!("one tensor has one type")
            }
        }
    }

    fn label(&self, index: usize) -> String {
        match self {
            Score::Float(score) => format!("{score:.6}:{index}"),
            Score::Int(score) => format!("{score}:{index}"),
        }
    }
}

fn scores(tensor: &Literal) -> Vec<Score> {
    fn ints<T: bytemuck::Pod + Into<i128>>(tensor: &Literal) -> Vec<Score> {
        tensor.to_vec::<T>().into_iter().map(|value| Score::Int(value.into())).collect()
    }
    match tensor.dtype() {
        DType::F64 => tensor.to_vec::<f64>().into_iter().map(Score::Float).collect(),
        DType::F32 | DType::F16 | DType::BF16 => {
            let values = tensor.to_f32s().expect("a floating-point tensor");
            values.into_iter().map(|value| Score::Float(value.into())).collect()
        }
        DType::I8 => ints::<i8>(tensor),
        DType::I16 => ints::<i16>(tensor),
        DType::I32 => ints::<i32>(tensor),
        DType::I64 => ints::<i64>(tensor),
        DType::U8 | DType::Bool => ints::<u8>(tensor),
        DType::U16 => ints::<u16>(tensor),
        DType::U32 => ints::<u32>(tensor),
        DType::U64 => ints::<u64>(tensor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_largest_in_order() {
        let tensor = Literal::f32(&[2, 4], &[0.1, 0.7, f32::NAN, 0.2, 3.0, 3.0, -1.0, 5.0]);
        let (shape, labels) = top(&tensor, 2, true);
        assert_eq!(shape, [2, 2]);
        assert_eq!(labels, ["0.700000:1", "0.200000:3", "5.000000:3", "3.000000:0"]);
        let (shape, labels) = top(&tensor, 3, false);
        assert_eq!(shape, [3]);
        assert_eq!(labels, ["5.000000:7", "3.000000:4", "3.000000:5"]);
    }

    #[test]
    fn counts_no_further_than_there_are_elements() {
        let tensor = Literal::i64(&[3], &[i64::MIN, i64::MAX, 0]);
        let (shape, labels) = top(&tensor, usize::MAX, false);
        assert_eq!(shape, [3]);
        assert_eq!(labels[0], format!("{}:1", i64::MAX));
        let empty = Literal::f32(&[0, 4], &[]);
        assert_eq!(top(&empty, 2, true), (vec![0, 0], vec![]));
        let scalar = Literal::f32(&[], &[1.0]);
        assert_eq!(top(&scalar, 2, true).1, ["1.000000:0"]);
    }
}
