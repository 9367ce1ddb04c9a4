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
        /// Length of each run
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Runs per workload that are compared; each of them, and one more, has a calibration besides
        #[arg(long, default_value_t = 5)]
        pairs: u64,
        /// Only workloads whose name contains this
        #[arg(long, default_value = "")]
        filter: String,
        /// Folder that the measured profiles go to
        #[arg(long)]
        profiles: PathBuf,
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
        Task::Agree { seconds, pairs, filter, profiles, html } => {
            agree::run(&agree::Options { seconds, pairs, filter, profiles, html })
        }
        Task::Load { seconds, sublet, python, scripts, html } => {
            load::run(&load::Programs { sublet, python, scripts }, seconds, &html)
        }
        Task::Soak { requests, seed } => soak::run(requests, seed),
    }
}
