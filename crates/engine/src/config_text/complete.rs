//! Joins a configuration with what the model file says: checks one against the other and fills what is left out.

use super::fields::{ConfigText, TensorText};
use super::reshape::Reshape;
use crate::{ConfigTensor, EngineError, ErrorKind, ModelConfig, TensorMetadata};
use sublet_graph::{DType, Dim};

/// What a model file says about itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelFile {
    /// For example `onnx`.
    pub platform: &'static str,
    pub inputs: Vec<FileTensor>,
    pub outputs: Vec<FileTensor>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileTensor {
    pub name: String,
    /// `None` where only a run tells.
    pub dtype: Option<DType>,
    /// `None` when not declared.
    pub dims: Option<Vec<Dim>>,
    pub optional: bool,
}

/// A configuration that agrees with its model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Completed {
    pub config: ModelConfig,
    /// In the model's order.
    pub inputs: Vec<CompletedTensor>,
    /// Those that are served, in the model's order.
    pub outputs: Vec<CompletedTensor>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CompletedTensor {
    /// As clients see it.
    pub metadata: TensorMetadata,
    pub reshape: Option<Reshape>,
}

/// Names by which other servers call the runtime of an ONNX model, and our own.
const PLATFORMS: [&str; 5] = ["onnxruntime_onnx", "onnx", "sublet", "safetensors", "bert"];
const BACKENDS: [&str; 3] = ["onnxruntime", "onnx", "sublet"];

/// # Errors
/// `Unsupported` for another runtime's model, `Invalid` where the configuration and the model disagree.
pub(crate) fn complete(
    model: &str,
    text: Option<&ConfigText>,
    file: &ModelFile,
) -> Result<Completed, EngineError> {
    let none = ConfigText::default();
    let text = text.unwrap_or(&none);
    check_names(model, text)?;
    let max_batch_size = text.max_batch_size.unwrap_or(0);
    let batches = max_batch_size > 0;
    let mut inputs = Vec::new();
    for tensor in &file.inputs {
        let entry = text.inputs.iter().find(|entry| entry.name == tensor.name);
        if tensor.optional && entry.is_none() && (batches || !text.inputs.is_empty()) {
            // It keeps its default, which need not have a batch dimension.
            continue;
        }
        if entry.is_none() && !text.inputs.is_empty() {
            return Err(invalid(format!(
                "the model has an input `{}` that its configuration leaves out",
                tensor.name
            )));
        }
        inputs.push(join(tensor, entry, batches, "input")?);
    }
    let mut outputs = Vec::new();
    for tensor in &file.outputs {
        let entry = text.outputs.iter().find(|entry| entry.name == tensor.name);
        if entry.is_some() || text.outputs.is_empty() {
            outputs.push(join(tensor, entry, batches, "output")?);
        }
    }
    check_known(&text.inputs, &file.inputs, "input")?;
    check_known(&text.outputs, &file.outputs, "output")?;
    let config = ModelConfig {
        name: model.to_owned(),
        platform: filled(&text.platform, file.platform),
        backend: filled(&text.backend, "sublet"),
        max_batch_size,
        inputs: config_tensors(&inputs, &text.inputs, batches),
        outputs: config_tensors(&outputs, &text.outputs, batches),
        version_policy: text.version_policy.clone().unwrap_or_default(),
        dynamic_batching: text.dynamic_batching.clone(),
        instance_count: text.instance_count,
        default_model_filename: text.default_model_filename.clone().unwrap_or_default(),
        parameters: text.parameters.clone(),
    };
    if config.dynamic_batching.is_some() && !batches {
        return Err(invalid("`dynamic_batching` needs a `max_batch_size` above 0".into()));
    }
    Ok(Completed { config, inputs, outputs })
}

fn filled(text: &Option<String>, default: &str) -> String {
    text.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
}

fn invalid(message: String) -> EngineError {
    EngineError::new(ErrorKind::Invalid, message)
}

fn check_names(model: &str, text: &ConfigText) -> Result<(), EngineError> {
    if let Some(name) = text.name.as_deref().filter(|&name| !name.is_empty() && name != model) {
        return Err(invalid(format!("the configuration is for a model named `{name}`")));
    }
    let known = |value: &Option<String>, names: &[&str]| {
        value.as_deref().is_none_or(|value| value.is_empty() || names.contains(&value))
    };
    for (field, value, names) in
        [("platform", &text.platform, &PLATFORMS[..]), ("backend", &text.backend, &BACKENDS[..])]
    {
        if !known(value, names) {
            let value = value.as_deref().unwrap_or_default();
            return Err(EngineError::new(
                ErrorKind::Unsupported,
                format!("{field} `{value}` is not supported: one of {} is", names.join(", ")),
            ));
        }
    }
    Ok(())
}

fn check_known(
    entries: &[TensorText],
    tensors: &[FileTensor],
    what: &str,
) -> Result<(), EngineError> {
    for (index, entry) in entries.iter().enumerate() {
        if !tensors.iter().any(|tensor| tensor.name == entry.name) {
            let known: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            return Err(invalid(format!(
                "configuration {}: the model has no {what} `{}`; it has {}",
                entry.at,
                entry.name,
                known.join(", ")
            )));
        }
        if entries[..index].iter().any(|earlier| earlier.name == entry.name) {
            return Err(invalid(format!(
                "configuration {}: {what} `{}` stands more than once",
                entry.at, entry.name
            )));
        }
    }
    Ok(())
}

/// Type and dimensions of one tensor, with the batch dimension.
fn join(
    tensor: &FileTensor,
    entry: Option<&TensorText>,
    batches: bool,
    what: &str,
) -> Result<CompletedTensor, EngineError> {
    let at = entry.map_or(String::new(), |entry| format!("configuration {}: ", entry.at));
    let place = format!("{at}{what} `{}`", tensor.name);
    let stated = entry.and_then(|entry| entry.dtype);
    let dtype = match (tensor.dtype, stated) {
        (Some(of_model), Some(of_config)) if of_model != of_config => {
            return Err(invalid(format!(
                "{place} is {} in the model file, {} in its configuration",
                of_model.wire_name(),
                of_config.wire_name()
            )));
        }
        (Some(dtype), _) | (None, Some(dtype)) => dtype,
        (None, None) => {
            return Err(invalid(format!("{place} has no type: state its `data_type`")));
        }
    };
    if entry.is_some_and(|entry| entry.optional) && !tensor.optional {
        return Err(invalid(format!("{place} is optional, but the model has no default for it")));
    }
    let stated = entry.and_then(|entry| entry.dims.as_deref());
    let reshaped = entry.and_then(|entry| entry.reshape.as_deref());
    let dims = match (&tensor.dims, reshaped.or(stated)) {
        // Nobody says: a run will show.
        (None, None) if what == "output" => vec![Dim::Unknown],
        (of_model, stated) => join_dims(of_model.as_deref(), stated, batches, &place)?,
    };
    let mut metadata =
        TensorMetadata { name: tensor.name.clone(), dtype, dims, optional: tensor.optional };
    let Some(reshaped) = reshaped else {
        return Ok(CompletedTensor { metadata, reshape: None });
    };
    let reshape = stated.and_then(|stated| Reshape::new(stated, reshaped)).ok_or_else(|| {
        invalid(format!("{place}: `reshape` and `dims` do not have equally many elements"))
    })?;
    let batch = metadata.dims.drain(..).take(usize::from(batches)).collect::<Vec<_>>();
    let client = stated.into_iter().flatten().map(as_dim);
    metadata.dims = batch.into_iter().chain(client).collect();
    Ok(CompletedTensor { metadata, reshape: Some(reshape) })
}

fn as_dim(&dim: &i64) -> Dim {
    usize::try_from(dim).map_or(Dim::Unknown, Dim::Fixed)
}

fn join_dims(
    of_model: Option<&[Dim]>,
    stated: Option<&[i64]>,
    batches: bool,
    place: &str,
) -> Result<Vec<Dim>, EngineError> {
    // The configuration's dimensions, with the batch dimension that it leaves out.
    let stated: Option<Vec<i64>> =
        stated.map(|dims| batches.then_some(-1).into_iter().chain(dims.iter().copied()).collect());
    if let (true, Some(dims)) = (batches, of_model) {
        match dims.first() {
            Some(Dim::Named(_) | Dim::Unknown) => {}
            Some(Dim::Fixed(size)) => {
                return Err(invalid(format!(
                    "{place} has a first dimension of {size}: `max_batch_size` above 0 needs one of any size"
                )));
            }
            None => {
                return Err(invalid(format!(
                    "{place} is a scalar: `max_batch_size` above 0 needs a batch dimension"
                )));
            }
        }
    }
    let Some(of_model) = of_model else {
        return stated.map(|dims| dims.iter().map(as_dim).collect()).ok_or_else(|| {
            invalid(format!("{place} has no dimensions in the model file: state its `dims`"))
        });
    };
    let Some(stated) = stated else { return Ok(of_model.to_vec()) };
    let disagree = || {
        let of_model: Vec<_> = of_model.iter().map(Dim::to_string).collect();
        let batch = if batches { " (after the batch dimension, which it leaves out)" } else { "" };
        invalid(format!(
            "{place} has dimensions [{}] in the model file, {:?} in its configuration{batch}",
            of_model.join(", "),
            &stated[usize::from(batches)..],
        ))
    };
    if stated.len() != of_model.len() {
        return Err(disagree());
    }
    let joined = of_model.iter().zip(&stated).map(|(dim, &stated)| match (dim, stated) {
        (Dim::Fixed(size), stated) if stated != *size as i64 => Err(disagree()),
        (Dim::Named(_) | Dim::Unknown, stated) if stated > 0 => Ok(Dim::Fixed(stated as usize)),
        (dim, _) => Ok(dim.clone()),
    });
    joined.collect()
}

fn config_tensors(
    tensors: &[CompletedTensor],
    entries: &[TensorText],
    batches: bool,
) -> Vec<ConfigTensor> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size as i64,
        Dim::Named(_) | Dim::Unknown => -1,
    };
    let config_tensor = |CompletedTensor { metadata, .. }: &CompletedTensor| ConfigTensor {
        name: metadata.name.clone(),
        dtype: metadata.dtype,
        dims: metadata.dims.iter().skip(usize::from(batches)).map(size).collect(),
        reshape: entries
            .iter()
            .find(|entry| entry.name == metadata.name)
            .and_then(|entry| entry.reshape.clone()),
        optional: metadata.optional,
    };
    tensors.iter().map(config_tensor).collect()
}
