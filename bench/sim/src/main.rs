//! What is measured on the simulator, apart from the other benchmarks so that it builds fast: the fuzzer, the speed of a
//! simulation, policies compared, and plausibility against published figures. Each prints its figure last.

mod simtest;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Random worlds with faults, under every preset, with a checker that looks at every command
    Simtest {
        #[arg(long, default_value_t = 20_000)]
        seeds: u64,
        /// The first seed; with `--seeds 1` a single world
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Only these presets
        #[arg(long, value_delimiter = ',')]
        policy: Vec<sublet_sched::Preset>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Simtest { seeds, first, policy } => simtest::run(first..first + seeds, &policy),
    }
}
