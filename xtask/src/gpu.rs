//! Tests and benchmark on a GPU: builds what `bench/gpu.sh` runs, and calls it.

use crate::python;
use crate::shell::{cargo, command, root, run as execute, target_dir};
use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use std::fs;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Stdio;

/// The CUDA tests alone: unit tests of the device, generated problems, ONNX's node tests.
pub fn test() -> Result<()> {
    bench(&["--steps".to_owned(), "tests".to_owned()])
}

/// The whole benchmark, or what these arguments of `bench/gpu.sh` say.
pub fn bench(arguments: &[String]) -> Result<()> {
    let binaries = build()?;
    let mut script = command(root().join("bench/gpu.sh"));
    script.arg("--bin").arg(binaries);
    if !arguments.iter().any(|argument| argument == "--node-data") {
        script.arg("--node-data").arg(python::onnx_node_tests()?);
    }
    execute(script.args(arguments))
}

/// Builds everything that runs on the GPU's machine into one folder, which can be carried elsewhere.
pub fn build() -> Result<PathBuf> {
    let folder = target_dir().join("portable");
    execute(&mut cargo(&[
        "build",
        "--profile",
        "portable",
        "--package",
        "sublet",
        "--package",
        "sublet-bench-gpu",
    ]))?;
    for (name, executable) in test_executables()? {
        let to = folder.join(format!("cuda-tests-{name}"));
        fs::copy(&executable, &to).with_context(|| to.display().to_string())?;
    }
    println!("built into {}", folder.display());
    Ok(folder)
}

/// The CUDA device's test binaries, by the name of their target.
fn test_executables() -> Result<Vec<(String, PathBuf)>> {
    let mut build = cargo(&[
        "test",
        "--package",
        "sublet-device-cuda",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let mut child = build.stdout(Stdio::piped()).spawn().context("could not start cargo")?;
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let mut found = Vec::new();
    for message in Message::parse_stream(output) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.profile.test
            && let Some(executable) = artifact.executable
        {
            found.push((artifact.target.name, executable.into_std_path_buf()));
        }
    }
    if !child.wait()?.success() {
        bail!("the tests of the CUDA device cannot be built");
    }
    Ok(found)
}
