//! The tensors of a safetensors file, by name, sharing its bytes.

use crate::{ImportError, Limits, Place};
use bytes::Bytes;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use sublet_graph::{DType, Literal};

pub struct Weights {
    tensors: HashMap<String, Tensor>,
    /// `bert.` where the file comes from a model with a task's head.
    prefix: &'static str,
}

struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
}

impl Weights {
    pub fn open(file: Bytes, limits: &Limits) -> Result<Self, ImportError> {
        let malformed = |reason: String| ImportError::Malformed { offset: 0, reason };
        let header_len = file
            .first_chunk::<8>()
            .map(|len| u64::from_le_bytes(*len))
            .ok_or_else(|| malformed("a safetensors file begins with eight bytes".to_owned()))?;
        if header_len > limits.header_bytes {
            return Err(Place::Model.limit("bytes of header", limits.header_bytes));
        }
        if file.len() as u64 > limits.weights_bytes {
            return Err(Place::Model.limit("bytes of weights", limits.weights_bytes));
        }
        let views = SafeTensors::deserialize(&file).map_err(|error| broken(&file, &error))?;
        let mut tensors = HashMap::with_capacity(views.len());
        for (name, view) in views.iter() {
            let tensor = Tensor {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: file.slice_ref(view.data()),
            };
            tensors.insert(name.to_owned(), tensor);
        }
        let headless = tensors.contains_key("embeddings.word_embeddings.weight");
        Ok(Weights { tensors, prefix: if headless { "" } else { "bert." } })
    }

    /// A tensor of the encoder, with its name in the file. It must have exactly this shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<(String, Literal), ImportError> {
        let name = format!("{}{name}", self.prefix);
        let place = || Place::Tensor(name.clone());
        let Some(tensor) = self.tensors.remove(&name) else {
            return Err(place().invalid("is missing"));
        };
        if tensor.shape != shape {
            let reason = format!("has shape {:?}, not {shape:?}", tensor.shape);
            return Err(place().invalid(reason));
        }
        let dtype = match tensor.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F64 => DType::F64,
            other => return Err(place().unsupported(format!("element type {other:?}"))),
        };
        let literal = Literal::new(dtype, tensor.shape, tensor.bytes)
            .ok_or_else(|| place().invalid("has data of another length"))?;
        Ok((name, literal))
    }
}

/// Where the header begins: behind its length.
const HEADER_AT: u64 = 8;

/// An entry of the header.
#[derive(Deserialize)]
struct Entry {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Entry {
    /// Whether the shape takes as many bytes as the entry claims.
    fn is_sound(&self) -> bool {
        let elements = self.shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        let bits = elements.and_then(|elements| elements.checked_mul(self.dtype.bitsize() as u64));
        let len = self.data_offsets.1.checked_sub(self.data_offsets.0);
        bits.is_some() && bits == len.and_then(|len| len.checked_mul(8))
    }
}

/// Adds the tensor or the byte to what is wrong with a file.
fn broken(file: &[u8], error: &SafeTensorError) -> ImportError {
    let malformed = |offset: u64| ImportError::Malformed { offset, reason: error.to_string() };
    match error {
        SafeTensorError::InvalidOffset(name) => Place::Tensor(name.clone())
            .invalid("its data does not begin where that of the tensor before it ends"),
        SafeTensorError::InvalidHeaderDeserialization(error) if error.line() == 1 => {
            malformed(HEADER_AT + (error.column() as u64).saturating_sub(1))
        }
        SafeTensorError::TensorInvalidInfo
        | SafeTensorError::ValidationOverflow
        | SafeTensorError::MisalignedSlice => match unsound(file) {
            Some(name) => Place::Tensor(name).invalid("its shape takes another number of bytes"),
            None => malformed(HEADER_AT),
        },
        SafeTensorError::MetadataIncompleteBuffer => malformed(file.len() as u64),
        _ => malformed(HEADER_AT),
    }
}

/// The first tensor, by name, whose entry contradicts itself.
fn unsound(file: &[u8]) -> Option<String> {
    let (len, rest) = file.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    entries.remove("__metadata__");
    let entry = |value| serde_json::from_value::<Entry>(value).ok();
    entries.into_iter().find_map(|(name, value)| (!entry(value)?.is_sound()).then_some(name))
}
