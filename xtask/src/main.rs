//! Development tasks: `cargo xtask <task>`.
//!
//! Each task prints its figure last and exits with a failure when its bar is not met.

mod bench;
mod ci;
mod gpu;
mod python;
mod shell;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Development tasks of Sublet.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must pass before a change lands: formatting, lints, tidy, tests, conformance, clients,
    /// fuzz smoke, documentation
    Ci,
    /// Check the architecture's invariants over `cargo metadata` and the sources
    Tidy,
    /// Run ONNX's own node tests on the CPU device against the manifest of expected outcomes
    Conformance {
        /// Rewrite the manifest from what was seen
        #[arg(long)]
        bless: bool,
        /// Only tests whose name contains this; prints each failure
        #[arg(long)]
        filter: Option<String>,
    },
    /// Compare the real models with ONNX Runtime, on several shapes
    Reference,
    /// Drive a real server with the real clients (tritonclient, kserve)
    Clients,
    /// Run each fuzz target on its seed corpus and seeded mutations of it
    Fuzz {
        /// Inputs per target
        #[arg(long, default_value_t = 20_000)]
        runs: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Many models on two small devices, every output checked bit for bit
    Soak {
        #[arg(long, default_value_t = 20_000)]
        requests: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Keep the figures in `bench/results`
        #[arg(long)]
        record: bool,
    },
    /// Random worlds with faults, under every preset, with a checker that looks at every command
    Simtest {
        #[arg(long, default_value_t = 20_000)]
        seeds: u64,
        /// The first seed; with `--seeds 1` a single world
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Only these presets, separated by commas
        #[arg(long)]
        policy: Option<String>,
        /// Keep the figures in `bench/results`
        #[arg(long)]
        record: bool,
    },
    /// The tests that need a GPU: the CUDA device's own, generated problems, ONNX's node tests
    GpuTest,
    /// Build what `bench/gpu.sh` runs on another machine into one folder
    GpuBuild,
    /// Benchmarks against a peer measured in the same run
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
        /// Keep the figures in `bench/results`
        #[arg(long, global = true)]
        record: bool,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
        Task::Conformance { bless, filter } => ci::conformance(bless, filter.as_deref()),
        Task::Reference => ci::reference(),
        Task::Clients => ci::clients(),
        Task::Fuzz { runs, seed } => ci::fuzz(runs, seed),
        Task::Soak { requests, seed, record } => bench::soak(requests, seed, record),
        Task::Simtest { seeds, first, policy, record } => {
            bench::simtest(seeds, first, policy.as_deref(), record)
        }
        Task::GpuTest => gpu::test(),
        Task::GpuBuild => gpu::build().map(drop),
        Task::Bench { bench, record } => bench::run(bench, record),
    }
}
