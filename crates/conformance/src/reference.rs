//! The real models against ONNX Runtime, through a script that speaks one JSON line per request.

use crate::cases::{Case, cases};
use crate::{Loaded, read_tensors, relative_difference, write_tensors};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Largest allowed `‖ours − theirs‖ ÷ ‖theirs‖` of any output of a model in `f32`.
pub const RELATIVE_MAX: f64 = 1e-4;
/// The same for a quantised model: a sum that lies between two integers may be rounded to either.
pub const RELATIVE_MAX_QUANTISED: f64 = 1e-2;

/// ONNX Runtime in a process of its own.
pub struct Reference {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Reference {
    pub fn start(python: &Path, script: &Path) -> Result<Self> {
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", python.display()))?;
        let requests = child.stdin.take().expect("piped");
        let replies = BufReader::new(child.stdout.take().expect("piped"));
        Ok(Reference { child, requests, replies })
    }

    /// Sends a request and waits for the answer.
    pub fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        if self.replies.read_line(&mut line)? == 0 {
            bail!("the reference ended: {}", self.child.wait()?);
        }
        let reply: Value = serde_json::from_str(&line)?;
        match reply.get("error") {
            Some(error) => bail!("the reference failed: {error}"),
            None => Ok(reply),
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder with a case's files, fetched if need be.
pub fn fetch(case: &Case) -> Result<PathBuf> {
    let package = sublet_catalog::package(case.package);
    let folder = sublet_catalog::fetch(&sublet_catalog::cache_dir(), package, &mut |_| ())?;
    Ok(folder.join(case.file))
}

/// Compares every output of every case, prints a table, and fails when one differs by more than its tolerance.
pub fn run(python: &Path, script: &Path, filter: &str) -> Result<()> {
    let mut reference = Reference::start(python, script)?;
    let scratch = tempfile::tempdir()?;
    let (mut compared, mut wrong, mut worst) = (0, 0, 0.0f64);
    for case in cases(1).iter().filter(|case| case.name().contains(filter)) {
        let difference = match compare(case, &mut reference, scratch.path()) {
            Ok(difference) => difference,
            Err(error) => {
                println!("{:<34} {error:#}", case.name());
                f64::INFINITY
            }
        };
        let max = if case.quantised() { RELATIVE_MAX_QUANTISED } else { RELATIVE_MAX };
        let verdict = if difference <= max { "ok" } else { "WRONG" };
        println!("{:<34} {difference:>9.1e}  {verdict}", case.name());
        compared += 1;
        wrong += usize::from(difference > max);
        worst = worst.max(difference);
    }
    println!("reference cpu: compared {compared} wrong {wrong} worst {worst:.1e}");
    if wrong > 0 || compared == 0 {
        bail!(
            "{wrong} of {compared} differ by more than {RELATIVE_MAX:e} (quantised: {RELATIVE_MAX_QUANTISED:e})"
        );
    }
    Ok(())
}

/// The largest relative difference of any output.
fn compare(case: &Case, reference: &mut Reference, scratch: &Path) -> Result<f64> {
    let path = fetch(case)?;
    let (inputs, outputs) =
        (scratch.join("inputs.safetensors"), scratch.join("outputs.safetensors"));
    write_tensors(&inputs, &case.inputs)?;
    // Unoptimised: integer kernels that ONNX Runtime fuses round differently from the operators as written.
    reference.ask(&json!({
        "model": path, "inputs": inputs, "outputs": outputs, "threads": 1, "optimise": false,
    }))?;
    let want = read_tensors(&outputs)?;
    let loaded = Loaded::from_path(&path).map_err(|failure| anyhow!("{failure}"))?;
    let got = loaded.run_named(&case.inputs).map_err(|failure| anyhow!("{failure}"))?;
    let mut worst = 0.0f64;
    for (name, want) in &want {
        let got = got.get(name).with_context(|| format!("the output {name}"))?;
        worst = worst.max(relative_difference(got, want));
    }
    Ok(worst)
}
