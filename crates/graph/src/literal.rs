//! A tensor in host memory, used for constants, for folding and at the edges of a run.

use crate::DType;
use bytemuck::Pod;
use bytes::Bytes;
use std::fmt;

/// A dense, row-major, little-endian tensor in host memory. Cloning it shares its bytes.
///
/// The bytes may come straight from a file and need not be aligned.
#[derive(Clone, PartialEq)]
pub struct Literal {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Bytes,
}

impl Literal {
    /// Returns `None` when `bytes` is not exactly as long as `shape` and `dtype` say, or the size overflows.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Option<Self> {
        let len = byte_len(dtype, &shape)?;
        (bytes.len() == len).then_some(Literal { dtype, shape, bytes })
    }

    /// A tensor from typed values. Panics when `values` does not fill `shape`.
    pub fn from_values<T: Pod>(dtype: DType, shape: &[usize], values: &[T]) -> Self {
        assert_eq!(std::mem::size_of::<T>(), dtype.size(), "element size of {dtype}");
        let bytes = Bytes::copy_from_slice(bytemuck::cast_slice(values));
        Self::new(dtype, shape.to_vec(), bytes).expect("values fill the shape")
    }

    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        Self::from_values(DType::F32, shape, values)
    }

    /// Rounded to a float type of single or half precision.
    pub fn rounded(dtype: DType, shape: &[usize], values: &[f32]) -> Self {
        use half::{bf16, f16};
        match dtype {
            DType::F32 => Self::f32(shape, values),
            DType::F16 => {
                let values: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
                Self::from_values(dtype, shape, &values)
            }
            DType::BF16 => {
                let values: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
                Self::from_values(dtype, shape, &values)
            }
            other => panic!("{other} is not a float type of single or half precision"),
        }
    }

    pub fn i64(shape: &[usize], values: &[i64]) -> Self {
        Self::from_values(DType::I64, shape, values)
    }

    pub fn bool(shape: &[usize], values: &[bool]) -> Self {
        let bytes: Vec<u8> = values.iter().map(|&value| u8::from(value)).collect();
        Self::from_values(DType::Bool, shape, &bytes)
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The elements as `T`, copied. Panics when `T` has another size than the element type.
    pub fn to_vec<T: Pod>(&self) -> Vec<T> {
        assert_eq!(std::mem::size_of::<T>(), self.dtype.size(), "element size of {}", self.dtype);
        bytemuck::pod_collect_to_vec(&self.bytes)
    }

    /// The elements of an `i64` or `i32` tensor, as dimensions, axes and the like are written; `None` for other types.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        match self.dtype {
            DType::I64 => Some(self.to_vec()),
            DType::I32 => Some(self.to_vec::<i32>().into_iter().map(i64::from).collect()),
            _ => None,
        }
    }

    /// The elements of a floating-point tensor as `f32`; `None` for other types.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        match self.dtype {
            DType::F32 => Some(self.to_vec()),
            DType::F64 => {
                Some(self.to_vec::<f64>().into_iter().map(|value| value as f32).collect())
            }
            DType::F16 => Some(self.to_vec::<half::f16>().into_iter().map(f32::from).collect()),
            DType::BF16 => Some(self.to_vec::<half::bf16>().into_iter().map(f32::from).collect()),
            _ => None,
        }
    }

    /// The same bytes under another shape with as many elements; `None` when the counts differ.
    pub fn reshaped(&self, shape: Vec<usize>) -> Option<Self> {
        Self::new(self.dtype, shape, self.bytes.clone())
    }
}

/// Bytes that a dense tensor takes; `None` when that overflows.
pub fn byte_len(dtype: DType, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(dtype.size(), |len, &dim| len.checked_mul(dim))
}

/// `f32[2,3]{…}`, with the values when there are at most eight.
impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)?;
        if self.len() > 8 {
            return Ok(());
        }
        match (self.to_i64s(), self.to_f32s()) {
            (Some(values), _) => write!(f, "{values:?}"),
            (_, Some(values)) => write!(f, "{values:?}"),
            _ => write!(f, "{:02x?}", &self.bytes[..]),
        }
    }
}
