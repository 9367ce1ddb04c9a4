//! Clients of the demo: the Open Inference Protocol over HTTP and over gRPC, with binary tensors.

use super::record::Record;
use super::task::{Ask, Tensors};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use sublet_graph::{DType, Literal};
use sublet_server::pb::grpc_inference_service_client::GrpcInferenceServiceClient;
use sublet_server::pb::model_infer_request::InferInputTensor;
use sublet_server::pb::{ModelInferRequest, ModelInferResponse};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// How a tenant talks to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Http,
    Grpc,
}

/// Asks the server and records every question with its answer.
pub struct Client {
    wire: Wire,
    record: Arc<Record>,
}

enum Wire {
    Http { agent: ureq::Agent, base: String },
    Grpc { runtime: Runtime, client: GrpcInferenceServiceClient<Channel> },
}

impl Client {
    pub fn connect(protocol: Protocol, address: SocketAddr, record: Arc<Record>) -> Result<Self> {
        let wire = match protocol {
            Protocol::Http => {
                Wire::Http { agent: ureq::agent(), base: format!("http://{address}/v2/models") }
            }
            Protocol::Grpc => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
                let channel = runtime.block_on(endpoint.connect())?;
                let client =
                    GrpcInferenceServiceClient::new(channel).max_decoding_message_size(64 << 20);
                Wire::Grpc { runtime, client }
            }
        };
        Ok(Client { wire, record })
    }
}

impl Ask for Client {
    fn ask(&mut self, model: &str, inputs: Vec<(&str, Literal)>) -> Result<Tensors> {
        let was_cold = self.record.cold_starts(model);
        let start = Instant::now();
        let outputs = match &mut self.wire {
            Wire::Http { agent, base } => {
                over_http(agent, &format!("{base}/{model}/infer"), &inputs)
            }
            Wire::Grpc { runtime, client } => runtime.block_on(over_grpc(client, model, &inputs)),
        }
        .with_context(|| format!("asking {model}"))?;
        let took = start.elapsed();
        let cold = self.record.cold_starts(model) > was_cold;
        self.record.note(model, inputs, &outputs, took, cold);
        Ok(outputs)
    }
}

/// One request: a JSON header, then the tensors' bytes one after the other; the response has the same form.
fn over_http(agent: &ureq::Agent, url: &str, inputs: &[(&str, Literal)]) -> Result<Tensors> {
    let tensors: Vec<Value> = inputs
        .iter()
        .map(|(name, tensor)| {
            json!({"name": name, "shape": tensor.shape(), "datatype": tensor.dtype().wire_name(),
                   "parameters": {"binary_data_size": tensor.bytes().len()}})
        })
        .collect();
    let header = json!({"inputs": tensors, "parameters": {"binary_data_output": true}}).to_string();
    let mut body = header.clone().into_bytes();
    inputs.iter().for_each(|(_, tensor)| body.extend_from_slice(tensor.bytes()));
    let request = agent
        .post(url)
        .header("Inference-Header-Content-Length", header.len().to_string())
        .config()
        .http_status_as_error(false)
        .build();
    let mut response = request.send(&body[..])?;
    let split = response.headers().get("Inference-Header-Content-Length");
    let split = split.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let status = response.status();
    let body = Bytes::from(response.body_mut().with_config().limit(64 << 20).read_to_vec()?);
    if !status.is_success() {
        bail!("{status}: {}", String::from_utf8_lossy(&body));
    }
    let mut rest = body.slice(split.unwrap_or(body.len())..);
    let header: Value = serde_json::from_slice(&body[..split.unwrap_or(body.len())])?;
    let mut outputs = Tensors::new();
    for output in header["outputs"].as_array().context("outputs")? {
        let name = output["name"].as_str().context("name")?;
        let size =
            output["parameters"]["binary_data_size"].as_u64().context("binary_data_size")? as usize;
        let dims = output["shape"].as_array().context("shape")?;
        let shape = dims.iter().filter_map(Value::as_u64).map(|dim| dim as usize).collect();
        let literal =
            tensor(output["datatype"].as_str().context("datatype")?, shape, rest.split_to(size))?;
        outputs.insert(name.to_owned(), literal);
    }
    Ok(outputs)
}

async fn over_grpc(
    client: &mut GrpcInferenceServiceClient<Channel>,
    model: &str,
    inputs: &[(&str, Literal)],
) -> Result<Tensors> {
    let request = ModelInferRequest {
        model_name: model.to_owned(),
        inputs: inputs
            .iter()
            .map(|(name, tensor)| InferInputTensor {
                name: (*name).to_owned(),
                datatype: tensor.dtype().wire_name().to_owned(),
                shape: tensor.shape().iter().map(|&dim| dim as i64).collect(),
                ..Default::default()
            })
            .collect(),
        raw_input_contents: inputs.iter().map(|(_, tensor)| tensor.bytes().clone()).collect(),
        ..Default::default()
    };
    let ModelInferResponse { outputs, raw_output_contents, .. } =
        client.model_infer(request).await?.into_inner();
    let named = outputs.into_iter().zip(raw_output_contents).map(|(output, bytes)| {
        let shape = output.shape.iter().map(|&dim| dim as usize).collect();
        Ok((output.name, tensor(&output.datatype, shape, bytes)?))
    });
    named.collect()
}

fn tensor(datatype: &str, shape: Vec<usize>, bytes: Bytes) -> Result<Literal> {
    let dtype = DType::from_wire_name(datatype).with_context(|| format!("the type {datatype}"))?;
    Literal::new(dtype, shape, bytes).context("an output that is not as long as its shape says")
}
