//! Warm latency of the real models on the CPU device, against ONNX Runtime with the same threads in the same run.

use crate::engines;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sublet_conformance::cases::{Case, cases};
use sublet_conformance::reference::{Reference, fetch};
use sublet_conformance::write_tensors;
use sublet_engine::{Engine, InferRequest, NamedTensor};

/// Largest median of the ratios.
const RATIO_MAX: f64 = 2.0;
/// How long each side is timed, per turn.
const TURN: Duration = Duration::from_millis(700);
/// Both sides take this many turns, one after the other, so that both meet the same neighbours on the machine.
const TURNS: usize = 3;

/// Times every natural case, prints a table and the median ratio, and fails when that is above [`RATIO_MAX`].
pub fn run(threads: usize, python: &Path, script: &Path, filter: &str) -> Result<()> {
    let cases: Vec<Case> =
        cases(1).into_iter().filter(|case| case.natural && case.name().contains(filter)).collect();
    let scratch = tempfile::tempdir()?;
    let repository = scratch.path().join("repository");
    for case in &cases {
        place(case, &repository)?;
    }
    let device = format!("cpu,threads={threads},memory=4GiB");
    let served = engines::serve(&repository, &device, &scratch.path().join("store"))?;
    let mut reference = Reference::start(python, script)?;
    println!(
        "{:<34} {:>10} {:>14} {:>7}",
        format!("{threads} threads, medians"),
        "sublet ms",
        "onnxruntime ms",
        "ratio"
    );
    let mut ratios = Vec::new();
    for case in &cases {
        let path = fetch(case)?;
        let inputs = scratch.path().join("inputs.safetensors");
        write_tensors(&inputs, &case.inputs)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.extend(time(&served.engine, case)?);
            theirs.extend(time_reference(&mut reference, &path, &inputs, threads)?);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "{:<34} {:>10.3} {:>14.3} {:>7.2}",
            case.name(),
            ours * 1e3,
            theirs * 1e3,
            ours / theirs
        );
        ratios.push(ours / theirs);
    }
    served.engine.shutdown(Duration::from_secs(5));
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    let median = median(ratios);
    println!("bench cpu: models {} worst {worst:.2} median {median:.2}", cases.len());
    if median > RATIO_MAX {
        bail!("the median ratio is above {RATIO_MAX}");
    }
    Ok(())
}

/// The model's name in the repository.
fn model_name(case: &Case) -> String {
    case.file.trim_end_matches(".onnx").to_owned()
}

/// Puts a case's model into a repository.
fn place(case: &Case, repository: &Path) -> Result<()> {
    let source = fetch(case)?;
    let folder = repository.join(model_name(case)).join("1");
    fs::create_dir_all(&folder)?;
    let files: Vec<PathBuf> = match source.is_dir() {
        true => fs::read_dir(&source)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?,
        false => vec![source.clone()],
    };
    for file in files {
        let name = if source.is_dir() {
            file.file_name().context("a file")?.to_owned()
        } else {
            "model.onnx".into()
        };
        fs::copy(&file, folder.join(name))?;
    }
    Ok(())
}

fn request(case: &Case) -> InferRequest {
    let inputs = case.inputs.iter();
    InferRequest {
        model: model_name(case),
        version: None,
        inputs: inputs
            .map(|(name, tensor)| NamedTensor { name: name.clone(), tensor: tensor.clone() })
            .collect(),
        outputs: Vec::new(),
        priority: 0,
        timeout: None,
        slo: None,
    }
}

/// Seconds of each warm request, sent one at a time through the engine.
fn time(engine: &Engine, case: &Case) -> Result<Vec<f64>> {
    for _ in 0..3 {
        engine.infer(request(case))?.wait().with_context(|| case.name())?;
    }
    let (mut runs, start) = (Vec::new(), Instant::now());
    while start.elapsed() < TURN || runs.len() < 5 {
        let begin = Instant::now();
        engine.infer(request(case))?.wait()?;
        runs.push(begin.elapsed().as_secs_f64());
    }
    Ok(runs)
}

fn time_reference(
    reference: &mut Reference,
    model: &Path,
    inputs: &Path,
    threads: usize,
) -> Result<Vec<f64>> {
    let reply = reference.ask(&json!({
        "model": model, "inputs": inputs, "threads": threads, "seconds": TURN.as_secs_f64(),
    }))?;
    let runs = reply["runs_ns"].as_array().context("runs_ns")?;
    Ok(runs.iter().filter_map(Value::as_f64).map(|ns| ns / 1e9).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
