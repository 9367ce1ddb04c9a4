//! `sublet simulate`: scenarios under several policies, on the simulator.

mod files;

use crate::progress;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use files::Loaded;
use rayon::prelude::*;
use std::fs;
use std::path::PathBuf;
use sublet_report::{Report, Row, Timeline};
use sublet_sched::Preset;
use sublet_sim::scenario::{Point, Setup};
use sublet_sim::{Simulated, simulate, trace};
use sublet_units::Time;

#[derive(Args)]
pub struct Simulate {
    /// Scenario files
    #[arg(required = true, value_name = "SCENARIO.toml")]
    pub scenarios: Vec<PathBuf>,
    /// Policies to compare, instead of those that the scenario names: fifo-lru, torpor, deepplan-server, gpulet, sublet
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub policy: Vec<Preset>,
    /// Seeds of each point, instead of the scenario's number
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,
    /// A cost model instead of the scenario's: TOML, or the JSON of a profile
    #[arg(long, value_name = "FILE")]
    pub cost: Option<PathBuf>,
    /// Folder of recorded traces
    #[arg(long, default_value = "../shared/data", value_name = "DIR")]
    pub data: PathBuf,
    /// Keep the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep the report as a page with plots and a timeline
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// How much of the first point's first run is drawn.
const TIMELINE: Time = Time::from_secs(2);

/// One run.
struct Job<'a> {
    loaded: &'a Loaded,
    point: Point,
    seed: u64,
    preset: Preset,
    /// Whether a timeline is drawn.
    is_traced: bool,
}

pub fn main(options: &Simulate) -> Result<()> {
    let scenarios = options
        .scenarios
        .iter()
        .map(|path| Loaded::read(path, options.cost.as_deref(), &options.data))
        .collect::<Result<Vec<_>>>()?;
    let mut jobs = Vec::new();
    for loaded in &scenarios {
        jobs.extend(loaded.jobs(options)?);
    }
    if jobs.is_empty() {
        bail!("nothing to run: --seeds is 0");
    }
    let bar = progress::count("simulating", jobs.len() as u64);
    let results: Vec<Result<(Simulated, Option<Timeline>)>> = jobs
        .par_iter()
        .map(|job| {
            let result = job.run();
            bar.inc(1);
            result
        })
        .collect();
    bar.finish_and_clear();

    let mut report = Report::new("sublet simulate");
    for loaded in &scenarios {
        loaded.describe(&mut report);
    }
    let named = scenarios.len() > 1;
    for (job, result) in jobs.iter().zip(results) {
        let (simulated, timeline) = result?;
        job.add(&mut report, simulated, named);
        report.timelines.extend(timeline);
    }
    print!("{}", report.table());
    for (path, text) in [
        (&options.json, Report::to_json as fn(&Report) -> String),
        (&options.html, Report::page as fn(&Report) -> String),
    ] {
        if let Some(path) = path {
            fs::write(path, text(&report)).with_context(|| path.display().to_string())?;
            println!("wrote {}", path.display());
        }
    }
    Ok(())
}

impl Loaded {
    fn jobs<'a>(&'a self, options: &Simulate) -> Result<Vec<Job<'a>>> {
        let presets = match options.policy.is_empty() {
            true => self.scenario.presets().with_context(|| self.path.display().to_string())?,
            false => options.policy.clone(),
        };
        let seeds = options.seeds.unwrap_or(self.scenario.sweep.seeds);
        let mut jobs = Vec::new();
        for (at, point) in self.scenario.points().into_iter().enumerate() {
            for seed in 1..=seeds {
                let is_traced = options.html.is_some() && at == 0 && seed == 1;
                let job = |&preset: &Preset| Job { loaded: self, point, seed, preset, is_traced };
                jobs.extend(presets.iter().map(job));
            }
        }
        Ok(jobs)
    }

    fn describe(&self, report: &mut Report) {
        let scenario = &self.scenario;
        let about = match scenario.about.is_empty() {
            true => scenario.name.clone(),
            false => format!("{}: {}", scenario.name, scenario.about),
        };
        report.about("scenario", about);
        let devices = format!("{} × {}", scenario.cluster.devices, self.costs.name);
        report.about("devices", devices);
        report.about("cost model", &self.costs.source);
        report.about("duration", scenario.duration);
    }
}

impl Job<'_> {
    fn run(&self) -> Result<(Simulated, Option<Timeline>)> {
        let Loaded { scenario, costs, path, .. } = self.loaded;
        let place = || format!("{}{}, seed {}", path.display(), self.point, self.seed);
        let mut read = |file: &str| self.loaded.trace(file);
        let setup = Setup::new(scenario, costs, self.point, self.seed, &mut read)
            .with_context(|| path.display().to_string())?;
        let broken = |violation| anyhow!("{}: {} at {violation}", place(), self.preset);
        if self.is_traced {
            let from = scenario.warmup;
            let span = (from, from + TIMELINE);
            let traced = trace(scenario, &setup, self.preset, span).map_err(broken)?;
            return Ok((traced.0, Some(traced.1)));
        }
        Ok((simulate(scenario, &setup, self.preset).map_err(broken)?, None))
    }

    /// A row of the whole, and one for each kind of model where nothing is swept.
    fn add(&self, report: &mut Report, simulated: Simulated, named: bool) {
        let scenario = &self.loaded.scenario;
        let name = match named {
            true => format!("{} {}", scenario.name, self.preset),
            false => self.preset.to_string(),
        };
        let place = |mut row: Row| {
            for (coordinate, value) in self.point.coordinates() {
                row = row.at(coordinate, value);
            }
            row.at("seed", self.seed as f64)
        };
        if self.seed == 1 {
            let (asked, compliant) = simulated.compliant();
            let share = compliant as f64 * 100.0 / asked.max(1) as f64;
            report.notes.push(format!(
                "{}{} under {}, seed 1: {compliant} of {asked} models ({share:.1} %) answered 98 % of their requests \
                 in time; {} loads copied {}.",
                scenario.name, self.point, self.preset, simulated.loads, simulated.copied
            ));
        }
        report.rows.push(place(Row::new(&name, simulated.outcome)));
        if self.point == Point::default() && simulated.kinds.len() > 1 {
            for (kind, outcome) in simulated.kinds {
                report.rows.push(place(Row::new(&name, outcome).of_part(kind)));
            }
        }
    }
}
