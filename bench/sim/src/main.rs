//! What is measured on the simulator, apart from the other benchmarks so that it builds fast: the fuzzer, the speed of a
//! simulation, policies compared, and plausibility against published figures. Each prints its figure last.

mod library;
mod plausibility;
mod policies;
mod simtest;
mod speed;

use anyhow::Result;
use clap::{Parser, Subcommand};
use library::Library;
use std::path::PathBuf;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Args)]
struct Files {
    /// Folder of scenarios
    #[arg(long, default_value = "scenarios")]
    scenarios: PathBuf,
    /// Folder of recorded traces; scenarios whose traces are missing are skipped
    #[arg(long, default_value = "../shared/data")]
    data: PathBuf,
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
    /// Simulated requests per second on one core
    Sim {
        /// Requests of each world
        #[arg(long, default_value_t = 2_000_000)]
        requests: u64,
        /// How often each world is simulated; the median counts
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Only worlds whose name contains this
        #[arg(long, default_value = "")]
        filter: String,
        #[arg(long, default_value = "sublet")]
        policy: sublet_sched::Preset,
        #[command(flatten)]
        files: Files,
    },
    /// Every scenario under every preset with the same seeds: is `sublet` the best?
    Policies {
        /// Only scenarios whose name contains this
        #[arg(long, default_value = "")]
        filter: String,
        /// Seeds of each point, instead of five or as many as the scenario asks for
        #[arg(long)]
        seeds: Option<u64>,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        first: u64,
        #[command(flatten)]
        files: Files,
    },
    /// Published figures against simulated ones
    Plausibility {
        #[command(flatten)]
        files: Files,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Simtest { seeds, first, policy } => simtest::run(first..first + seeds, &policy),
        Task::Sim { requests, rounds, filter, policy, files } => {
            speed::run(&Library::from(files), requests, rounds, &filter, policy)
        }
        Task::Policies { filter, seeds, first, files } => {
            policies::run(&Library::from(files), &filter, seeds, first)
        }
        Task::Plausibility { files } => plausibility::run(&Library::from(files)),
    }
}
