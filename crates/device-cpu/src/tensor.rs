//! Tensors as kernels see them: aligned, dense, row-major.

use bytemuck::Pod;
use sublet_device::AlignedBuffer;
use sublet_graph::{DType, Literal, byte_len};

/// A tensor that a kernel reads.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    /// Exactly as long as type and shape say, and aligned for the type.
    pub bytes: &'a [u8],
}

/// A tensor that a kernel writes. Its type and shape are what inference says; its old contents are arbitrary.
pub struct ViewMut<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    pub bytes: &'a mut [u8],
}

/// A tensor with memory of its own: outputs whose shape only the run tells, and everything in loop bodies.
#[derive(Default)]
pub struct Tensor {
    pub dtype: Option<DType>,
    pub shape: Vec<usize>,
    pub buffer: AlignedBuffer,
}

/// Why a kernel did not compute.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KernelError {
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Invalid(String),
}

impl<'a> View<'a> {
    /// The elements. Panics when `T` does not have the size of the element type.
    pub fn values<T: Pod>(&self) -> &'a [T] {
        assert_eq!(std::mem::size_of::<T>(), self.dtype.size(), "element size of {}", self.dtype);
        bytemuck::cast_slice(self.bytes)
    }

    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }
}

impl ViewMut<'_> {
    /// The elements. Panics when `T` does not have the size of the element type.
    pub fn values<T: Pod>(&mut self) -> &mut [T] {
        assert_eq!(std::mem::size_of::<T>(), self.dtype.size(), "element size of {}", self.dtype);
        bytemuck::cast_slice_mut(self.bytes)
    }

    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] when the size overflows.
    pub fn zeroed(dtype: DType, shape: &[usize]) -> Result<Self, KernelError> {
        let len = byte_len(dtype, shape).filter(|&len| len <= isize::MAX as usize / 2).ok_or_else(
            || KernelError::Invalid(format!("a tensor of shape {shape:?} is too large")),
        )?;
        Ok(Tensor { dtype: Some(dtype), shape: shape.to_vec(), buffer: AlignedBuffer::zeroed(len) })
    }

    pub fn from_literal(literal: &Literal) -> Self {
        let mut buffer = AlignedBuffer::zeroed(literal.bytes().len());
        buffer.copy_from_slice(literal.bytes());
        Tensor { dtype: Some(literal.dtype()), shape: literal.shape().to_vec(), buffer }
    }

    pub fn to_literal(&self) -> Literal {
        let bytes = bytes::Bytes::copy_from_slice(&self.buffer);
        Literal::new(self.dtype(), self.shape.clone(), bytes)
            .expect("a tensor is as long as its shape says")
    }

    pub fn dtype(&self) -> DType {
        self.dtype.expect("a tensor that was made has a type")
    }

    pub fn view(&self) -> View<'_> {
        View { dtype: self.dtype(), shape: &self.shape, bytes: &self.buffer }
    }

    pub fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut { dtype: self.dtype.expect("made"), shape: &self.shape, bytes: &mut self.buffer }
    }
}
