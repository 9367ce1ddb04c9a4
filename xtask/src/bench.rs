//! Benchmarks and the soak: each builds a release binary and passes on what the person asked for.

use crate::shell::{cargo, output, root, run as execute};
use crate::{gpu, python, shell};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::process::Command;

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
        Bench::Server { seconds } => {
            let mut command = bench_command("server");
            finish(command.args(["--seconds", &seconds.to_string()]), "server", record)
        }
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

fn bench_command(name: &str) -> Command {
    cargo(&["run", "--release", "--quiet", "--package", "sublet-bench", "--", name])
}

/// Runs a benchmark; its figures are shown, and kept with date, commit and hardware if they are to be.
fn finish(command: &mut Command, name: &str, record: bool) -> Result<()> {
    if !record {
        return execute(command);
    }
    let figures = output(command)?;
    print!("{figures}");
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
