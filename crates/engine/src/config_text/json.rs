//! The tree of a configuration from JSON, as Triton prints it and takes it in load requests.

use super::TEXT_BYTES_MAX;
use super::token::Place;
use super::tree::{ConfigError, Field, Message, Value};
use serde_json::Value as Json;

/// Fields that are maps: their JSON objects have keys of their own instead of field names.
const MAPS: [&str; 4] =
    ["parameters", "metric_tags", "cc_model_filenames", "priority_queue_policy"];

pub(super) fn parse(text: &str) -> Result<Message, ConfigError> {
    let top = || Place::Json(String::new());
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("{} bytes; at most {TEXT_BYTES_MAX} are accepted", text.len());
        return Err(ConfigError::new(top(), message));
    }
    let json: Json = serde_json::from_str(text)
        .map_err(|error| ConfigError::new(top(), format!("not JSON: {error}")))?;
    match json {
        Json::Object(object) => Ok(message("", &object)),
        _ => Err(ConfigError::new(top(), "a JSON object is expected")),
    }
}

fn message(path: &str, object: &serde_json::Map<String, Json>) -> Message {
    let mut fields = Vec::new();
    for (key, value) in object {
        let name = snake_case(key);
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Json::Object(entries) if MAPS.contains(&name.as_str()) => {
                for (key, value) in entries {
                    let at = format!("{path}[{key:?}]");
                    fields.push(map_entry(&name, at, key, value));
                }
            }
            Json::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    push(&name, format!("{path}[{index}]"), element, &mut fields);
                }
            }
            other => push(&name, path, other, &mut fields),
        }
    }
    Message { fields }
}

/// A map entry as text protobuf writes it: a message of `key` and `value`.
fn map_entry(name: &str, path: String, key: &str, value: &Json) -> Field {
    let at = Place::Json(path.clone());
    let key = Field { name: "key".into(), at: at.clone(), value: Value::Text(key.to_owned()) };
    let mut entry = Message { fields: vec![key] };
    push("value", path, value, &mut entry.fields);
    Field { name: name.to_owned(), at, value: Value::Message(entry) }
}

fn push(name: &str, path: String, json: &Json, into: &mut Vec<Field>) {
    let value = match json {
        Json::Null => return,
        Json::Bool(value) => Value::Word(value.to_string()),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::Integer(value.into()),
            (_, Some(value)) => Value::Integer(value.into()),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Object(object) => Value::Message(message(&path, object)),
        // A list within a list: no field of the schema is one, so the schema refuses it.
        Json::Array(elements) => Value::Text(format!("a list of {}", elements.len())),
    };
    into.push(Field { name: name.to_owned(), at: Place::Json(path), value });
}

/// `maxBatchSize` → `max_batch_size`: protobuf's JSON form allows both.
fn snake_case(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}
