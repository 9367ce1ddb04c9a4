//! A packed model with what it takes to plan it.

use super::Port;
use super::plans::InputShapes;
use crate::config_text::{CompletedTensor, FileTensor, ModelFile};
use crate::store::Packed;
use std::sync::Arc;
use sublet_device::DeviceError;
use sublet_graph::{Dim, Evaluate, Graph, InferError, Literal, ValueId};
use sublet_plan::{CompileOptions, Plan, PlanError};
use sublet_units::Bytes;

pub(crate) struct Program {
    pub packed: Packed,
    pub evaluator: Arc<dyn Evaluate>,
    pub options: CompileOptions,
}

impl Program {
    pub fn graph(&self) -> &Graph {
        &self.packed.graph
    }

    pub fn weight_bytes(&self) -> Bytes {
        self.packed.image.layout.bytes
    }

    pub fn compile(&self, shapes: &InputShapes) -> Result<Plan, PlanError> {
        let image = &*self.packed.image;
        let graph = self.graph();
        let dims: Vec<_> =
            shapes.iter().map(|shape| shape.as_ref().map(|shape| shape.dims.clone())).collect();
        let known: Vec<_> = graph
            .inputs
            .iter()
            .zip(shapes)
            .map(|(input, shape)| {
                let shape = shape.as_ref()?;
                let dtype = graph.value(input.value).dtype?;
                Literal::new(dtype, shape.dims.clone(), shape.switch.clone()?)
            })
            .collect();
        let (layout, evaluator) = (&image.layout, &*self.evaluator);
        Plan::compile_knowing(graph, image, layout, &dims, &known, evaluator, &self.options)
    }

    /// The graph's inputs, in order.
    pub fn inputs(&self) -> impl Iterator<Item = ValueId> {
        self.graph().inputs.iter().map(|input| input.value)
    }

    pub fn outputs(&self) -> impl Iterator<Item = ValueId> {
        self.graph().outputs.iter().copied()
    }

    pub(super) fn ports(
        &self,
        values: impl Iterator<Item = ValueId>,
        tensors: Vec<CompletedTensor>,
    ) -> Vec<Port> {
        let names: Vec<_> = values.map(|id| &self.graph().value(id).name).collect();
        let port = |CompletedTensor { metadata, reshape }| {
            let index = names.iter().position(|&name| *name == metadata.name);
            let index = index.expect("served tensors are tensors of the model");
            Port { index, tensor: metadata, reshape }
        };
        tensors.into_iter().map(port).collect()
    }

    /// Shapes with every dimension that is not fixed set to one, and whether there are any such.
    pub fn smallest_shapes(&self) -> Option<(InputShapes, bool)> {
        let mut guessed = false;
        let mut size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Named(_) | Dim::Unknown => {
                guessed = true;
                1
            }
        };
        let mut shapes = InputShapes::new();
        for input in &self.graph().inputs {
            let dims = &self.graph().value(input.value).dims;
            shapes.push(match (input.default, dims) {
                (Some(_), _) => None,
                (None, Some(dims)) => Some(dims.iter().map(&mut size).collect::<Vec<_>>().into()),
                (None, None) => return None,
            });
        }
        Some((shapes, guessed))
    }

    /// What the model file says about its inputs and outputs; `trial`, a plan for any shapes, fills in types and
    /// ranks that the file leaves out.
    pub fn model_file(&self, trial: Option<&Plan>) -> ModelFile {
        let graph = self.graph();
        let tensor = |id: ValueId, optional| {
            let value = graph.value(id);
            FileTensor {
                name: value.name.clone(),
                dtype: value.dtype,
                dims: value.dims.clone(),
                optional,
            }
        };
        let mut outputs: Vec<_> = self.outputs().map(|id| tensor(id, false)).collect();
        for (tensor, planned) in outputs.iter_mut().zip(trial.iter().flat_map(|plan| &plan.outputs))
        {
            tensor.dtype.get_or_insert(planned.dtype);
            if let (None, Some(shape)) = (&tensor.dims, &planned.shape) {
                tensor.dims = Some(vec![Dim::Unknown; shape.len()]);
            }
        }
        let input = |input: &sublet_graph::GraphInput| tensor(input.value, input.default.is_some());
        ModelFile {
            platform: self.packed.origin.platform.name(),
            inputs: graph.inputs.iter().map(input).collect(),
            outputs,
        }
    }
}

/// A plan that could not be made, in the words of a device that was asked to run it.
pub(super) fn as_device_error(error: PlanError) -> DeviceError {
    match error {
        PlanError::Infer { node, error: InferError::Unsupported(what) } => {
            DeviceError::Unsupported { what, place: node }
        }
        PlanError::Infer { node, error: InferError::Invalid(what) } => {
            DeviceError::Invalid { what, place: node }
        }
        PlanError::TooLarge { node, bytes, .. } => {
            DeviceError::OutOfMemory { wanted: bytes, place: node }
        }
        other => DeviceError::Invalid { what: other.to_string(), place: String::new() },
    }
}
