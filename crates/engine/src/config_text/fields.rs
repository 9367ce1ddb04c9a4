//! The schema: which fields Triton's `ModelConfig` has, and what Sublet does with each.

use super::token::Place;
use super::tree::{ConfigError, Field, Message, Value};
use crate::{DynamicBatching, VersionPolicy};
use std::collections::{BTreeMap, HashSet};
use sublet_graph::DType;

/// What a configuration says; everything may be left out.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ConfigText {
    pub name: Option<String>,
    pub platform: Option<String>,
    pub backend: Option<String>,
    pub max_batch_size: Option<u32>,
    pub inputs: Vec<TensorText>,
    pub outputs: Vec<TensorText>,
    pub version_policy: Option<VersionPolicy>,
    pub dynamic_batching: Option<DynamicBatching>,
    /// Runs at once on each device.
    pub instance_count: Option<u32>,
    pub default_model_filename: Option<String>,
    pub parameters: BTreeMap<String, String>,
}

/// One `input` or `output` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorText {
    pub at: Place,
    pub name: String,
    pub dtype: Option<DType>,
    /// −1 is dynamic.
    pub dims: Option<Vec<i64>>,
    /// The dimensions that the model sees instead.
    pub reshape: Option<Vec<i64>>,
    pub optional: bool,
}

/// Fields without effect on what is served: tuning of other runtimes, and what Sublet decides itself.
const IGNORED: [&str; 9] = [
    "optimization",
    "model_warmup",
    "response_cache",
    "cc_model_filenames",
    "metric_tags",
    "model_operations",
    "model_metrics",
    "runtime",
    "priority_queue_policy",
];

pub(super) fn read(message: &Message) -> Result<ConfigText, ConfigError> {
    once(
        message,
        &[
            "input",
            "output",
            "instance_group",
            "parameters",
            "metric_tags",
            "cc_model_filenames",
            "model_warmup",
            "batch_input",
            "batch_output",
        ],
    )?;
    let mut config = ConfigText::default();
    let mut instances = 0u32;
    for field in &message.fields {
        match field.name.as_str() {
            "name" => config.name = Some(field.text()?),
            "platform" => config.platform = Some(field.text()?),
            "backend" => config.backend = Some(field.text()?),
            "default_model_filename" => config.default_model_filename = Some(field.text()?),
            "max_batch_size" => config.max_batch_size = Some(field.integer(0, i32::MAX as u32)?),
            "input" => config.inputs.push(tensor(field)?),
            "output" => config.outputs.push(tensor(field)?),
            "version_policy" => config.version_policy = Some(version_policy(field)?),
            "dynamic_batching" => config.dynamic_batching = Some(dynamic_batching(field)?),
            "instance_group" => instances = instances.saturating_add(instance_group(field)?),
            "parameters" => {
                let (key, value) = parameter(field)?;
                config.parameters.insert(key, value);
            }
            "model_transaction_policy" => transaction_policy(field)?,
            "sequence_batching"
            | "ensemble_scheduling"
            | "batch_input"
            | "batch_output"
            | "model_repository_agents" => {
                return Err(field.unsupported(format!("`{}` is not supported", field.name)));
            }
            name if IGNORED.contains(&name) => {
                tracing::debug!(field = name, at = %field.at, "setting without effect");
            }
            _ => return Err(field.unknown("the model configuration")),
        }
    }
    config.instance_count = (instances > 0).then_some(instances);
    Ok(config)
}

fn tensor(field: &Field) -> Result<TensorText, ConfigError> {
    let message = field.message()?;
    once(message, &["dims"])?;
    let mut name = None;
    let mut tensor = TensorText {
        at: field.at.clone(),
        name: String::new(),
        dtype: None,
        dims: None,
        reshape: None,
        optional: false,
    };
    for field in &message.fields {
        match field.name.as_str() {
            "name" => name = Some(field.text()?),
            "data_type" => tensor.dtype = data_type(field)?,
            "dims" => tensor.dims.get_or_insert_default().push(dim(field)?),
            "reshape" => tensor.reshape = Some(reshape_dims(field)?),
            "optional" => tensor.optional = field.bool()?,
            "allow_ragged_batch" | "is_shape_tensor" | "is_non_linear_format_io" => {
                if field.bool()? {
                    return Err(field.unsupported(format!("`{}` is not supported", field.name)));
                }
            }
            "format" => {
                field.one_of(&["FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"])?;
            }
            "label_filename" => {
                field.text()?;
            }
            _ => return Err(field.unknown("a tensor")),
        }
    }
    tensor.name = name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| field.error("a tensor needs a `name`"))?;
    Ok(tensor)
}

/// `None` for `TYPE_INVALID`, which is how an unset type is printed.
fn data_type(field: &Field) -> Result<Option<DType>, ConfigError> {
    let word = field.word()?;
    let unknown = || field.error(format!("`{word}` is not a data type"));
    let name = word.strip_prefix("TYPE_").ok_or_else(unknown)?;
    match name {
        "INVALID" => Ok(None),
        "STRING" => Err(field.unsupported("string tensors are not supported".into())),
        _ => DType::from_wire_name(name).map(Some).ok_or_else(unknown),
    }
}

fn dim(field: &Field) -> Result<i64, ConfigError> {
    let dim: i64 = field.integer(-1, i64::MAX)?;
    if dim == 0 { Err(field.error("a dimension is positive, or -1 for any size")) } else { Ok(dim) }
}

fn reshape_dims(field: &Field) -> Result<Vec<i64>, ConfigError> {
    let message = field.message()?;
    let mut dims = Vec::new();
    for field in &message.fields {
        match field.name.as_str() {
            "shape" => dims.push(dim(field)?),
            _ => return Err(field.unknown("`reshape`")),
        }
    }
    Ok(dims)
}

fn version_policy(field: &Field) -> Result<VersionPolicy, ConfigError> {
    let message = field.message()?;
    let [choice] = message.fields.as_slice() else {
        return Err(field.error("`version_policy` needs one of `latest`, `all`, `specific`"));
    };
    let inner = choice.message()?;
    match choice.name.as_str() {
        "latest" => {
            let mut count = 1;
            once(inner, &[])?;
            for field in &inner.fields {
                match field.name.as_str() {
                    "num_versions" => count = field.integer(1, u32::MAX)?,
                    _ => return Err(field.unknown("`latest`")),
                }
            }
            Ok(VersionPolicy::Latest { count })
        }
        "all" => match inner.fields.first() {
            None => Ok(VersionPolicy::All),
            Some(field) => Err(field.unknown("`all`")),
        },
        "specific" => {
            let mut versions = Vec::new();
            for field in &inner.fields {
                match field.name.as_str() {
                    "versions" => versions.push(field.integer(1, i64::MAX as u64)?),
                    _ => return Err(field.unknown("`specific`")),
                }
            }
            Ok(VersionPolicy::Specific(versions))
        }
        _ => Err(choice.unknown("`version_policy`")),
    }
}

fn dynamic_batching(field: &Field) -> Result<DynamicBatching, ConfigError> {
    let message = field.message()?;
    once(message, &["preferred_batch_size", "priority_queue_policy"])?;
    let mut batching = DynamicBatching::default();
    for field in &message.fields {
        match field.name.as_str() {
            "preferred_batch_size" => {
                batching.preferred.push(field.integer(1, i32::MAX as u32)?);
            }
            "max_queue_delay_microseconds" => {
                batching.max_queue_delay_us = field.integer(0, u64::MAX)?;
            }
            "priority_levels" => batching.priority_levels = field.integer(0, u32::MAX)?,
            "default_priority_level" => batching.default_priority = field.integer(0, u32::MAX)?,
            "default_queue_policy" => queue_policy(field, &mut batching)?,
            // Every request is answered by itself, so there is no order to preserve.
            "preserve_ordering" => {
                field.bool()?;
            }
            name if IGNORED.contains(&name) => {
                tracing::debug!(field = name, at = %field.at, "setting without effect");
            }
            _ => return Err(field.unknown("`dynamic_batching`")),
        }
    }
    if batching.default_priority > batching.priority_levels {
        let message = format!(
            "`default_priority_level` {} is above `priority_levels` {}",
            batching.default_priority, batching.priority_levels
        );
        return Err(field.error(message));
    }
    Ok(batching)
}

fn queue_policy(field: &Field, batching: &mut DynamicBatching) -> Result<(), ConfigError> {
    let message = field.message()?;
    once(message, &[])?;
    let mut delay = false;
    for field in &message.fields {
        match field.name.as_str() {
            "timeout_action" => delay = field.one_of(&["REJECT", "DELAY"])? == "DELAY",
            "default_timeout_microseconds" => {
                batching.default_timeout_us = field.integer(0, u64::MAX)?;
            }
            "allow_timeout_override" => {
                field.bool()?;
            }
            "max_queue_size" => batching.max_queue_size = field.integer(0, u32::MAX)?,
            _ => return Err(field.unknown("`default_queue_policy`")),
        }
    }
    if delay {
        // A delayed request is served late, never rejected.
        batching.default_timeout_us = 0;
    }
    Ok(())
}

fn instance_group(field: &Field) -> Result<u32, ConfigError> {
    let message = field.message()?;
    once(message, &["gpus", "profile", "secondary_devices"])?;
    let mut count = 1;
    for field in &message.fields {
        match field.name.as_str() {
            "count" => count = field.integer::<u32>(0, 1 << 16)?.max(1),
            "kind" => {
                field.one_of(&["KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"])?;
            }
            "gpus" => {
                field.integer::<u32>(0, u32::MAX)?;
            }
            "name" | "profile" | "host_policy" => {
                field.text()?;
            }
            "passive" => {
                field.bool()?;
            }
            "rate_limiter" | "secondary_devices" => {
                field.message()?;
            }
            _ => return Err(field.unknown("`instance_group`")),
        }
    }
    Ok(count)
}

fn parameter(field: &Field) -> Result<(String, String), ConfigError> {
    let message = field.message()?;
    once(message, &[])?;
    let (mut key, mut value) = (String::new(), String::new());
    for field in &message.fields {
        match field.name.as_str() {
            "key" => key = field.text()?,
            "value" => {
                for field in &field.message()?.fields {
                    match field.name.as_str() {
                        "string_value" => value = field.text()?,
                        _ => return Err(field.unknown("a parameter")),
                    }
                }
            }
            _ => return Err(field.unknown("`parameters`")),
        }
    }
    Ok((key, value))
}

fn transaction_policy(field: &Field) -> Result<(), ConfigError> {
    for field in &field.message()?.fields {
        match field.name.as_str() {
            "decoupled" if field.bool()? => {
                return Err(field.unsupported("decoupled models are not supported".into()));
            }
            "decoupled" => {}
            _ => return Err(field.unknown("`model_transaction_policy`")),
        }
    }
    Ok(())
}

/// Only the `repeated` fields may stand more than once.
fn once(message: &Message, repeated: &[&str]) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for field in &message.fields {
        if !seen.insert(&field.name) && !repeated.contains(&field.name.as_str()) {
            return Err(field.error(format!("`{}` stands more than once", field.name)));
        }
    }
    Ok(())
}

impl Field {
    fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.at.clone(), message)
    }

    fn unsupported(&self, message: String) -> ConfigError {
        ConfigError::unsupported(self.at.clone(), message)
    }

    fn unknown(&self, of: &str) -> ConfigError {
        self.error(format!("{of} has no field `{}`", self.name))
    }

    fn wrong(&self, wanted: &str) -> ConfigError {
        let found = match &self.value {
            Value::Message(_) => "a message".to_owned(),
            Value::Text(text) => format!("the string {text:?}"),
            Value::Word(word) => format!("`{word}`"),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
        };
        self.error(format!("`{}` needs {wanted}, got {found}", self.name))
    }

    fn message(&self) -> Result<&Message, ConfigError> {
        match &self.value {
            Value::Message(message) => Ok(message),
            _ => Err(self.wrong("a message in braces")),
        }
    }

    fn text(&self) -> Result<String, ConfigError> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(self.wrong("a quoted string")),
        }
    }

    /// The name of an enum's value; JSON has it as a string.
    fn word(&self) -> Result<&str, ConfigError> {
        match (&self.value, &self.at) {
            (Value::Word(word), _) | (Value::Text(word), Place::Json(_)) => Ok(word),
            _ => Err(self.wrong("a name without quotes")),
        }
    }

    fn one_of<'a>(&'a self, names: &[&str]) -> Result<&'a str, ConfigError> {
        let word = self.word()?;
        if names.contains(&word) {
            Ok(word)
        } else {
            Err(self.wrong(&format!("one of {}", names.join(", "))))
        }
    }

    fn bool(&self) -> Result<bool, ConfigError> {
        match &self.value {
            Value::Word(word) if word == "true" || word == "t" || word == "True" => Ok(true),
            Value::Word(word) if word == "false" || word == "f" || word == "False" => Ok(false),
            Value::Integer(1) => Ok(true),
            Value::Integer(0) => Ok(false),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    /// Between `least` and `most`. JSON may have 64-bit numbers as strings.
    fn integer<T>(&self, least: T, most: T) -> Result<T, ConfigError>
    where
        T: Copy + TryFrom<i128> + Into<i128>,
    {
        let value = match (&self.value, &self.at) {
            (Value::Integer(value), _) => Some(*value),
            (Value::Text(text), Place::Json(_)) => text.parse().ok(),
            _ => None,
        };
        let range = least.into()..=most.into();
        let value = value.ok_or_else(|| self.wrong("a whole number"))?;
        match T::try_from(value) {
            Ok(number) if range.contains(&value) => Ok(number),
            _ => {
                let wanted = format!("a number from {} to {}", range.start(), range.end());
                Err(self.wrong(&wanted))
            }
        }
    }
}
