//! Benchmarks and the soak: each builds a release binary and passes on what the person asked for.

use crate::shell::{cargo, output, root, run as execute, shown};
use crate::{gpu, python, shell};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::Command;

/// What the scripts that run ONNX Runtime need.
pub const REFERENCE: &[&str] = &["onnxruntime==1.31.1", "onnx==1.22.0", "numpy", "safetensors"];

/// The independent server that `sublet load` drives beside ours.
const MLSERVER: &[&str] = &["mlserver==1.7.1", "onnxruntime==1.31.1", "numpy"];

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
    /// Whether the simulator predicts the live engine, given a profile measured on it
    Agree {
        /// Length of each run
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Runs of each workload that are compared, each between two calibrations
        #[arg(long, default_value_t = 5)]
        pairs: u64,
        /// Only workloads whose name contains this
        #[arg(long)]
        filter: Option<String>,
    },
    /// What `sublet load` costs by itself, and our server and MLServer under the same load
    Load {
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Leave MLServer out
        #[arg(long)]
        alone: bool,
    },
    /// The offline packer against gpulet's greedy, on drawn task sets; every schedule is checked
    Packing {
        #[arg(long, default_value_t = 250)]
        sets: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Folder of gpulet's data
        #[arg(long, value_name = "DIR", default_value = "../shared/data/gpulet")]
        data: PathBuf,
    },
    /// Latency and throughput that the server adds to a bare echo of the same bytes
    Server {
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Simulated requests per second on one core
    Sim {
        #[arg(long, default_value_t = 2_000_000)]
        requests: u64,
        /// How often each world is simulated; the median counts
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Every scenario under every preset, with the same seeds
    Policies {
        /// Only scenarios whose name contains this
        #[arg(long)]
        filter: Option<String>,
        /// Seeds of each point
        #[arg(long)]
        seeds: Option<u64>,
        /// The first seed
        #[arg(long)]
        first: Option<u64>,
    },
    /// Published figures against simulated ones
    Plausibility,
    /// Models on a GPU against PyTorch: builds, then runs `bench/gpu.sh` with these arguments
    Gpu {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

pub fn run(bench: Bench, record: bool) -> Result<()> {
    match bench {
        Bench::Cpu { threads, filter } => {
            let python = python::environment("reference", REFERENCE)?;
            let mut command = bench_command("cpu");
            command.args(["--threads", &threads.to_string()]).arg("--python").arg(python);
            command.arg("--script").arg(root().join("python/reference.py"));
            if let Some(filter) = filter {
                command.args(["--filter", &filter]);
            }
            finish(&mut command, "cpu", record)
        }
        Bench::Agree { seconds, pairs, filter } => {
            let target = shell::target_dir();
            let mut command = bench_command("agree");
            command.args(["--seconds", &seconds.to_string(), "--pairs", &pairs.to_string()]);
            if let Some(filter) = filter {
                command.args(["--filter", &filter]);
            }
            command.arg("--profiles").arg(target.join("profiles"));
            finish(command.arg("--html").arg(target.join("agree.html")), "agree", record)
        }
        Bench::Load { seconds, alone } => {
            execute(&mut cargo(&["build", "--release", "--quiet", "--package", "sublet"]))?;
            let target = shell::target_dir();
            let mut command = bench_command("load");
            command.args(["--seconds", &seconds.to_string()]);
            command.arg("--sublet").arg(target.join("release/sublet"));
            command.arg("--scripts").arg(root().join("python"));
            command.arg("--html").arg(target.join("load.html"));
            if !alone {
                command.arg("--python").arg(python::environment("mlserver", MLSERVER)?);
            }
            finish(&mut command, "load", record)
        }
        Bench::Packing { sets, seed, data } => {
            let mut command =
                cargo(&["run", "--release", "--quiet", "--package", "sublet-bench-packing", "--"]);
            command.args(["--sets", &sets.to_string(), "--seed", &seed.to_string()]);
            finish(command.arg("--data").arg(data), "packing", record)
        }
        Bench::Server { seconds } => {
            let mut command = bench_command("server");
            finish(command.args(["--seconds", &seconds.to_string()]), "server", record)
        }
        Bench::Sim { requests, rounds } => {
            let mut command = sim_command("sim");
            command.args(["--requests", &requests.to_string(), "--rounds", &rounds.to_string()]);
            finish(&mut command, "sim", record)
        }
        Bench::Policies { filter, seeds, first } => {
            let mut command = sim_command("policies");
            if let Some(filter) = filter {
                command.args(["--filter", &filter]);
            }
            if let Some(seeds) = seeds {
                command.args(["--seeds", &seeds.to_string()]);
            }
            if let Some(first) = first {
                command.args(["--first", &first.to_string()]);
            }
            finish(&mut command, "policies", record)
        }
        Bench::Plausibility => finish(&mut sim_command("plausibility"), "plausibility", record),
        // It writes its own results.
        Bench::Gpu { arguments } => gpu::bench(&arguments),
    }
}

/// The soak test.
pub fn soak(requests: u64, seed: u64, record: bool) -> Result<()> {
    let mut command = bench_command("soak");
    command.args(["--requests", &requests.to_string(), "--seed", &seed.to_string()]);
    finish(&mut command, "soak", record)
}

/// The scheduler's fuzzer.
pub fn simtest(seeds: u64, first: u64, policy: Option<&str>, record: bool) -> Result<()> {
    let mut command = sim_command("simtest");
    command.args(["--seeds", &seeds.to_string(), "--first", &first.to_string()]);
    if let Some(policy) = policy {
        command.args(["--policy", policy]);
    }
    finish(&mut command, "simtest", record)
}

/// What runs on the simulator is a package of its own, which builds fast.
fn sim_command(name: &str) -> Command {
    cargo(&["run", "--release", "--quiet", "--package", "sublet-bench-sim", "--", name])
}

fn bench_command(name: &str) -> Command {
    cargo(&["run", "--release", "--quiet", "--package", "sublet-bench", "--", name])
}

/// Runs a benchmark; its figures are shown, and kept with date, commit and hardware if they are to be.
fn finish(command: &mut Command, name: &str, record: bool) -> Result<()> {
    if !record {
        return execute(command);
    }
    let figures = shown(command)?;
    let asked = |program: &str, args: &[&str]| output(shell::command(program).args(args));
    let text = format!(
        "date      {}commit    {}hardware  {}\nrust      {}\n{figures}",
        asked("date", &["-u", "+%F %H:%M UTC"])?,
        asked("git", &["describe", "--always", "--dirty"])?,
        hardware(),
        asked("rustc", &["--version"])?,
    );
    let path = root().join("bench/results").join(format!("{name}.txt"));
    std::fs::create_dir_all(root().join("bench/results"))?;
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    println!("kept in {}", path.display());
    Ok(())
}

/// The processor's name, cores and memory, as Linux tells them.
fn hardware() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| -> String {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let (processor, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    format!(
        "{}, {cores} cores, {} memory",
        field(&processor, "model name"),
        field(&memory, "MemTotal")
    )
}
