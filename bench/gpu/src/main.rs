//! The GPU benchmark: Sublet on a CUDA device against PyTorch on the same GPU in the same run. `bench/gpu.sh` exports
//! the models, times PyTorch, and calls this; each task prints a line with its figures last.

mod client;
mod compare;
mod exported;
mod figures;
mod isolated;
mod models;
mod ops;
mod serve;
mod served;
mod soak;
mod startup;
mod throughput;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::sync::Arc;
use sublet_device::Device;
use sublet_devices::{OpenOptions, Opened, Tracer};
use sublet_units::Bytes;

#[derive(Parser)]
#[command(name = "gpu-bench")]
struct Cli {
    #[command(subcommand)]
    task: Task,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone)]
pub struct Common {
    /// The device, as `sublet serve --device` takes it
    #[arg(long, global = true, default_value = "cuda:0")]
    pub device: String,
    /// Folder of exported models, of PyTorch's figures, and of compiled kernels
    #[arg(long, global = true, default_value = "/tmp/sublet-gpu")]
    pub work: PathBuf,
    /// Folder that results are written to
    #[arg(long, global = true, default_value = "bench/results/gpu")]
    pub out: PathBuf,
    /// Only these models: `resnet50,gpt2`; all that were exported otherwise
    #[arg(long, global = true, default_value = "all")]
    pub models: String,
    #[arg(long, global = true, default_value = "f32,f16")]
    pub dtypes: String,
}

#[derive(Subcommand)]
enum Task {
    /// Each model: outputs against PyTorch's, warm and cold latency, ratios to PyTorch and to the floor
    Models(models::Options),
    /// Each node of a model against exact arithmetic on the same inputs, the least exact first
    Compare(compare::Options),
    /// Many models cycled so that every request swaps one in: bytes per second against the link
    Throughput(throughput::Options),
    /// Copies of models in a quarter of their memory under concurrent requests, every output compared
    Soak(soak::Options),
    /// What the server adds to a warm request over gRPC
    Serve(serve::Options),
    /// From the start of `sublet serve` with many models to the first answer
    Startup(startup::Options),
    /// ONNX's node tests
    Ops(ops::NodeTests),
    /// Generated problems, against the CPU kernels
    Problems(ops::Problems),
}

impl Common {
    /// The device, not yet started.
    pub fn open(&self, device: &str) -> Result<Arc<dyn Device>> {
        Ok(self.open_traced(device, false)?.0)
    }

    /// The same, with what writes a trace of what it does.
    pub fn open_traced(&self, device: &str, trace: bool) -> Result<(Arc<dyn Device>, Tracer)> {
        let opened = self.opened(&[device.to_owned()], trace)?;
        let first = opened.devices.first().with_context(|| format!("no device for `{device}`"))?;
        Ok((first.clone(), opened.tracer()))
    }

    /// Devices of one engine, not yet started.
    pub fn open_all(&self, devices: &[String]) -> Result<Vec<Arc<dyn Device>>> {
        Ok(self.opened(devices, false)?.devices)
    }

    fn opened(&self, devices: &[String], trace: bool) -> Result<Opened> {
        let cache = self.work.join("kernels");
        Ok(sublet_devices::open(devices, OpenOptions { cache: Some(&cache), trace })?)
    }
}

/// A device, as `--device` names it, with another budget of memory.
pub fn with_memory(device: &str, memory: Bytes) -> String {
    let mut parts: Vec<&str> =
        device.split(',').filter(|part| !part.starts_with("memory=")).collect();
    let memory = format!("memory={}", memory.0);
    parts.push(&memory);
    parts.join(",")
}

fn main() -> Result<()> {
    let Cli { task, common } = Cli::parse();
    match task {
        Task::Models(options) => models::run(&common, &options),
        Task::Compare(options) => compare::run(&common, &options),
        Task::Throughput(options) => throughput::run(&common, &options),
        Task::Soak(options) => soak::run(&common, &options),
        Task::Serve(options) => serve::run(&common, &options),
        Task::Startup(options) => startup::run(&common, &options),
        Task::Ops(options) => ops::node_tests(&common, &options),
        Task::Problems(options) => ops::generated(&common, &options),
    }
}
