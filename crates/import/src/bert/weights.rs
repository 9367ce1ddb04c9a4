//! The tensors of a safetensors file, by name, sharing its bytes.

use crate::{ImportError, Limits, Place};
use bytes::Bytes;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
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
        let views =
            SafeTensors::deserialize(&file).map_err(|error| malformed(error.to_string()))?;
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
