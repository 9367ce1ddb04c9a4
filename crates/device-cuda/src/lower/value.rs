//! A value as a step sees it while it is lowered.

use crate::driver::Address;
use sublet_graph::{DType, Literal};

/// Type, shape and place of an input or output of a step.
#[derive(Clone, Debug)]
pub struct Value {
    pub dtype: DType,
    /// Logical shape, in the order that ONNX gives: `[n, c, h, w]` also where the elements lie channels last.
    pub shape: Vec<usize>,
    pub order: Order,
    /// Where the elements lie while the program runs.
    pub address: Address,
    /// The elements, where they are known when the plan is made (weights are not: they come and go).
    pub known: Option<Literal>,
}

/// In which order elements lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Order {
    /// Last axis innermost.
    #[default]
    RowMajor,
    /// Axis 1 innermost, then the last axis, …: `[n, c, h, w]` lies as `[n, h, w, c]`.
    ChannelsLast,
    /// Row-major within a value of longer rows: so many elements from one row (along the last axis) to the next.
    Within(usize),
}

impl Value {
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Elements from one index of each axis to the next.
    pub fn strides(&self) -> Vec<usize> {
        let rank = self.shape.len();
        if let Order::Within(row) = self.order {
            let mut stride = row;
            let mut strides = vec![1; rank];
            for axis in (0..rank.saturating_sub(1)).rev() {
                strides[axis] = stride;
                stride *= self.shape[axis];
            }
            return strides;
        }
        let mut innermost_first: Vec<usize> = (0..rank).rev().collect();
        if self.order == Order::ChannelsLast && rank > 2 {
            innermost_first.retain(|&axis| axis != 1);
            innermost_first.insert(0, 1);
        }
        let mut strides = vec![0; rank];
        let mut stride = 1;
        for axis in innermost_first {
            strides[axis] = stride;
            stride *= self.shape[axis];
        }
        strides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_follow_the_order() {
        let value = |order| Value {
            dtype: DType::F16,
            shape: vec![2, 5, 8, 3],
            order,
            address: 0,
            known: None,
        };
        assert_eq!(value(Order::RowMajor).strides(), [120, 24, 3, 1]);
        assert_eq!(value(Order::ChannelsLast).strides(), [120, 1, 15, 5]);
        assert_eq!(value(Order::Within(9)).strides(), [360, 72, 9, 1]);
    }
}
