//! One version of a model as it is served: its program, its plans, and the checks on its requests.

mod admit;
mod plans;
mod program;

pub(crate) use admit::Admitted;
pub(crate) use plans::{CachedPlan, InputShapes};
pub(crate) use program::Program;

use crate::config_text::{Completed, ConfigText, Reshape};
use crate::repository::Fingerprint;
use crate::{EngineError, ErrorKind, ModelConfig, ModelMetadata, NamedTensor, TensorMetadata};
use plans::PlanCache;
use std::hash::RandomState;
use std::sync::Arc;
use sublet_device::{DeviceError, PlanSource};
use sublet_graph::Literal;
use sublet_plan::Plan;
use sublet_units::ModelId;

/// A model version that has been loaded. A reload makes another one.
pub(crate) struct Served {
    pub id: ModelId,
    pub name: String,
    pub version: u64,
    pub config: Arc<ModelConfig>,
    pub program: Arc<Program>,
    /// What it was made from; `None` where that was given with the load request.
    pub source: Option<Source>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Inputs, by index, whose values plans are made for.
    switches: Vec<usize>,
    plans: PlanCache,
    /// Hashes shapes into batch keys.
    shape_hasher: RandomState,
}

/// The files and the configuration of a model version.
pub(crate) struct Source {
    pub files: Vec<Fingerprint>,
    pub config: Option<ConfigText>,
}

/// An input or output as clients see it, and its index in the graph.
pub(crate) struct Port {
    pub tensor: TensorMetadata,
    /// Where the model sees it in another shape.
    pub reshape: Option<Reshape>,
    pub index: usize,
}

impl Source {
    /// Whether making the version again would give the same.
    pub fn still_holds(&self, config: &Option<ConfigText>) -> bool {
        self.config == *config && self.files.iter().all(Fingerprint::still_holds)
    }
}

impl Served {
    pub fn new(
        id: ModelId,
        version: u64,
        program: Arc<Program>,
        completed: Completed,
        source: Option<Source>,
        plans_max: usize,
    ) -> Self {
        let inputs = program.ports(program.inputs(), completed.inputs);
        let outputs = program.ports(program.outputs(), completed.outputs);
        Served {
            id,
            name: completed.config.name.clone(),
            version,
            config: Arc::new(completed.config),
            inputs,
            outputs,
            switches: sublet_plan::control_inputs(program.graph()),
            plans: PlanCache::new(plans_max),
            shape_hasher: RandomState::new(),
            program,
            source,
        }
    }

    /// The output at `index` among those served; `tensors` is all outputs of the plan.
    pub fn output(&self, index: usize, tensors: &[Literal]) -> NamedTensor {
        let port = &self.outputs[index];
        let tensor = &tensors[port.index];
        let batches = self.batches();
        let shape = port.reshape.as_ref().and_then(|it| it.to_client(tensor.shape(), batches));
        // A shape of another form than the configuration says is left as it is.
        let reshaped = shape.and_then(|shape| tensor.reshaped(shape));
        NamedTensor {
            name: port.tensor.name.clone(),
            tensor: reshaped.unwrap_or_else(|| tensor.clone()),
        }
    }

    fn batches(&self) -> bool {
        self.config.max_batch_size > 0
    }

    pub fn metadata(&self, versions: Vec<u64>) -> ModelMetadata {
        ModelMetadata {
            name: self.name.clone(),
            versions,
            platform: self.config.platform.clone(),
            inputs: self.inputs.iter().map(|port| port.tensor.clone()).collect(),
            outputs: self.outputs.iter().map(|port| port.tensor.clone()).collect(),
            properties: self.program.packed.origin.properties.clone(),
        }
    }

    /// The plan for these shapes, made when first asked for.
    pub fn plan(&self, shapes: &InputShapes) -> Arc<CachedPlan> {
        self.plans.get(shapes, &self.program)
    }

    /// The plan for a request, made now if need be; tells the request whether it may share a batch.
    ///
    /// # Errors
    /// `Invalid` when the model does not work with these shapes, or batches and gives a result of other rows.
    pub fn checked_plan(&self, admitted: &mut Admitted) -> Result<Arc<CachedPlan>, EngineError> {
        let cached = self.plan(&admitted.shapes);
        let checked = match cached.plan() {
            Ok(plan) => self.check_rows(&plan, admitted),
            Err(error) => {
                let kind = match error {
                    DeviceError::Unsupported { .. } => ErrorKind::Unsupported,
                    _ => ErrorKind::Invalid,
                };
                Err(EngineError::new(kind, format!("model `{}`: {error}", self.name)))
            }
        };
        if checked.is_err() {
            // It would keep the place of one that is of use.
            self.plans.forget(&admitted.shapes);
        }
        checked.map(|()| cached)
    }

    /// A batch is divided by rows, so every result must have those of its request. Where only a run tells, the number
    /// could agree by chance: then nobody shares a batch.
    fn check_rows(&self, plan: &Plan, admitted: &mut Admitted) -> Result<(), EngineError> {
        if !self.batches() {
            return Ok(());
        }
        for (index, output) in plan.outputs.iter().enumerate() {
            let rows = output.shape.as_ref().map(|shape| shape.first().copied());
            if rows == Some(Some(admitted.rows as usize)) {
                continue;
            }
            admitted.alone = true;
            let is_served = self.outputs.iter().any(|port| port.index == index);
            if let Some(shape) = output.shape.as_ref().filter(|_| is_served) {
                let message = format!(
                    "model `{}`: output `{}` has shape {shape:?} for a batch of {}",
                    self.name, output.name, admitted.rows
                );
                return Err(EngineError::new(ErrorKind::Invalid, message));
            }
        }
        Ok(())
    }

    pub fn is_planned(&self, shapes: &InputShapes) -> bool {
        self.plans.is_made(shapes)
    }
}
