//! ONNX's node tests on a device, each in a process that may crash: after a fault a CUDA context is lost to its process,
//! and the tests that follow must not suffer for it.

use crate::Common;
use crate::figures::{summary, write};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::{fs, panic};
use sublet_conformance::onnx_node::{self, Manifest, Outcome, Report};
use sublet_conformance::{Direct, OnDevice};

#[derive(Args)]
pub struct Options {
    /// Folder with one folder per test
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value = "")]
    filter: String,
    /// Tests that are expected to be refused; none are when the file does not exist
    #[arg(long, default_value = "crates/conformance/manifest/onnx-node-cuda.txt")]
    manifest: PathBuf,
    /// Processes at a time
    #[arg(long, default_value_t = 6)]
    jobs: usize,
    /// Run the tests named on standard input, in this process
    #[arg(long, hide = true)]
    child: bool,
}

/// What a child writes, a line each.
#[derive(Serialize, Deserialize)]
enum Line {
    Begun(String),
    Passed,
    Unsupported(String),
    Wrong(String),
}

pub fn run(common: &Common, options: &Options) -> Result<()> {
    if options.child {
        return child(common, options);
    }
    let tests = onnx_node::tests(&options.data, &options.filter)?;
    let names = tests.iter().map(|folder| onnx_node::name(folder));
    let left: Mutex<VecDeque<String>> = Mutex::new(names.collect());
    let report = Mutex::new(Report::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1))
            .map(|_| scope.spawn(|| supervise(common, options, &left, &report)))
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a supervisor does not panic"))
    })?;
    finish(common, options, &report.into_inner().expect("unpoisoned"))
}

/// Tests given to a child at a time: few enough that the children end together.
const SHARE: usize = 40;

/// Lets children run tests until none are left.
fn supervise(
    common: &Common,
    options: &Options,
    left: &Mutex<VecDeque<String>>,
    report: &Mutex<Report>,
) -> Result<()> {
    loop {
        let share: Vec<String> = {
            let mut left = left.lock().expect("unpoisoned");
            let count = SHARE.min(left.len());
            left.drain(..count).collect()
        };
        if share.is_empty() {
            return Ok(());
        }
        let outcomes = run_share(common, options, &share)?;
        let begun = outcomes.len();
        report.lock().expect("unpoisoned").extend(outcomes);
        // A child that ended early leaves the tests after the one that it ended in.
        let mut left = left.lock().expect("unpoisoned");
        share[begun..].iter().rev().for_each(|name| left.push_front(name.clone()));
    }
}

/// The outcomes of the first tests of a share, at least one.
fn run_share(common: &Common, options: &Options, share: &[String]) -> Result<Vec<(String, Outcome)>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["ops", "--child", "--device", &common.device])
        .arg("--data")
        .arg(&options.data)
        .arg("--work")
        .arg(&common.work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("piped");
    let list = share.join("\n") + "\n";
    let writer = std::thread::spawn(move || {
        // A child that is gone reads no more.
        let _ = stdin.write_all(list.as_bytes());
    });
    let errors = BufReader::new(child.stderr.take().expect("piped"));
    let last_words = std::thread::spawn(move || {
        errors.lines().map_while(Result::ok).collect::<Vec<_>>().join(" ")
    });
    let mut outcomes = Vec::new();
    let mut begun = None;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        // What a library prints is none of ours.
        let Ok(line) = serde_json::from_str::<Line>(&line?) else { continue };
        let outcome = match line {
            Line::Begun(name) => {
                begun = Some(name);
                continue;
            }
            Line::Passed => Outcome::Passed,
            Line::Unsupported(why) => Outcome::Unsupported(why),
            Line::Wrong(what) => Outcome::Wrong(what),
        };
        outcomes.push((begun.take().context("an outcome of no test")?, outcome));
    }
    let status = child.wait()?;
    writer.join().expect("writing does not panic");
    let last_words = last_words.join().expect("reading does not panic");
    if let Some(name) = begun {
        outcomes.push((name, Outcome::Wrong(format!("the process ended with {status}: {last_words}"))));
    }
    if outcomes.is_empty() {
        bail!("no test could be run: {status}: {last_words}");
    }
    Ok(outcomes)
}

fn child(common: &Common, options: &Options) -> Result<()> {
    // A panic is an outcome here, and reported as one.
    panic::set_hook(Box::new(|_| {}));
    let device = common.with_memory(sublet_units::Bytes::from_mib(512));
    let target = OnDevice::new(Direct::new(common.open(&device, false)?));
    let say = |line: &Line| -> Result<()> {
        println!("{}", serde_json::to_string(line)?);
        Ok(std::io::stdout().flush()?)
    };
    for name in std::io::stdin().lock().lines() {
        let name = name?;
        say(&Line::Begun(name.clone()))?;
        let folder: &Path = &options.data.join(&name);
        let outcome = match onnx_node::run_one(folder, &target) {
            Outcome::Passed => Line::Passed,
            Outcome::Unsupported(why) => Line::Unsupported(why),
            Outcome::Wrong(what) => Line::Wrong(what),
        };
        say(&outcome)?;
        if target.direct.lost().is_some() {
            break;
        }
    }
    Ok(())
}

fn finish(common: &Common, options: &Options, report: &Report) -> Result<()> {
    let count = |wanted: fn(&Outcome) -> bool| report.values().filter(|outcome| wanted(outcome)).count();
    let manifest = Manifest::parse(&fs::read_to_string(&options.manifest).unwrap_or_default());
    let violations = manifest.violations(report, options.filter.is_empty());
    let shown: Vec<_> = report.iter().map(|(name, outcome)| (name, format!("{outcome:?}"))).collect();
    write(&common.out, "onnx-node.json", &shown)?;
    fs::write(common.out.join("onnx-node-cuda.txt"), Manifest::from_report(report).to_string())?;
    for (name, outcome) in report {
        if let Outcome::Wrong(what) = outcome {
            println!("{name}: wrong: {}", what.chars().take(300).collect::<String>());
        }
    }
    let wrong = count(|outcome| matches!(outcome, Outcome::Wrong(_)));
    let line = format!(
        "onnx-node cuda: passed {} wrong {wrong} unsupported {}; {} differ from the manifest",
        count(|outcome| *outcome == Outcome::Passed),
        count(|outcome| matches!(outcome, Outcome::Unsupported(_))),
        violations.len()
    );
    summary(&common.out, "onnx-node", &line)?;
    if wrong > 0 {
        bail!("{wrong} tests have wrong answers");
    }
    Ok(())
}
