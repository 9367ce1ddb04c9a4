//! Checks a request against the model: every rule that does not need the plan.

use super::plans::{InputShape, InputShapes};
use super::{Port, Served};
use crate::{EngineError, ErrorKind, InferRequest, NamedTensor, TensorMetadata};
use bytes::Bytes;
use std::collections::HashMap;
use std::hash::BuildHasher;
use sublet_graph::{Dim, Literal};
use sublet_units::BatchKey;

/// A request that keeps the rules.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// In the order of the plan's inputs: those given, in the graph's order.
    pub inputs: Vec<Literal>,
    pub shapes: InputShapes,
    /// Rows of dimension 0; 1 when the model does not batch.
    pub rows: u32,
    pub key: BatchKey,
    /// Runs in a batch of its own.
    pub alone: bool,
    /// Indices of the outputs wanted.
    pub outputs: Vec<usize>,
}

impl Served {
    /// # Errors
    /// `Invalid`, naming model, tensor, what is expected and what was given.
    pub fn admit(&self, request: &InferRequest) -> Result<Admitted, EngineError> {
        let given = self.match_inputs(&request.inputs)?;
        let rows = self.check_shapes(&given)?;
        let outputs = self.match_outputs(&request.outputs)?;
        let mut shapes: InputShapes = vec![None; self.program.graph().inputs.len()];
        let mut inputs = vec![None; shapes.len()];
        for (port, tensor) in self.inputs.iter().zip(given) {
            let Some(tensor) = tensor else { continue };
            let shape = self.model_shape(port, tensor);
            inputs[port.index] = tensor.reshaped(shape.clone());
            shapes[port.index] = Some(self.input_shape(port, shape, tensor));
        }
        let key = self.batch_key(&shapes);
        let inputs = inputs.into_iter().flatten().collect();
        Ok(Admitted { inputs, shapes, rows, key, alone: false, outputs })
    }

    /// The shapes that the request has, if its inputs are known and complete.
    pub fn shapes_of(&self, inputs: &[NamedTensor]) -> Option<InputShapes> {
        let given = self.match_inputs(inputs).ok()?;
        let mut shapes: InputShapes = vec![None; self.program.graph().inputs.len()];
        for (port, tensor) in self.inputs.iter().zip(given) {
            shapes[port.index] =
                tensor.map(|tensor| self.input_shape(port, self.model_shape(port, tensor), tensor));
        }
        Some(shapes)
    }

    fn input_shape(&self, port: &Port, dims: Vec<usize>, tensor: &Literal) -> InputShape {
        let steers = self.switches.contains(&port.index);
        // Copied: the cache of plans must not keep the request's whole body.
        InputShape { dims, switch: steers.then(|| Bytes::copy_from_slice(tensor.bytes())) }
    }

    /// The tensor's shape as the model sees it.
    fn model_shape(&self, port: &Port, tensor: &Literal) -> Vec<usize> {
        let reshape = port.reshape.as_ref();
        let reshaped = reshape.and_then(|it| it.to_model(tensor.shape(), self.batches()));
        reshaped.unwrap_or_else(|| tensor.shape().to_vec())
    }

    /// For each input of the model the tensor given for it.
    fn match_inputs<'a>(
        &self,
        tensors: &'a [NamedTensor],
    ) -> Result<Vec<Option<&'a Literal>>, EngineError> {
        let mut given = vec![None; self.inputs.len()];
        for NamedTensor { name, tensor } in tensors {
            let Some(index) = self.inputs.iter().position(|port| port.tensor.name == *name) else {
                let known = names(&self.inputs);
                return self.invalid(format!("no input {name:?}; it has {known}"));
            };
            if given[index].replace(tensor).is_some() {
                return self.invalid(format!("input `{name}` was given more than once"));
            }
            let wanted = &self.inputs[index].tensor;
            if wanted.dtype != tensor.dtype() {
                return self.invalid(format!(
                    "input `{name}` has type {}, {} is expected",
                    tensor.dtype().wire_name(),
                    wanted.dtype.wire_name()
                ));
            }
        }
        for (port, given) in self.inputs.iter().zip(&given) {
            if given.is_none() && !port.tensor.optional {
                return self.invalid(format!("input `{}` is missing", port.tensor.name));
            }
        }
        Ok(given)
    }

    /// Returns the rows.
    fn check_shapes(&self, given: &[Option<&Literal>]) -> Result<u32, EngineError> {
        let mut sizes: HashMap<&str, (usize, &str)> = HashMap::new();
        let mut rows: Option<(usize, &str)> = None;
        for (port, tensor) in self.inputs.iter().zip(given) {
            let Some(tensor) = tensor else { continue };
            let wanted = &port.tensor;
            let fits = |(dim, size): (&Dim, &usize)| !matches!(dim, Dim::Fixed(n) if n != size);
            if wanted.dims.len() != tensor.shape().len()
                || !wanted.dims.iter().zip(tensor.shape()).all(fits)
            {
                return self.invalid(format!(
                    "input `{}` has shape {:?}, {} is expected",
                    wanted.name,
                    tensor.shape(),
                    shown(wanted)
                ));
            }
            for (dim, &size) in wanted.dims.iter().zip(tensor.shape()) {
                let Dim::Named(dim) = dim else { continue };
                let (first, other) = *sizes.entry(dim).or_insert((size, &wanted.name));
                if first != size {
                    return self.invalid(format!(
                        "dimension `{dim}` is {size} in input `{}`, but {first} in input `{other}`",
                        wanted.name
                    ));
                }
            }
            if self.batches() {
                let size = tensor.shape()[0];
                let (first, other) = *rows.get_or_insert((size, &wanted.name));
                if first != size {
                    return self.invalid(format!(
                        "the batch is {size} in input `{}`, but {first} in input `{other}`",
                        wanted.name
                    ));
                }
            }
        }
        let Some((rows, _)) = rows else { return Ok(1) };
        let most = self.config.max_batch_size;
        match u32::try_from(rows) {
            Ok(rows) if (1..=most).contains(&rows) => Ok(rows),
            _ => self.invalid(format!("a batch of {rows}; 1 to {most} are allowed")),
        }
    }

    fn match_outputs(&self, wanted: &[String]) -> Result<Vec<usize>, EngineError> {
        if wanted.is_empty() {
            return Ok((0..self.outputs.len()).collect());
        }
        let mut outputs: Vec<usize> = Vec::with_capacity(wanted.len().min(self.outputs.len()));
        for name in wanted {
            match self.outputs.iter().position(|port| port.tensor.name == *name) {
                Some(index) if outputs.contains(&index) => {
                    return self.invalid(format!("output `{name}` was asked for more than once"));
                }
                Some(index) => outputs.push(index),
                None => {
                    let known = names(&self.outputs);
                    return self.invalid(format!("no output {name:?}; it has {known}"));
                }
            }
        }
        Ok(outputs)
    }

    /// Equal for requests that may run in one batch: their shapes without the batch dimension, and their switches.
    fn batch_key(&self, shapes: &InputShapes) -> BatchKey {
        let batches = usize::from(self.batches());
        let rest = |shape: &'_ InputShape| (shape.dims[batches..].to_vec(), shape.switch.clone());
        let rests: Vec<_> = shapes.iter().map(|shape| shape.as_ref().map(rest)).collect();
        BatchKey(self.shape_hasher.hash_one(rests))
    }

    fn invalid<T>(&self, what: String) -> Result<T, EngineError> {
        Err(EngineError::new(ErrorKind::Invalid, format!("model `{}`: {what}", self.name)))
    }
}

fn names(ports: &[Port]) -> String {
    let names: Vec<_> = ports.iter().map(|port| format!("`{}`", port.tensor.name)).collect();
    names.join(", ")
}

fn shown(tensor: &TensorMetadata) -> String {
    let dims: Vec<_> = tensor.dims.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}
