//! The CPU device: the oracle for every later kernel, and a usable default.
//!
//! `kernels` computes one operator on views; `dispatch` is the one exhaustive match over `Op`.

mod dispatch;
mod kernels;
mod tensor;

pub use tensor::{KernelError, Tensor, View, ViewMut};
