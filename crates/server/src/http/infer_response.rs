//! Encodes an inference's answer for HTTP: a JSON head, and behind it the outputs that go as raw bytes.

use super::json_data::Values;
use crate::Failure;
use crate::call::{Answer, AnswerTensor, AnswerValue};
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// An encoded answer.
pub(crate) struct Encoded {
    pub json: Vec<u8>,
    /// In order behind the JSON; `None` when there are none, and the answer is plain JSON.
    pub raw: Option<Vec<Bytes>>,
}

pub(crate) fn encode(answer: &Answer) -> Result<Encoded, Failure> {
    for output in &answer.outputs {
        if let AnswerValue::Json(tensor) = &output.value {
            Values(tensor).check(&output.name)?;
        }
    }
    let head = Head {
        id: &answer.id,
        model_name: &answer.model,
        model_version: answer.version.to_string(),
        outputs: answer.outputs.iter().map(Output::from).collect(),
    };
    let json = serde_json::to_vec(&head).map_err(|error| Failure::internal(error.to_string()))?;
    let raw: Vec<Bytes> = answer.outputs.iter().filter_map(raw_bytes).collect();
    Ok(Encoded { json, raw: (!raw.is_empty()).then_some(raw) })
}

fn raw_bytes(output: &AnswerTensor) -> Option<Bytes> {
    match &output.value {
        AnswerValue::Binary(bytes) => Some(bytes.clone()),
        AnswerValue::Json(_) | AnswerValue::Labels(_) | AnswerValue::Shared(_) => None,
    }
}

#[derive(Serialize)]
struct Head<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    model_name: &'a str,
    model_version: String,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Place::is_here")]
    parameters: Place<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

impl<'a> From<&'a AnswerTensor> for Output<'a> {
    fn from(output: &'a AnswerTensor) -> Self {
        let data = match &output.value {
            AnswerValue::Json(tensor) => Some(Data::Values(Values(tensor))),
            AnswerValue::Labels(labels) => Some(Data::Labels(labels)),
            AnswerValue::Binary(_) | AnswerValue::Shared(_) => None,
        };
        Output {
            name: &output.name,
            datatype: output.datatype,
            shape: &output.shape,
            parameters: Place(&output.value),
            data,
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Values(Values<'a>),
    Labels(&'a [String]),
}

/// The parameters that tell where an output's bytes are.
struct Place<'a>(&'a AnswerValue);

impl Place<'_> {
    fn is_here(&self) -> bool {
        matches!(self.0, AnswerValue::Json(_) | AnswerValue::Labels(_))
    }
}

impl Serialize for Place<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            AnswerValue::Json(_) | AnswerValue::Labels(_) => {}
            AnswerValue::Binary(bytes) => map.serialize_entry("binary_data_size", &bytes.len())?,
            AnswerValue::Shared(span) => {
                map.serialize_entry("shared_memory_region", &span.name)?;
                map.serialize_entry("shared_memory_offset", &span.offset)?;
                map.serialize_entry("shared_memory_byte_size", &span.bytes)?;
            }
        }
        map.end()
    }
}
