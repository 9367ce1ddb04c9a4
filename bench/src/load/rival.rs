//! Our server and MLServer under the same schedules, with the same ONNX files, one after the other, in one report.

use super::process::Process;
use super::{Programs, load};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use sublet_report::Report;

const MODELS: usize = 4;
const LAYERS: usize = 3;
const WIDTH: usize = 256;
const RATES: &str = "50,100,200,400";

/// Loads both over HTTP (tensors as JSON, which both speak) and gRPC (raw), and prints one report.
pub fn run(programs: &Programs, python: &Path, seconds: u64, html: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let ours = ours(programs, scratch.path())?;
    let theirs = mlserver(programs, python, scratch.path())?;
    let models: Vec<String> = (0..MODELS).map(|index| format!("m{index}")).collect();
    let mut all = Report::new("Sublet and MLServer under the same load");
    for (protocol, of) in [("http", 0), ("grpc", 1)] {
        let port = |server: &Process| [server.http, server.grpc][of];
        let args = [
            format!("--url=sublet {protocol}={protocol}://127.0.0.1:{}", port(&ours)),
            format!("--url=mlserver {protocol}={protocol}://127.0.0.1:{}", port(&theirs)),
            format!("--model={}", models.join(",")),
            "--workload=poisson:rate=100".to_owned(),
            format!("--rate={RATES}"),
            "--split=zipf:exponent=1".to_owned(),
            format!("--duration={seconds}s"),
            "--encoding=json".to_owned(),
            format!("--shape=x=1x{WIDTH}"),
            "--slo=50ms".to_owned(),
            "--timeout=5s".to_owned(),
        ];
        let report = load(programs, &args, scratch.path())?;
        if all.about.is_empty() {
            all.about = report.about;
            all.about("models", format!("{MODELS} perceptrons of {LAYERS} × {WIDTH} × {WIDTH}"));
        }
        all.rows.extend(report.rows);
        all.notes.extend(report.notes);
        all.figures.extend(report.figures);
    }
    fs::write(html, all.page()).with_context(|| html.display().to_string())?;
    let answered = |name: &str| -> u64 {
        let rows = all.rows.iter().filter(|row| row.part.is_none() && row.name.starts_with(name));
        rows.map(|row| row.outcome.answered).sum()
    };
    let (ours, theirs) = (answered("sublet"), answered("mlserver"));
    all.rows.retain(|row| row.part.is_none());
    print!("{}", all.table());
    println!("bench load servers: sublet answered {ours} mlserver answered {theirs} in one report");
    ensure!(ours > 0 && theirs > 0, "a server answered nothing");
    Ok(())
}

fn ours(programs: &Programs, scratch: &Path) -> Result<Process> {
    let repository = scratch.join("repository");
    for index in 0..MODELS {
        let version = repository.join(format!("m{index}/1"));
        fs::create_dir_all(&version)?;
        fs::write(version.join("model.onnx"), model(index))?;
    }
    Process::start(|[http, grpc, metrics]| {
        let mut command = Command::new(&programs.sublet);
        command.args(["serve", "--device=cpu,threads=1", "--log=error"]);
        command.arg("--model-repository").arg(&repository);
        command.arg("--store").arg(scratch.join("store"));
        command.arg(format!("--http-port={http}")).arg(format!("--grpc-port={grpc}"));
        command.arg(format!("--metrics-port={metrics}"));
        Ok(command)
    })
}

/// The same files, by ONNX Runtime on one thread, in the server's own process.
fn mlserver(programs: &Programs, python: &Path, scratch: &Path) -> Result<Process> {
    let folder = scratch.join("mlserver");
    let tensor = |name: &str| json!([{ "name": name, "datatype": "FP32", "shape": [-1, WIDTH] }]);
    for index in 0..MODELS {
        let place = folder.join(format!("m{index}"));
        fs::create_dir_all(&place)?;
        let settings = json!({
            "name": format!("m{index}"),
            "implementation": "mlserver_onnx.OnnxModel",
            "parameters": { "uri": place.join("model.onnx") },
            "inputs": tensor("x"),
            "outputs": tensor("y"),
        });
        fs::write(place.join("model.onnx"), model(index))?;
        fs::write(place.join("model-settings.json"), settings.to_string())?;
    }
    Process::start(|[http, grpc, metrics]| {
        let settings = json!({
            "host": "127.0.0.1",
            "http_port": http,
            "grpc_port": grpc,
            "metrics_port": metrics,
            "parallel_workers": 0,
            "debug": false,
        });
        fs::write(folder.join("settings.json"), settings.to_string())?;
        let mut command = Command::new(python.with_file_name("mlserver"));
        command.arg("start").arg(&folder).env("PYTHONPATH", &programs.scripts);
        Ok(command)
    })
}

fn model(index: usize) -> Vec<u8> {
    sublet_catalog::perceptron(index as u64, LAYERS, WIDTH)
}
