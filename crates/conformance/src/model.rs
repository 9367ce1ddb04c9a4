//! A model on the way that a served one goes: import, rewrite, layout, plan, device.

use anyhow::Context;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sublet_device::{DeviceError, Image};
use sublet_device_cpu::{Evaluator, run_plan};
use sublet_graph::{Graph, InferError, Literal, Model, RewriteOptions, TypeError};
use sublet_import::{ExternalData, ImportError, Limits, NoExternalData};
use sublet_plan::{CompileOptions, Layout, LayoutOptions, Plan, PlanError, control_inputs};

/// Why a model did not answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Refused, with what is missing.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Any other error.
    #[error("{0}")]
    Wrong(String),
}

/// A model ready to be planned.
pub struct Loaded {
    model: Model,
    image: Arc<Image>,
}

impl Loaded {
    /// An ONNX file, or a Hugging Face folder.
    pub fn from_path(path: &Path) -> Result<Self, Failure> {
        if !path.is_dir() {
            return Self::from_onnx(path);
        }
        let config = read(&path.join("config.json"))?;
        let weights = read(&path.join("model.safetensors"))?;
        Self::new(sublet_import::import_bert(&config, weights, &Limits::default())?)
    }

    pub fn from_onnx(path: &Path) -> Result<Self, Failure> {
        let beside = Beside(path.parent().unwrap_or(Path::new(".")).to_owned());
        Self::new(sublet_import::import_onnx(read(path)?, &beside, &Limits::default())?)
    }

    /// An ONNX model without external data.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Failure> {
        Self::new(sublet_import::import_onnx(bytes, &NoExternalData, &Limits::default())?)
    }

    /// A model as imported, or as made by hand.
    pub fn new(model: Model) -> Result<Self, Failure> {
        Self::rewritten(model, &RewriteOptions::default())
    }

    /// The same, rewritten otherwise than by default.
    pub fn rewritten(mut model: Model, rewrites: &RewriteOptions) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::Wrong(error.to_string());
        sublet_graph::check(&model).map_err(|error| wrong(&error))?;
        sublet_graph::infer_dtypes(&mut model)?;
        sublet_graph::rewrite(&mut model, &Evaluator, rewrites);
        sublet_graph::check(&model).map_err(|error| wrong(&error))?;
        let layout = Layout::new(&model, LayoutOptions::default());
        let image = Arc::new(Image::pack(&model, layout));
        Ok(Loaded { model, image })
    }

    /// The same model with every value that its nodes make among its outputs, in the order of the nodes, after its own.
    pub fn watched(&self) -> Loaded {
        let mut model = self.model.clone();
        let own = model.graph.outputs.clone();
        let made = model.graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten());
        let others: Vec<_> = made.copied().filter(|value| !own.contains(value)).collect();
        model.graph.outputs.extend(others);
        Loaded { model, image: self.image.clone() }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The packed weights.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    pub fn graph(&self) -> &Graph {
        &self.model.graph
    }

    /// Named inputs in the graph's order; `None` for one that is not given.
    pub fn in_order<'a>(&self, inputs: &'a BTreeMap<String, Literal>) -> Vec<Option<&'a Literal>> {
        let graph = &self.model.graph;
        graph.inputs.iter().map(|input| inputs.get(&graph.value(input.value).name)).collect()
    }

    /// Runs the model on inputs in its own order and returns its outputs in order.
    pub fn run(&self, inputs: &[Literal]) -> Result<Vec<Literal>, Failure> {
        let graph = &self.model.graph;
        let given: Vec<_> = (0..graph.inputs.len()).map(|at| inputs.get(at)).collect();
        let plan = self.plan_for(&given)?;
        Ok(run_plan(&plan, &self.image, inputs)?)
    }

    /// Runs the model on named inputs; those that it has a default for may be left out.
    pub fn run_named(
        &self,
        inputs: &BTreeMap<String, Literal>,
    ) -> Result<BTreeMap<String, Literal>, Failure> {
        let given = self.in_order(inputs);
        let plan = self.plan_for(&given)?;
        let given: Vec<Literal> = given.into_iter().flatten().cloned().collect();
        let outputs = run_plan(&plan, &self.image, &given)?;
        let names = plan.outputs.iter().map(|output| output.name.clone());
        Ok(names.zip(outputs).collect())
    }

    /// A plan for these inputs; as when serving, it is made for the values of those that steer the model.
    pub fn plan_for(&self, inputs: &[Option<&Literal>]) -> Result<Arc<Plan>, Failure> {
        self.plan_with(inputs, &CompileOptions::default())
    }

    /// As [`Loaded::plan_for`], for a device with its own limits.
    pub fn plan_with(
        &self,
        inputs: &[Option<&Literal>],
        options: &CompileOptions,
    ) -> Result<Arc<Plan>, Failure> {
        let (graph, layout) = (&self.model.graph, &self.image.layout);
        let shapes: Vec<_> =
            inputs.iter().map(|input| input.map(|input| input.shape().to_vec())).collect();
        let mut known = vec![None; inputs.len()];
        for index in control_inputs(graph) {
            known[index] = inputs[index].cloned();
        }
        let plan = Plan::compile_knowing(
            graph,
            &*self.image,
            layout,
            &shapes,
            &known,
            &Evaluator,
            options,
        );
        Ok(Arc::new(plan?))
    }
}

fn read(path: &Path) -> Result<Bytes, Failure> {
    let bytes = fs::read(path).with_context(|| path.display().to_string());
    Ok(bytes.map_err(|error| Failure::Wrong(format!("{error:#}")))?.into())
}

/// External data beside the model file.
struct Beside(PathBuf);

impl ExternalData for Beside {
    fn read(&self, location: &str, offset: u64, len: u64) -> Result<Bytes, String> {
        let file = Bytes::from(fs::read(self.0.join(location)).map_err(|error| error.to_string())?);
        let end = offset.checked_add(len).filter(|&end| end <= file.len() as u64);
        end.map(|end| file.slice(offset as usize..end as usize)).ok_or("past the end".to_owned())
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Unsupported { .. } => Failure::Unsupported(error.to_string()),
            other => Failure::Wrong(other.to_string()),
        }
    }
}

impl From<TypeError> for Failure {
    fn from(error: TypeError) -> Self {
        match error.error {
            InferError::Unsupported(_) => Failure::Unsupported(error.to_string()),
            InferError::Invalid(_) => Failure::Wrong(error.to_string()),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Infer { error: InferError::Unsupported(_), .. } => {
                Failure::Unsupported(error.to_string())
            }
            other => Failure::Wrong(other.to_string()),
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Unsupported { .. } => Failure::Unsupported(error.to_string()),
            other => Failure::Wrong(other.to_string()),
        }
    }
}
