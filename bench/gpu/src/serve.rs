//! What the server adds to a warm request: gRPC over loopback with binary tensors, one request at a time, less the
//! time that the device spent on it.

use crate::Common;
use crate::client::Client;
use crate::exported::Exported;
use crate::figures::{median, ms, quantile, summary, write};
use crate::served::{self, Policy, Served};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use sublet_engine::{Engine, ModelStatistics};
use sublet_server::ServerConfig;
use sublet_server::pb::ModelInferRequest;
use sublet_server::pb::model_infer_request::InferInputTensor;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 2000)]
    requests: usize,
}

pub fn run(common: &Common, options: &Options) -> Result<()> {
    let device = &common.device;
    let served = Served::start(common, &[device.to_owned()], Policy::Sublet)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = ServerConfig { http: None, grpc: any, metrics: None, ..ServerConfig::default() };
    let running = runtime.block_on(sublet_server::serve(served.engine.clone(), config))?;
    let address = running.grpc_address().context("the server has an address for gRPC")?;
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for exported in Exported::all(common)? {
        let name = format!("{}-{}", exported.case.model, exported.case.dtype);
        served.add(&name, served::file(&exported)?)?;
        let request = grpc_request(&name, &exported)?;
        let (walls, parts) = measure(&served.engine, address, &request, options.requests)?;
        let p50 = median(&walls);
        let Parts { engine, input, compute, output } = parts;
        lines.push(format!(
            "serve {name}: gRPC p50 {:.1} us p99 {:.1} us; in the engine {:.1} us; device: input {:.1} compute {:.1} \
             output {:.1} us; added to compute {:.1} us, to input, compute and output {:.1} us",
            p50 * 1e3, quantile(&walls, 0.99) * 1e3, engine * 1e3, input * 1e3, compute * 1e3, output * 1e3,
            (p50 - compute) * 1e3, (p50 - input - compute - output) * 1e3
        ));
        rows.push(json!({
            "model": exported.case.model, "dtype": exported.case.dtype, "requests": walls.len(),
            "p50_ms": p50, "p99_ms": quantile(&walls, 0.99), "engine_ms": engine, "input_ms": input,
            "compute_ms": compute, "output_ms": output,
        }));
    }
    runtime.block_on(running.shutdown(Duration::from_secs(5)));
    served.engine.shutdown(Duration::from_secs(5));
    write(&common.out, "serve.json", &rows)?;
    summary(&common.out, "serve", &lines.join("\n"))
}

fn grpc_request(name: &str, exported: &Exported) -> Result<ModelInferRequest> {
    let inputs = exported.tensors(1)?.inputs;
    let tensor = |(name, literal): (&String, &sublet_graph::Literal)| InferInputTensor {
        name: name.clone(),
        datatype: literal.dtype().wire_name().to_owned(),
        shape: literal.shape().iter().map(|&size| size as i64).collect(),
        ..Default::default()
    };
    Ok(ModelInferRequest {
        model_name: name.to_owned(),
        inputs: inputs.iter().map(tensor).collect(),
        raw_input_contents: inputs.values().map(|literal| literal.bytes().clone()).collect(),
        ..Default::default()
    })
}

/// Mean milliseconds of a request's parts within the engine.
struct Parts {
    /// From the engine's taking it to its answer.
    engine: f64,
    input: f64,
    compute: f64,
    output: f64,
}

/// Milliseconds of each request as its client sees it, and the mean of its parts.
fn measure(
    engine: &Engine,
    address: SocketAddr,
    request: &ModelInferRequest,
    requests: usize,
) -> Result<(Vec<f64>, Parts)> {
    let mut client = Client::connect(address, request)?;
    for _ in 0..requests / 10 + 3 {
        client.ask()?;
    }
    let before = statistics(engine, &request.model_name)?;
    let mut walls = Vec::with_capacity(requests);
    for _ in 0..requests {
        walls.push(ms(client.ask()?));
    }
    let after = statistics(engine, &request.model_name)?;
    ensure!(after.cold_starts == before.cold_starts, "a request was cold");
    let mean = |part: fn(&ModelStatistics) -> sublet_engine::DurationStat| {
        let (before, after) = (part(&before), part(&after));
        (after.ns - before.ns) as f64 / (after.count - before.count).max(1) as f64 / 1e6
    };
    let parts = Parts {
        engine: mean(|of| of.success),
        input: mean(|of| of.compute_input),
        compute: mean(|of| of.compute_infer),
        output: mean(|of| of.compute_output),
    };
    Ok((walls, parts))
}

fn statistics(engine: &Engine, model: &str) -> Result<ModelStatistics> {
    engine
        .statistics(Some(model), None)?
        .into_iter()
        .next()
        .context("a served model has statistics")
}
