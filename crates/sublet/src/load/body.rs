//! Requests, serialised beforehand: while the load runs, sending one copies nothing but its bytes.

use super::http2::framed;
use super::inputs::Filled;
use super::target::{Protocol, Target};
use anyhow::Result;
use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};
use std::fmt::Write;
use sublet_server::pb::infer_parameter::ParameterChoice;
use sublet_server::pb::model_infer_request::InferInputTensor;
use sublet_server::pb::{InferParameter, ModelInferRequest};
use sublet_units::Time;

/// One request, ready to be sent: over HTTP its head and body, over gRPC its message with the length before.
pub struct Body {
    pub bytes: Bytes,
}

impl Body {
    /// A request to `model`. `binary` is for HTTP alone.
    pub fn new(
        target: &Target,
        model: &str,
        inputs: &[Filled],
        slo: Option<Time>,
        binary: bool,
    ) -> Result<Self> {
        let bytes = match target.protocol {
            Protocol::Http => http(&target.authority, model, inputs, slo, binary)?,
            Protocol::Grpc => grpc(model, inputs, slo),
        };
        Ok(Body { bytes: bytes.into() })
    }
}

/// A request for a description.
pub fn get(authority: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes()
}

/// A name as a part of a path: everything but letters, digits and `-._~` is escaped.
pub fn path_segment(name: &str) -> String {
    let mut segment = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(byte.into());
            }
            byte => write!(segment, "%{byte:02X}").expect("text grows"),
        }
    }
    segment
}

fn http(
    authority: &str,
    model: &str,
    inputs: &[Filled],
    slo: Option<Time>,
    binary: bool,
) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    let mut raw: Vec<u8> = Vec::new();
    for input in inputs {
        let mut tensor = json!({
            "name": input.spec.name,
            "shape": input.spec.shape,
            "datatype": input.spec.datatype,
        });
        match binary {
            true => {
                tensor["parameters"] = json!({ "binary_data_size": input.bytes.len() });
                raw.extend(&input.bytes);
            }
            false => tensor["data"] = input.as_json()?,
        }
        tensors.push(tensor);
    }
    let mut request = json!({ "inputs": tensors });
    if binary {
        request["parameters"]["binary_data_output"] = Value::from(true);
    }
    if let Some(slo) = slo {
        request["parameters"]["slo_ms"] = json!(slo.as_millis_f64());
    }
    let json = serde_json::to_vec(&request)?;
    let kind = match binary {
        true => {
            format!("application/octet-stream\r\nInference-Header-Content-Length: {}", json.len())
        }
        false => "application/json".to_owned(),
    };
    let mut bytes = format!(
        "POST /v2/models/{}/infer HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        path_segment(model),
        json.len() + raw.len()
    )
    .into_bytes();
    bytes.extend(json);
    bytes.extend(raw);
    Ok(bytes)
}

fn grpc(model: &str, inputs: &[Filled], slo: Option<Time>) -> Vec<u8> {
    let tensor = |input: &Filled| InferInputTensor {
        name: input.spec.name.clone(),
        datatype: input.spec.datatype.clone(),
        shape: input.spec.shape.iter().map(|dim| *dim as i64).collect(),
        ..Default::default()
    };
    let parameter = |slo: Time| {
        let value = ParameterChoice::DoubleParam(slo.as_millis_f64());
        ("slo_ms".to_owned(), InferParameter { parameter_choice: Some(value) })
    };
    let request = ModelInferRequest {
        model_name: model.to_owned(),
        inputs: inputs.iter().map(tensor).collect(),
        raw_input_contents: inputs.iter().map(|input| input.bytes.clone().into()).collect(),
        parameters: slo.map(parameter).into_iter().collect(),
        ..Default::default()
    };
    framed(&request.encode_to_vec())
}
