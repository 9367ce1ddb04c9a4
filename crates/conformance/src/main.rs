//! Runs the suites. `cargo xtask conformance` and `cargo xtask reference` prepare the data and call this.

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::{fs, panic};
use sublet_conformance::onnx_node::{self, Manifest, Outcome};
use sublet_conformance::{Solo, reference};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// ONNX's own node tests on the CPU device, against the manifest
    OnnxNode {
        /// Folder with one folder per test
        #[arg(long)]
        data: PathBuf,
        /// Rewrite the manifest from what was seen
        #[arg(long)]
        bless: bool,
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// The real models against ONNX Runtime
    Reference {
        /// A Python with onnxruntime, onnx, numpy and safetensors
        #[arg(long)]
        python: PathBuf,
        #[arg(long)]
        script: PathBuf,
        #[arg(long, default_value = "")]
        filter: String,
    },
}

fn main() -> Result<()> {
    match Cli::parse().suite {
        Suite::OnnxNode { data, bless, filter } => onnx_node(&data, bless, &filter),
        Suite::Reference { python, script, filter } => reference::run(&python, &script, &filter),
    }
}

fn onnx_node(data: &Path, bless: bool, filter: &str) -> Result<()> {
    // A panic is an outcome here, and reported as one.
    panic::set_hook(Box::new(|_| {}));
    let report = onnx_node::run(data, filter, &Solo)?;
    let count =
        |wanted: fn(&Outcome) -> bool| report.values().filter(|outcome| wanted(outcome)).count();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest").join("onnx-node-cpu.txt");
    if bless {
        fs::create_dir_all(path.parent().expect("the manifest lies in a folder"))?;
        fs::write(&path, Manifest::from_report(&report).to_string())?;
    }
    let manifest = Manifest::parse(&fs::read_to_string(&path).unwrap_or_default());
    let violations = manifest.violations(&report, filter.is_empty());
    for violation in &violations {
        println!("{violation}");
    }
    println!(
        "onnx-node cpu: passed {} wrong {} unsupported {}",
        count(|outcome| *outcome == Outcome::Passed),
        count(|outcome| matches!(outcome, Outcome::Wrong(_))),
        count(|outcome| matches!(outcome, Outcome::Unsupported(_))),
    );
    if !violations.is_empty() {
        bail!("{} outcomes differ from the manifest", violations.len());
    }
    Ok(())
}
