//! Everything about one model, for a person to look at: no engine is running.

use crate::lifecycle::{import, read_config};
use crate::repository::{Files, Repository, select, versions};
use crate::served::Program;
use crate::store::pack;
use crate::{EngineError, ErrorKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sublet_device::WeightType;
use sublet_graph::{Dim, Evaluate, Graph, Report, RewriteOptions, rewrite};
use sublet_plan::{CompileOptions, Layout, LayoutOptions, Plan};
use sublet_units::Bytes;

/// Which model to look at, and how.
pub struct InspectOptions {
    /// Where models are looked for by name.
    pub repositories: Vec<PathBuf>,
    /// `None`: the newest.
    pub version: Option<u64>,
    /// Shapes to plan for, by input. Dimensions of inputs not named here are the fixed ones, and 1.
    pub shapes: BTreeMap<String, Vec<usize>>,
    pub model_bytes_max: Bytes,
}

pub struct Inspection {
    /// What the file calls itself.
    pub name: String,
    pub version: u64,
    /// For example `onnx`.
    pub platform: &'static str,
    pub properties: Vec<(String, String)>,
    /// After the rewrites.
    pub graph: Graph,
    pub report: Report,
    pub layout: Layout,
    /// Name and type of each weight, indexed by `WeightId`.
    pub weights: Vec<(String, WeightType)>,
    /// The shapes planned for, by input; inputs that keep their default are not listed.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// The plan, or why there is none for these shapes.
    pub plan: Result<Plan, EngineError>,
}

/// Imports, rewrites, packs and plans the model named `target`, or that in the file or folder of that name. May take
/// seconds.
///
/// # Errors
/// As loading it would; `Invalid` for shapes of inputs that it does not have.
pub fn inspect(
    target: &str,
    options: &InspectOptions,
    evaluator: Arc<dyn Evaluate>,
) -> Result<Inspection, EngineError> {
    let bytes_max = options.model_bytes_max.0;
    let path = Path::new(target);
    let files = if path.exists() {
        Files::standalone(path, bytes_max)?
    } else {
        Repository::open(&options.repositories, bytes_max)?.find(target)?
    };
    let config = read_config(&files)?.unwrap_or_default();
    let found = versions(&files, config.default_model_filename.as_deref())?;
    let version = match options.version {
        Some(version) => found.get(&version).cloned(),
        None => {
            let selected = select(found, &config.version_policy.unwrap_or_default())?;
            selected.into_values().next_back()
        }
    };
    let Some(version) = version else {
        let message = format!("`{target}` does not have the version asked for");
        return Err(EngineError::new(ErrorKind::NotFound, message));
    };
    let mut imported = import(&files, &version, bytes_max)?;
    let report = rewrite(&mut imported.model, &*evaluator, &RewriteOptions::default());
    let packed = pack(imported.model, imported.platform, LayoutOptions::default());
    let program = Program { packed, evaluator, options: CompileOptions::default() };
    let shapes = shapes(&program, &options.shapes)?;
    let wanted = shapes.iter().map(|shape| shape.clone().map(Into::into)).collect();
    let plan = program
        .compile(&wanted)
        .map_err(|error| EngineError::new(ErrorKind::Invalid, error.to_string()));
    let inputs = program.inputs().map(|id| program.graph().value(id).name.clone());
    let shapes = inputs.zip(shapes).filter_map(|(name, shape)| Some((name, shape?))).collect();
    let packed = program.packed;
    Ok(Inspection {
        name: packed.origin.name,
        version: version.version,
        platform: packed.origin.platform.name(),
        properties: packed.origin.properties,
        graph: packed.graph,
        report,
        layout: packed.image.layout.clone(),
        weights: packed.weight_names.into_iter().zip(packed.image.weights.clone()).collect(),
        shapes,
        plan,
    })
}

fn shapes(
    program: &Program,
    given: &BTreeMap<String, Vec<usize>>,
) -> Result<Vec<Option<Vec<usize>>>, EngineError> {
    let names: Vec<_> = program.inputs().map(|id| &program.graph().value(id).name).collect();
    if let Some(unknown) = given.keys().find(|name| !names.contains(name)) {
        let message = format!("no input `{unknown}`; there are {names:?}");
        return Err(EngineError::new(ErrorKind::Invalid, message));
    }
    let fixed = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 1 };
    let graph = program.graph();
    let shape = |input: &sublet_graph::GraphInput| {
        let value = graph.value(input.value);
        let declared = || value.dims.as_ref().map(|dims| dims.iter().map(fixed).collect());
        let optional = input.default.is_some();
        given.get(&value.name).cloned().or_else(|| if optional { None } else { declared() })
    };
    Ok(graph.inputs.iter().map(shape).collect())
}
