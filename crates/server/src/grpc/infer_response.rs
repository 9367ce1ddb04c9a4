//! Encodes an inference's answer for gRPC.

use super::pb;
use crate::call::{Answer, AnswerTensor, AnswerValue};
use bytes::Bytes;
use pb::infer_parameter::ParameterChoice;
use pb::model_infer_response::InferOutputTensor;
use std::collections::HashMap;

/// Outputs in shared memory have an empty raw tensor: clients count raw tensors by output.
pub(crate) fn encode(answer: Answer) -> pb::ModelInferResponse {
    let mut outputs = Vec::with_capacity(answer.outputs.len());
    let mut raw_output_contents = Vec::with_capacity(answer.outputs.len());
    for output in answer.outputs {
        let AnswerTensor { name, datatype, shape, value } = output;
        let mut parameters = HashMap::new();
        raw_output_contents.push(match value {
            AnswerValue::Binary(bytes) => bytes,
            AnswerValue::Shared(span) => {
                let place = [
                    ("shared_memory_region", ParameterChoice::StringParam(span.name)),
                    (
                        "shared_memory_offset",
                        ParameterChoice::Int64Param(span.offset.cast_signed()),
                    ),
                    (
                        "shared_memory_byte_size",
                        ParameterChoice::Int64Param(span.bytes.cast_signed()),
                    ),
                ];
                parameters.extend(place.map(|(name, choice)| (name.to_owned(), parameter(choice))));
                Bytes::new()
            }
            AnswerValue::Json(_) | AnswerValue::Labels(_) => {
                unreachable!("decoding turned text into raw bytes")
            }
        });
        outputs.push(InferOutputTensor {
            name,
            datatype: datatype.to_owned(),
            shape: shape.into_iter().map(|dim| dim as i64).collect(),
            parameters,
            contents: None,
        });
    }
    pb::ModelInferResponse {
        model_name: answer.model,
        model_version: answer.version.to_string(),
        id: answer.id,
        parameters: HashMap::new(),
        outputs,
        raw_output_contents,
    }
}

/// Marks the last, here the only, answer to a streamed request.
pub(crate) fn mark_final(response: &mut pb::ModelInferResponse) {
    let mark = parameter(ParameterChoice::BoolParam(true));
    response.parameters.insert("triton_final_response".to_owned(), mark);
}

fn parameter(choice: ParameterChoice) -> pb::InferParameter {
    pb::InferParameter { parameter_choice: Some(choice) }
}
