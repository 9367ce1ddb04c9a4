//! Values outside the arena.

use crate::{Tensor, View};

/// A value outside the arena: one that a step made, or one that a body reads from outside.
pub enum Held<'a> {
    Owned(Tensor),
    Borrowed(View<'a>),
}

impl Held<'_> {
    pub fn view(&self) -> View<'_> {
        match self {
            Held::Owned(tensor) => tensor.view(),
            Held::Borrowed(view) => *view,
        }
    }

    pub fn into_tensor(self) -> Tensor {
        match self {
            Held::Owned(tensor) => tensor,
            Held::Borrowed(view) => copy(view),
        }
    }
}

/// A copy with memory of its own.
pub fn copy(view: View<'_>) -> Tensor {
    let mut buffer = sublet_device::AlignedBuffer::zeroed(view.bytes.len());
    buffer.copy_from_slice(view.bytes);
    Tensor { dtype: Some(view.dtype), shape: view.shape.to_vec(), buffer }
}
