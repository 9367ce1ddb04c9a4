//! Requests, serialised beforehand: while the load runs, sending one copies nothing but its bytes.

use super::inputs::Filled;
use super::target::Protocol;
use anyhow::{Context, Result};
use bytes::Bytes;
use hyper::http::{HeaderName, HeaderValue, Uri};
use prost::Message;
use serde_json::{Value, json};
use sublet_server::pb::infer_parameter::ParameterChoice;
use sublet_server::pb::model_infer_request::InferInputTensor;
use sublet_server::pb::{InferParameter, ModelInferRequest};
use sublet_units::Time;

/// The header that says where the JSON ends and the tensors begin.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// One request, ready to be sent.
pub struct Body {
    /// Only for HTTP.
    pub path: Uri,
    pub bytes: Bytes,
    /// The length of the JSON before binary tensors.
    pub header_length: Option<HeaderValue>,
}

impl Body {
    /// A request to `model`. `binary` is for HTTP alone.
    pub fn new(
        protocol: Protocol,
        model: &str,
        inputs: &[Filled],
        slo: Option<Time>,
        binary: bool,
    ) -> Result<Self> {
        match protocol {
            Protocol::Http => http(model, inputs, slo, binary),
            Protocol::Grpc => Ok(grpc(model, inputs, slo)),
        }
    }

    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        self.header_length.clone().map(|length| (HEADER_LENGTH, length))
    }
}

fn http(model: &str, inputs: &[Filled], slo: Option<Time>, binary: bool) -> Result<Body> {
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
    let mut bytes = serde_json::to_vec(&request)?;
    let header_length = binary.then(|| HeaderValue::from(bytes.len()));
    bytes.extend(raw);
    let path = format!("/v2/models/{model}/infer");
    let path = path.parse().with_context(|| format!("the model's name `{model}` is no path"))?;
    Ok(Body { path, bytes: bytes.into(), header_length })
}

fn grpc(model: &str, inputs: &[Filled], slo: Option<Time>) -> Body {
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
    Body { path: Uri::from_static("/"), bytes: request.encode_to_vec().into(), header_length: None }
}
