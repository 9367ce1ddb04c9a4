//! `TensorProto` → [`Literal`], without copying raw data.

use super::external::{self, ExternalData};
use super::problem::{Problem, invalid, unsupported};
use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;
use super::types::element_type;
use crate::{ImportError, Limits, Place};
use bytemuck::Pod;
use bytes::Bytes;
use sublet_graph::{DType, Literal, byte_len};

/// Reads tensors and keeps account of the bytes that they hold.
pub struct TensorReader<'m> {
    pub external: &'m dyn ExternalData,
    pub limits: &'m Limits,
    pub weights_bytes: u64,
}

impl TensorReader<'_> {
    pub fn read(&mut self, tensor: &TensorProto) -> Result<Literal, ImportError> {
        let place = || Place::Tensor(tensor.name.clone());
        let dtype =
            element_type(i64::from(tensor.data_type)).map_err(|problem| problem.at(place))?;
        let shape = self.shape(tensor).map_err(|problem| problem.at(place))?;
        let Some(len) = byte_len(dtype, &shape).filter(|&len| isize::try_from(len).is_ok()) else {
            return Err(place().invalid(format!("shape {shape:?} overflows")));
        };
        self.weights_bytes = self.weights_bytes.saturating_add(len as u64);
        if self.weights_bytes > self.limits.weights_bytes {
            return Err(place().limit("bytes of weights", self.limits.weights_bytes));
        }
        let bytes = if tensor.data_location == DataLocation::External as i32 {
            external::read(tensor, len as u64, self.external)?
        } else {
            stored(tensor, dtype, len).map_err(|problem| problem.at(place))?
        };
        let bytes = if dtype == DType::Bool { zeros_and_ones(bytes) } else { bytes };
        Literal::new(dtype, shape, bytes).ok_or_else(|| place().invalid("data of another length"))
    }

    fn shape(&self, tensor: &TensorProto) -> Result<Vec<usize>, Problem> {
        if tensor.segment.is_some() {
            return unsupported("a segmented tensor");
        }
        if tensor.dims.len() > self.limits.rank {
            return invalid(format!("more than {} dimensions", self.limits.rank));
        }
        let dim = |&dim: &i64| match usize::try_from(dim) {
            Ok(dim) => Ok(dim),
            Err(_) => invalid(format!("dimension {dim} is negative")),
        };
        tensor.dims.iter().map(dim).collect()
    }
}

/// The `len` bytes of a tensor that is stored in the model file itself.
fn stored(tensor: &TensorProto, dtype: DType, len: usize) -> Result<Bytes, Problem> {
    let typed = tensor.float_data.len()
        + tensor.int32_data.len()
        + tensor.int64_data.len()
        + tensor.double_data.len()
        + tensor.uint64_data.len();
    if !tensor.string_data.is_empty() {
        return invalid("strings in a tensor of numbers");
    }
    if !tensor.raw_data.is_empty() || typed == 0 {
        if typed != 0 {
            return invalid("both raw data and typed data");
        }
        if tensor.raw_data.len() != len {
            let found = tensor.raw_data.len();
            return invalid(format!("{found} bytes of data, but the shape takes {len}"));
        }
        return Ok(tensor.raw_data.clone());
    }
    let (bytes, used) = match dtype {
        DType::F32 => (pack(tensor.float_data.iter().copied()), tensor.float_data.len()),
        DType::F64 => (pack(tensor.double_data.iter().copied()), tensor.double_data.len()),
        DType::I64 => (pack(tensor.int64_data.iter().copied()), tensor.int64_data.len()),
        DType::U64 => (pack(tensor.uint64_data.iter().copied()), tensor.uint64_data.len()),
        DType::U32 => (narrow::<u64, u32>(&tensor.uint64_data)?, tensor.uint64_data.len()),
        DType::I32 => (pack(tensor.int32_data.iter().copied()), tensor.int32_data.len()),
        DType::I16 => (narrow::<i32, i16>(&tensor.int32_data)?, tensor.int32_data.len()),
        DType::I8 => (narrow::<i32, i8>(&tensor.int32_data)?, tensor.int32_data.len()),
        // The 16-bit floats are stored as their bits.
        DType::U16 | DType::F16 | DType::BF16 => {
            (narrow::<i32, u16>(&tensor.int32_data)?, tensor.int32_data.len())
        }
        DType::U8 | DType::Bool => {
            (narrow::<i32, u8>(&tensor.int32_data)?, tensor.int32_data.len())
        }
    };
    if used != typed {
        return invalid(format!("data in a field that is not for {dtype}"));
    }
    if bytes.len() != len {
        let wanted = len / dtype.size();
        return invalid(format!("{used} elements of data, but the shape takes {wanted}"));
    }
    Ok(bytes)
}

fn pack<T: Pod>(values: impl Iterator<Item = T>) -> Bytes {
    let values: Vec<T> = values.collect();
    Bytes::copy_from_slice(bytemuck::cast_slice(&values))
}

fn narrow<From: Copy + std::fmt::Display, To: TryFrom<From> + Pod>(
    values: &[From],
) -> Result<Bytes, Problem> {
    let narrowed: Option<Vec<To>> = values.iter().map(|&value| To::try_from(value).ok()).collect();
    match narrowed {
        Some(values) => Ok(pack(values.into_iter())),
        None => invalid("an element is out of range for its type"),
    }
}

/// Any byte but zero is true.
fn zeros_and_ones(bytes: Bytes) -> Bytes {
    if bytes.iter().all(|&byte| byte <= 1) {
        return bytes;
    }
    bytes.iter().map(|&byte| u8::from(byte != 0)).collect()
}
