//! Values of successive iterations joined into one tensor.

use super::Failure;
use crate::{Tensor, View};
use sublet_device::AlignedBuffer;
use sublet_graph::DType;

/// Most bytes that the iterations of one loop may gather.
const BYTES_MAX: usize = 4 << 30;

/// What one scan output has gathered so far: iterations along a new first axis.
pub struct Stack {
    dtype: DType,
    /// Of one iteration.
    shape: Option<Vec<usize>>,
    bytes: Vec<u8>,
    count: usize,
}

impl Stack {
    /// `shape`: of one iteration, when it is known beforehand.
    pub fn new(dtype: DType, shape: Option<Vec<usize>>) -> Self {
        Stack { dtype, shape, bytes: Vec::new(), count: 0 }
    }

    pub fn push(&mut self, value: View<'_>) -> Result<(), Failure> {
        let shape = self.shape.get_or_insert_with(|| value.shape.to_vec());
        if shape != value.shape {
            let what = format!("a scan output changes shape from {shape:?} to {:?}", value.shape);
            return Err(Failure::invalid(what));
        }
        if self.bytes.len() + value.bytes.len() > BYTES_MAX {
            return Err(Failure::invalid("a scan output grows too large"));
        }
        self.bytes.extend_from_slice(value.bytes);
        self.count += 1;
        Ok(())
    }

    /// The iterations along axis `axis`, in order or from the last to the first. Without any iteration the other
    /// dimensions are those known beforehand, or none.
    pub fn finish(self, axis: i64, reverse: bool) -> Result<Tensor, Failure> {
        let each = self.shape.unwrap_or_default();
        let rank = each.len() as i64 + 1;
        let axis = if axis < 0 { axis + rank } else { axis };
        if !(0..rank).contains(&axis) {
            return Err(Failure::invalid(format!(
                "no axis {axis} in a scan output of rank {rank}"
            )));
        }
        let axis = axis as usize;
        let outer: usize = each[..axis].iter().product();
        let inner: usize = each[axis..].iter().product::<usize>() * self.dtype.size();
        let mut buffer = AlignedBuffer::zeroed(self.bytes.len());
        if inner > 0 {
            let rows = buffer.chunks_exact_mut(inner).enumerate();
            for (to, row) in rows {
                let (group, index) = (to / self.count, to % self.count);
                let iteration = if reverse { self.count - 1 - index } else { index };
                let from = (iteration * outer + group) * inner;
                row.copy_from_slice(&self.bytes[from..from + inner]);
            }
        }
        let mut shape = each;
        shape.insert(axis, self.count);
        Ok(Tensor { dtype: Some(self.dtype), shape, buffer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacked(axis: i64, reverse: bool) -> (Vec<usize>, Vec<u8>) {
        let mut stack = Stack::new(DType::U8, None);
        for bytes in [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]] {
            stack.push(View { dtype: DType::U8, shape: &[2, 2], bytes: &bytes }).unwrap();
        }
        let tensor = stack.finish(axis, reverse).unwrap();
        (tensor.shape.clone(), tensor.buffer.to_vec())
    }

    #[test]
    fn joins_along_any_axis_in_both_directions() {
        let (shape, bytes) = stacked(0, false);
        assert_eq!((shape, bytes), (vec![3, 2, 2], (1..=12).collect()));
        let (shape, bytes) = stacked(1, false);
        assert_eq!((shape, bytes), (vec![2, 3, 2], vec![1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]));
        let (shape, bytes) = stacked(-1, true);
        assert_eq!((shape, bytes), (vec![2, 2, 3], vec![9, 5, 1, 10, 6, 2, 11, 7, 3, 12, 8, 4]));
    }

    #[test]
    fn shapes_must_agree() {
        let mut stack = Stack::new(DType::U8, None);
        stack.push(View { dtype: DType::U8, shape: &[1], bytes: &[1] }).unwrap();
        assert!(stack.push(View { dtype: DType::U8, shape: &[2], bytes: &[1, 2] }).is_err());
        let empty = Stack::new(DType::F32, Some(vec![3])).finish(0, false).unwrap();
        assert_eq!(empty.shape, [0, 3]);
    }
}
