//! What `sublet load` costs by itself, and what it says of our server and of an independent one.
//!
//! The generator's overhead is judged against the bare echo: whether it keeps the rate, how much of the machine it
//! takes, and what it adds to the latency that a client sees that does nothing but send and receive.

mod overhead;
mod process;
mod rival;
mod schedules;

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use sublet_report::Report;

/// The programs that the benchmark starts.
pub struct Programs {
    /// `sublet`, built like this benchmark.
    pub sublet: PathBuf,
    /// A Python with MLServer and ONNX Runtime; without one the comparison is left out.
    pub python: Option<PathBuf>,
    /// The folder of `mlserver_onnx.py`.
    pub scripts: PathBuf,
}

/// Runs both parts for about `seconds` per measurement; the comparison's page goes to `html`.
pub fn run(programs: &Programs, seconds: u64, html: &Path) -> Result<()> {
    schedules::run()?;
    if let Some(python) = &programs.python {
        rival::run(programs, python, seconds, html)?;
    }
    overhead::run(programs, seconds)
}

/// Runs `sublet load` and reads its report.
fn load(programs: &Programs, args: &[String], scratch: &Path) -> Result<Report> {
    let json = scratch.join("load.json");
    let output = Command::new(&programs.sublet)
        .arg("load")
        .args(args)
        .arg("--json")
        .arg(&json)
        .output()
        .with_context(|| programs.sublet.display().to_string())?;
    ensure!(
        output.status.success(),
        "sublet load {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Report::from_json(&std::fs::read_to_string(json)?)?)
}
