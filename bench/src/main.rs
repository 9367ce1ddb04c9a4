//! Benchmarks and the soak. `cargo xtask bench` and `cargo xtask soak` call this; each prints its figure last.

mod agree;
mod busy;
mod cpu;
mod echo;
mod engines;
mod load;
mod server;
mod soak;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Warm latency against ONNX Runtime
    Cpu {
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// A Python with onnxruntime, onnx, numpy and safetensors
        #[arg(long)]
        python: PathBuf,
        #[arg(long)]
        script: PathBuf,
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// What the server adds to a bare echo
    Server {
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Whether the simulator predicts the live engine, given its profile
    Agree {
        /// Length of each workload
        #[arg(long, default_value_t = 15)]
        seconds: u64,
        /// Where the measured profile goes
        #[arg(long)]
        profile: PathBuf,
        /// Where the report's page goes
        #[arg(long)]
        html: PathBuf,
    },
    /// What `sublet load` costs by itself, and our server and MLServer under the same load
    Load {
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// The `sublet` to start
        #[arg(long)]
        sublet: PathBuf,
        /// A Python with mlserver and onnxruntime
        #[arg(long)]
        python: Option<PathBuf>,
        /// The folder of `mlserver_onnx.py`
        #[arg(long)]
        scripts: PathBuf,
        /// Where the comparison's page goes
        #[arg(long)]
        html: PathBuf,
    },
    /// Many models on two small devices
    Soak {
        #[arg(long, default_value_t = 20_000)]
        requests: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Cpu { threads, python, script, filter } => {
            cpu::run(threads, &python, &script, &filter)
        }
        Task::Server { seconds } => server::run(seconds),
        Task::Agree { seconds, profile, html } => agree::run(seconds, &profile, &html),
        Task::Load { seconds, sublet, python, scripts, html } => {
            load::run(&load::Programs { sublet, python, scripts }, seconds, &html)
        }
        Task::Soak { requests, seed } => soak::run(requests, seed),
    }
}
