//! ONNX's own node tests: a folder per test with a model, inputs and expected outputs.

use crate::{Failure, Loaded, Target, Tolerance, difference};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use sublet_graph::Literal;

/// As ONNX's own runner compares.
pub const TOLERANCE: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-7 };

/// How one test ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Passed,
    /// Refused with an error that says what is missing.
    Unsupported(String),
    /// Another answer, another error, or a panic.
    Wrong(String),
}

/// Outcomes by test name.
pub type Report = BTreeMap<String, Outcome>;

/// The folders of the tests whose name contains `filter`, by name.
pub fn tests(data: &Path, filter: &str) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = fs::read_dir(data)
        .with_context(|| format!("the node tests in {}", data.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("model.onnx").exists() && name(path).contains(filter))
        .collect();
    folders.sort();
    Ok(folders)
}

/// Runs every test whose name contains `filter`, on as many threads as the machine has cores.
pub fn run(data: &Path, filter: &str, target: &dyn Target) -> Result<Report> {
    let folders = tests(data, filter)?;
    let next = AtomicUsize::new(0);
    let report = Mutex::new(Report::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(|| {
                while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = run_one(folder, target);
                    report
                        .lock()
                        .expect("no thread panics with the lock")
                        .insert(name(folder), outcome);
                }
            });
        }
    });
    Ok(report.into_inner().expect("no thread panics with the lock"))
}

/// A test's name: that of its folder.
pub fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs one test; a panic is an outcome.
pub fn run_one(folder: &Path, target: &dyn Target) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| try_one(folder, target))) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Failure::Unsupported(what))) => Outcome::Unsupported(what),
        Ok(Err(Failure::Wrong(what))) => Outcome::Wrong(what),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Outcome::Wrong(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

fn try_one(folder: &Path, target: &dyn Target) -> Result<(), Failure> {
    let loaded = Loaded::from_onnx(&folder.join("model.onnx"))?;
    let set = folder.join("test_data_set_0");
    let inputs = read_numbered(&set, "input")?;
    let expected = read_numbered(&set, "output")?;
    let outputs = target.run(&loaded, &inputs)?;
    for (index, (got, want)) in outputs.iter().zip(&expected).enumerate() {
        if let Some(difference) = difference(got, want, TOLERANCE) {
            return Err(Failure::Wrong(format!("output {index}: {difference}")));
        }
    }
    if outputs.len() != expected.len() {
        return Err(Failure::Wrong(format!(
            "{} outputs, expected {}",
            outputs.len(),
            expected.len()
        )));
    }
    Ok(())
}

/// `input_0.pb`, `input_1.pb`, … as long as there are any.
fn read_numbered(set: &Path, kind: &str) -> Result<Vec<Literal>, Failure> {
    let paths =
        (0..).map(|index| set.join(format!("{kind}_{index}.pb"))).take_while(|path| path.exists());
    paths
        .map(|path| {
            let bytes = fs::read(&path)
                .map_err(|error| Failure::Wrong(format!("{}: {error}", path.display())))?;
            sublet_import::import_tensor(bytes.into()).map_err(Failure::from)
        })
        .collect()
}

/// The tests that are expected not to pass, with why. Every other test is expected to pass.
#[derive(Debug, Default, PartialEq)]
pub struct Manifest(BTreeMap<String, String>);

impl Manifest {
    /// One test a line: its name, then why it is unsupported. `#` starts a comment line.
    pub fn parse(text: &str) -> Self {
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Manifest(
            lines
                .map(|line| line.split_once(char::is_whitespace).unwrap_or((line, "")))
                .map(|(name, why)| (name.to_owned(), why.trim().to_owned()))
                .collect(),
        )
    }

    /// The manifest that this report would satisfy. Wrong answers are never expected, so they are left out.
    pub fn from_report(report: &Report) -> Self {
        Manifest(
            report
                .iter()
                .filter_map(|(name, outcome)| match outcome {
                    Outcome::Unsupported(why) => {
                        Some((name.clone(), why.lines().next().unwrap_or("").to_owned()))
                    }
                    Outcome::Passed | Outcome::Wrong(_) => None,
                })
                .collect(),
        )
    }

    /// What differs from the expectation: a wrong answer, a test that no longer passes, one that passes although it
    /// is listed, one that is listed but does not exist (only when `whole`, that is, all tests were run).
    pub fn violations(&self, report: &Report, whole: bool) -> Vec<String> {
        let mut violations = Vec::new();
        for (name, outcome) in report {
            match (outcome, self.0.get(name)) {
                (Outcome::Wrong(what), _) => violations.push(format!("{name}: wrong: {what}")),
                (Outcome::Passed, Some(why)) => {
                    violations.push(format!(
                        "{name}: passes, but is listed as unsupported ({why}): remove it"
                    ));
                }
                (Outcome::Unsupported(why), None) => {
                    violations.push(format!("{name}: unsupported: {why}"))
                }
                (Outcome::Passed, None) | (Outcome::Unsupported(_), Some(_)) => {}
            }
        }
        let gone = self.0.keys().filter(|name| whole && !report.contains_key(*name));
        violations.extend(gone.map(|name| format!("{name}: is listed, but there is no such test")));
        violations
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# ONNX node tests (release 1.22) that the device refuses, and why. Every other test must pass."
        )?;
        self.0.iter().try_for_each(|(name, why)| writeln!(f, "{name} {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[(&str, Outcome)]) -> Report {
        outcomes.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect()
    }

    #[test]
    fn the_manifest_reads_back_and_is_strict() {
        let seen = report(&[
            ("test_a", Outcome::Passed),
            ("test_b", Outcome::Unsupported("Foo at node 3".into())),
            ("test_c", Outcome::Wrong("element 0".into())),
        ]);
        let manifest = Manifest::from_report(&seen);
        assert_eq!(Manifest::parse(&manifest.to_string()), manifest);
        assert_eq!(manifest.violations(&seen, true).len(), 1, "a wrong answer is never expected");

        let passes = report(&[("test_a", Outcome::Passed), ("test_b", Outcome::Passed)]);
        assert!(manifest.violations(&passes, true)[0].contains("remove it"));
        let refuses = report(&[("test_a", Outcome::Unsupported("x".into()))]);
        assert_eq!(manifest.violations(&refuses, false).len(), 1);
        assert_eq!(manifest.violations(&refuses, true).len(), 2, "test_b is gone");
    }
}
