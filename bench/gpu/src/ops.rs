//! Single operators on a device: ONNX's node tests, and generated problems that the CPU kernels answer too.

use crate::figures::{summary, write};
use crate::{Common, isolated};
use anyhow::{Result, bail};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use sublet_conformance::onnx_node::{self, Manifest, Outcome, Report};
use sublet_conformance::problems;

#[derive(Args)]
pub struct NodeTests {
    /// Folder with one folder per test
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value = "")]
    filter: String,
    /// Tests that are expected to be refused; none are when the file does not exist
    #[arg(long, default_value = "crates/conformance/manifest/onnx-node-cuda.txt")]
    manifest: PathBuf,
    #[command(flatten)]
    processes: Processes,
}

#[derive(Args)]
pub struct Problems {
    /// Problems of each family
    #[arg(long, default_value_t = 24)]
    seeds: u64,
    #[arg(long, default_value = "")]
    filter: String,
    #[command(flatten)]
    processes: Processes,
}

#[derive(Args)]
struct Processes {
    /// Processes at a time
    #[arg(long, default_value_t = 6)]
    jobs: usize,
    /// Run the tests named on standard input, in this process
    #[arg(long, hide = true)]
    child: bool,
}

/// Runs ONNX's node tests and holds them against the manifest.
pub fn node_tests(common: &Common, options: &NodeTests) -> Result<()> {
    if options.processes.child {
        return isolated::child(common, |name, target| {
            onnx_node::run_one(&options.data.join(name), target)
        });
    }
    let tests = onnx_node::tests(&options.data, &options.filter)?;
    let names = tests.iter().map(|folder| onnx_node::name(folder)).collect();
    let mut arguments = arguments("ops", common);
    arguments.extend(["--data".to_owned(), options.data.display().to_string()]);
    let report = isolated::run(names, options.processes.jobs, &arguments)?;
    let manifest = Manifest::parse(&fs::read_to_string(&options.manifest).unwrap_or_default());
    let violations = manifest.violations(&report, options.filter.is_empty());
    let wrong = show(common, "onnx-node", "onnx-node cuda", &report, Some(violations.len()))?;
    fs::write(common.out.join("onnx-node-cuda.txt"), Manifest::from_report(&report).to_string())?;
    if wrong > 0 {
        bail!("{wrong} tests have wrong answers");
    }
    Ok(())
}

/// Runs generated problems and compares with the CPU kernels.
pub fn generated(common: &Common, options: &Problems) -> Result<()> {
    if options.processes.child {
        return isolated::child(common, |name, target| {
            let (family, seed) = name.rsplit_once('-').expect("made below");
            problems::solve(family, seed.parse().expect("made below"), target)
        });
    }
    let families = problems::families().filter(|family| family.contains(&options.filter));
    let names = families
        .flat_map(|family| (0..options.seeds).map(move |seed| format!("{family}-{seed}")))
        .collect();
    let report = isolated::run(names, options.processes.jobs, &arguments("problems", common))?;
    let wrong = show(common, "problems", "generated problems cuda", &report, None)?;
    if wrong > 0 {
        bail!("{wrong} problems have wrong answers");
    }
    Ok(())
}

fn arguments(task: &str, common: &Common) -> Vec<String> {
    let work = common.work.display().to_string();
    [task, "--device", &common.device, "--work", &work].map(str::to_owned).to_vec()
}

/// Writes the outcomes down, prints what is wrong, and returns how many are.
fn show(
    common: &Common,
    file: &str,
    title: &str,
    report: &Report,
    violations: Option<usize>,
) -> Result<usize> {
    let count =
        |wanted: fn(&Outcome) -> bool| report.values().filter(|outcome| wanted(outcome)).count();
    let shown: Vec<_> =
        report.iter().map(|(name, outcome)| (name, format!("{outcome:?}"))).collect();
    write(&common.out, &format!("{file}.json"), &shown)?;
    for (name, outcome) in report {
        if let Outcome::Wrong(what) = outcome {
            println!("{name}: wrong: {}", what.chars().take(400).collect::<String>());
        }
    }
    let wrong = count(|outcome| matches!(outcome, Outcome::Wrong(_)));
    let mut line = format!(
        "{title}: passed {} wrong {wrong} unsupported {}",
        count(|outcome| *outcome == Outcome::Passed),
        count(|outcome| matches!(outcome, Outcome::Unsupported(_))),
    );
    if let Some(violations) = violations {
        line += &format!("; {violations} differ from the manifest");
    }
    summary(&common.out, file, &line)?;
    Ok(wrong)
}
