//! `sublet load`: an open-loop load on any server of the Open Inference Protocol, over HTTP or gRPC.
//!
//! The schedule and the requests' bytes are fixed beforehand. Latency counts from when a request was due, not from when
//! it could be sent; both are in the report.

mod body;
mod describe;
mod drive;
mod events;
mod failure;
mod hpack;
mod http;
mod http2;
mod inputs;
mod link;
mod options;
mod prepare;
mod tally;
mod target;

pub use options::Load;

use crate::progress;
use anyhow::{Context, Result, bail};
use drive::Drive;
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use sublet_report::{Outcome, Report, Row};
use sublet_units::Time;
use sublet_workload::{Schedule, Workload, WorkloadSpec};
use target::Target;

/// Requests of one run at most: what a mistyped rate would ask for is refused instead of filling the memory.
const REQUESTS_MAX: usize = 100_000_000;

pub fn main(options: &Load) -> Result<()> {
    let targets = options.url.iter().map(|url| Target::parse(url)).collect::<Result<Vec<_>>>()?;
    let spec = workload(&options.workload, options.split.as_deref())?;
    let mut report = Report::new("sublet load");
    report.about("workload", describe(&spec)?);
    if !options.rate.is_empty() {
        let rates: Vec<_> = options.rate.iter().map(f64::to_string).collect();
        report.about("at rates (1/s)", rates.join(", "));
    }
    report.about("models", options.model.join(", "));
    report.about("duration", options.duration);
    report.about("seed", options.seed);
    if let Some(slo) = options.slo {
        report.about("objective", slo);
    }
    let rates: Vec<Option<f64>> = match options.rate.is_empty() {
        true => vec![None],
        false => options.rate.iter().map(|rate| Some(*rate)).collect(),
    };
    for target in &targets {
        for rate in &rates {
            let spec = rate.map_or_else(|| spec.clone(), |rate| spec.with_rate(rate));
            let schedule = schedule(&spec, options)?;
            load(options, target, schedule, *rate, &mut report)?;
        }
    }
    print!("{}", report.table());
    for (path, text) in [
        (&options.json, Report::to_json as fn(&Report) -> String),
        (&options.html, Report::page as fn(&Report) -> String),
    ] {
        if let Some(path) = path {
            std::fs::write(path, text(&report)).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// A short form, or a TOML file; `split` goes before the file's.
fn workload(text: &str, split: Option<&str>) -> Result<WorkloadSpec> {
    let mut spec = if Path::new(text).is_file() {
        let file = std::fs::read_to_string(text).with_context(|| text.to_owned())?;
        toml::from_str(&file).with_context(|| text.to_owned())?
    } else {
        WorkloadSpec::new(text.parse().context("--workload")?)
    };
    if let Some(split) = split {
        spec.split = split.parse().context("--split")?;
    }
    Ok(spec)
}

/// The workload on one line.
fn describe(spec: &WorkloadSpec) -> Result<String> {
    Ok(serde_json::to_string(spec)?.replace('"', ""))
}

fn schedule(spec: &WorkloadSpec, options: &Load) -> Result<Schedule> {
    let mut read = |file: &str| std::fs::read(file).map_err(|error| error.to_string());
    let models = u32::try_from(options.model.len()).context("so many models")?;
    let workload = Workload::new(spec, models, options.seed, &mut read)?;
    let span = workload.span().map_or(options.duration, |span| span.min(options.duration));
    let expected = spec.mean_rate().map(|rate| rate * span.as_secs_f64());
    if expected.is_some_and(|requests| requests > REQUESTS_MAX as f64)
        || workload.arrivals().take_while(|a| a.at < span).nth(REQUESTS_MAX).is_some()
    {
        bail!("the workload has more than {REQUESTS_MAX} requests in {span}");
    }
    let schedule = workload.schedule(span);
    if schedule.arrivals.is_empty() {
        bail!("the workload has no request in {span}");
    }
    Ok(schedule)
}

/// Loads one target at one rate and adds its rows: the whole, then each model.
fn load(
    options: &Load,
    target: &Target,
    schedule: Schedule,
    rate: Option<f64>,
    report: &mut Report,
) -> Result<()> {
    let bodies = prepare::prepare(options, target)?;
    let (span, requests) = (schedule.span, schedule.arrivals.len());
    let sent = Arc::new(AtomicU64::new(0));
    let drive = Drive {
        target: target.clone(),
        schedule,
        bodies,
        slo: options.slo,
        timeout: options.timeout,
        connections: options.connections,
        threads: options.threads.max(1),
        sent: sent.clone(),
    };
    let bar = progress::count(&target.name, requests as u64);
    let done = Arc::new(AtomicBool::new(false));
    let watch = {
        let (bar, done) = (bar.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                bar.set_position(sent.load(Ordering::Relaxed));
                std::thread::park_timeout(Duration::from_millis(200));
            }
        })
    };
    let before = processor_time();
    let tally = drive::run(&drive);
    let busy = Time::from(processor_time() - before);
    done.store(true, Ordering::Relaxed);
    watch.thread().unpark();
    watch.join().expect("a progress bar does not panic");
    bar.finish_and_clear();
    let tally = tally.with_context(|| target.name.clone())?;
    for (kind, words) in &tally.words {
        report.notes.push(format!("{}: first {kind}: {words}", target.name));
    }
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let each_us = busy.0 as f64 / 1e3 / requests as f64;
    let share = busy.as_secs_f64() / (span.as_secs_f64() * cores as f64);
    let place = match rate {
        Some(rate) => format!("{} at {rate}/s", target.name),
        None => target.name.clone(),
    };
    report.figures.insert(format!("{place}: generator us per request"), each_us);
    report.figures.insert(format!("{place}: generator share of {cores} cores"), share);
    add_rows(report, target, &options.model, tally.outcomes(span, options.slo), rate);
    Ok(())
}

/// Processor time that this program has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn add_rows(
    report: &mut Report,
    target: &Target,
    models: &[String],
    outcomes: Vec<Outcome>,
    rate: Option<f64>,
) {
    let mut whole = Outcome::default();
    outcomes.iter().for_each(|outcome| whole.add(outcome, false));
    let place = |row: Row| match rate {
        Some(rate) => row.at("rate", rate),
        None => row,
    };
    report.rows.push(place(Row::new(&target.name, whole)));
    if models.len() > 1 {
        for (model, outcome) in models.iter().zip(outcomes) {
            report.rows.push(place(Row::new(&target.name, outcome).of_part(model)));
        }
    }
}
