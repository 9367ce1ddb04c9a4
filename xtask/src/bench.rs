//! Benchmarks and the soak: each builds a release binary and passes on what the person asked for.

use crate::python;
use crate::shell::{cargo, root, run as execute};
use anyhow::Result;
use clap::Subcommand;

/// What the scripts that run ONNX Runtime need.
pub const REFERENCE: &[&str] = &["onnxruntime==1.31.1", "onnx==1.22.0", "numpy", "safetensors"];

#[derive(Subcommand)]
pub enum Bench {
    /// Warm latency on the CPU device against ONNX Runtime with the same threads
    Cpu {
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Only models whose name contains this
        #[arg(long)]
        filter: Option<String>,
    },
    /// Latency and throughput that the server adds to a bare echo of the same bytes
    Server {
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
}

pub fn run(bench: Bench) -> Result<()> {
    match bench {
        Bench::Cpu { threads, filter } => {
            let python = python::environment("reference", REFERENCE)?;
            let mut command = bench_command("cpu");
            command.args(["--threads", &threads.to_string()]).arg("--python").arg(python);
            command.arg("--script").arg(root().join("python/reference.py"));
            if let Some(filter) = filter {
                command.args(["--filter", &filter]);
            }
            execute(&mut command)
        }
        Bench::Server { seconds } => {
            execute(bench_command("server").args(["--seconds", &seconds.to_string()]))
        }
    }
}

/// The soak test.
pub fn soak(requests: u64, seed: u64) -> Result<()> {
    execute(bench_command("soak").args([
        "--requests",
        &requests.to_string(),
        "--seed",
        &seed.to_string(),
    ]))
}

fn bench_command(name: &str) -> std::process::Command {
    cargo(&["run", "--release", "--quiet", "--package", "sublet-bench", "--", name])
}
