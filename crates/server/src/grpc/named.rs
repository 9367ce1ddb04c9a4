//! Enumerations of the model configuration, by name, as JSON writes them.

use super::pb::{DataType, model_input, model_instance_group};
use serde::Serializer;

pub(crate) fn data_type<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let value = DataType::try_from(*value).unwrap_or_default();
    serializer.serialize_str(value.as_str_name())
}

pub(crate) fn format<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let value = model_input::Format::try_from(*value).unwrap_or_default();
    serializer.serialize_str(value.as_str_name())
}

pub(crate) fn kind<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let value = model_instance_group::Kind::try_from(*value).unwrap_or_default();
    serializer.serialize_str(value.as_str_name())
}
