//! Tests in processes that may crash: after a fault a CUDA context is lost to its process, and the tests that follow must
//! not suffer for it. A parent hands out names, its children answer with outcomes.

use crate::{Common, with_memory};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::panic;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use sublet_conformance::onnx_node::{Outcome, Report};
use sublet_conformance::{Direct, OnDevice};

/// What a child writes, a line each.
#[derive(Serialize, Deserialize)]
enum Line {
    Begun(String),
    Passed,
    Unsupported(String),
    Wrong(String),
}

/// Tests given to a child at a time: few enough that the children end together.
const SHARE: usize = 40;

/// Runs the tests named in children of this program that are called with these arguments.
pub fn run(names: Vec<String>, jobs: usize, arguments: &[String]) -> Result<Report> {
    let left: Mutex<VecDeque<String>> = Mutex::new(names.into());
    let report = Mutex::new(Report::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1))
            .map(|_| scope.spawn(|| supervise(arguments, &left, &report)))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a supervisor does not panic"))
    })?;
    Ok(report.into_inner().expect("unpoisoned"))
}

/// Lets children run tests until none are left.
fn supervise(
    arguments: &[String],
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
        let outcomes = run_share(arguments, &share)?;
        let done = outcomes.len();
        report.lock().expect("unpoisoned").extend(outcomes);
        // A child that ended early leaves the tests after the one that it ended in.
        let mut left = left.lock().expect("unpoisoned");
        share[done..].iter().rev().for_each(|name| left.push_front(name.clone()));
    }
}

/// The outcomes of the first tests of a share, at least one.
fn run_share(arguments: &[String], share: &[String]) -> Result<Vec<(String, Outcome)>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .arg("--child")
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
        outcomes
            .push((name, Outcome::Wrong(format!("the process ended with {status}: {last_words}"))));
    }
    if outcomes.is_empty() {
        bail!("no test could be run: {status}: {last_words}");
    }
    Ok(outcomes)
}

/// Runs the tests named on standard input, until the device is lost.
pub fn child(common: &Common, test: impl Fn(&str, &OnDevice) -> Outcome) -> Result<()> {
    // A panic is an outcome here, and reported as one.
    panic::set_hook(Box::new(|_| {}));
    let device = with_memory(&common.device, sublet_units::Bytes::from_mib(512));
    let target = OnDevice::new(Direct::new(common.open(&device)?));
    for name in std::io::stdin().lock().lines() {
        let name = name?;
        say(&Line::Begun(name.clone()))?;
        say(&match test(&name, &target) {
            Outcome::Passed => Line::Passed,
            Outcome::Unsupported(why) => Line::Unsupported(why),
            Outcome::Wrong(what) => Line::Wrong(what),
        })?;
        if target.direct.lost().is_some() {
            break;
        }
    }
    Ok(())
}

fn say(line: &Line) -> Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(std::io::stdout().flush()?)
}
