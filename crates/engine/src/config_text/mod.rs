//! `config.pbtxt`: text protobuf, or Triton's JSON form of it, into a model's settings.
//!
//! `token` cuts the text, `tree` nests it, `json` makes the same tree from JSON, `fields` reads the tree by the
//! schema of Triton's `ModelConfig`, and `complete` joins the result with what the model file says; `reshape` is the one
//! setting that changes tensors on their way.

mod complete;
mod fields;
mod json;
mod reshape;
mod token;
mod tree;

pub(crate) use complete::{Completed, CompletedTensor, FileTensor, ModelFile, complete};
pub use fields::{ConfigText, TensorText};
pub(crate) use reshape::Reshape;
pub use token::Place;
pub use tree::ConfigError;

/// Longest text accepted, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Reads the text form.
///
/// # Errors
/// Broken syntax, unknown fields, values of the wrong kind: with line and column. Features that Sublet does not
/// have (sequence batching, ensembles, string tensors, …).
pub fn parse_config_text(text: &str) -> Result<ConfigText, ConfigError> {
    fields::read(&tree::parse(text)?)
}

/// Reads the JSON form, as Triton prints it and takes it in load requests.
///
/// # Errors
/// As [`parse_config_text`], with the path of the field.
pub fn parse_config_json(text: &str) -> Result<ConfigText, ConfigError> {
    fields::read(&json::parse(text)?)
}

#[cfg(test)]
mod tests;
