//! Every scenario under every preset, with the same seeds: does `sublet` have at least the attainment and at most the P98 of
//! the best of the others?

use crate::library::Library;
use anyhow::{Result, anyhow, bail};
use rayon::prelude::*;
use std::time::Instant;
use sublet_sched::Preset;
use sublet_sim::scenario::{Point, Scenario, Setup};
use sublet_sim::{CostFile, simulate};
use sublet_units::Time;

/// Seeds of each point, unless the scenario asks for more.
const SEEDS: u64 = 5;

/// What a request counts that was never answered, in milliseconds.
const NEVER_MS: f64 = 1e7;

/// Resamples of a bootstrap interval.
const RESAMPLES: usize = 2_000;

/// Differences of attainment up to this count as none.
const EQUAL: f64 = 1e-9;

/// One point of a scenario, run with one seed under each preset.
struct Job<'a> {
    case: usize,
    scenario: &'a Scenario,
    costs: &'a CostFile,
    point: Point,
    seed: u64,
}

/// Attainment and P98 in milliseconds under each preset, in the order of [`Preset::ALL`].
type Result2 = [(f64, f64); Preset::ALL.len()];

/// One point over all seeds.
#[derive(Default)]
struct Case {
    name: String,
    results: Vec<Result2>,
}

/// `sublet` against the best of the others, in one measure.
struct Comparison {
    sublet: f64,
    best: f64,
    rival: Preset,
    difference: f64,
    interval: (f64, f64),
}

pub fn run(library: &Library, filter: &str, seeds: Option<u64>) -> Result<()> {
    let began = Instant::now();
    let mut scenarios = Vec::new();
    for name in library.names()?.into_iter().filter(|name| name.contains(filter)) {
        scenarios.push(library.scenario(&name)?);
    }
    let (mut cases, mut jobs) = (Vec::new(), Vec::new());
    for (scenario, costs) in &scenarios {
        for point in scenario.points() {
            let case = cases.len();
            cases.push(Case { name: format!("{}{point}", scenario.name), results: Vec::new() });
            let seeds = seeds.unwrap_or(SEEDS.max(scenario.sweep.seeds));
            jobs.extend((1..=seeds).map(|seed| Job { case, scenario, costs, point, seed }));
        }
    }
    if jobs.is_empty() {
        bail!("no scenario's name contains `{filter}`");
    }
    let results: Vec<(usize, Result<Option<Result2>>)> =
        jobs.par_iter().map(|job| (job.case, job.run(library))).collect();
    for (case, result) in results {
        cases[case].results.extend(result?);
    }
    let (mut total, mut attains, mut quick, mut better) = (0, 0, 0, 0);
    let mut lacking = Vec::new();
    for case in &cases {
        if case.results.is_empty() {
            println!("{}: skipped, its trace is not there", case.name);
            continue;
        }
        let attainment = case.attainment();
        let p98 = case.p98();
        println!("{}", case.line(&attainment, &p98));
        let (has_attained, is_quick) =
            (attainment.difference >= -EQUAL, p98.difference <= p98.best * EQUAL);
        total += 1;
        attains += u64::from(has_attained);
        quick += u64::from(is_quick);
        let is_better = attainment.difference > EQUAL || p98.difference < -p98.best * EQUAL;
        better += u64::from(has_attained && is_quick && is_better);
        if !(has_attained && is_quick) {
            lacking.push(case.complaint(&attainment, &p98, has_attained, is_quick));
        }
    }
    println!("where sublet is not the best:");
    for complaint in &lacking {
        println!("  {complaint}");
    }
    println!(
        "policies: scenarios {total} attainment ≥ best in {attains}, P98 ≤ best in {quick}, strictly better in {better} \
         ({:.0} s)",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

impl Job<'_> {
    /// `None` when a trace is not there.
    fn run(&self, library: &Library) -> Result<Option<Result2>> {
        let mut missing = false;
        let mut read = |file: &str| {
            library.trace(file).inspect_err(|_| {
                missing = true;
            })
        };
        let setup = Setup::new(self.scenario, self.costs, self.point, self.seed, &mut read);
        let setup = match setup {
            Err(_) if missing => return Ok(None),
            setup => setup?,
        };
        let mut results: Result2 = Default::default();
        for (preset, result) in Preset::ALL.into_iter().zip(&mut results) {
            let run = || simulate(self.scenario, &setup, preset);
            let name =
                format!("{}{}, seed {}, {preset}", self.scenario.name, self.point, self.seed);
            let simulated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
                .map_err(|_| anyhow!("{name}: the scheduler panicked"))?
                .map_err(|violation| anyhow!("{name}: {violation}"))?;
            let p98 = match simulated.p98 {
                Time::MAX => NEVER_MS,
                p98 => p98.as_millis_f64(),
            };
            *result = (simulated.attainment(), p98);
        }
        Ok(Some(results))
    }
}

impl Case {
    fn attainment(&self) -> Comparison {
        self.compare(|result| result.0, |mine, other| mine > other)
    }

    fn p98(&self) -> Comparison {
        self.compare(|result| result.1, |mine, other| mine < other)
    }

    fn compare(&self, measure: fn(&(f64, f64)) -> f64, beats: fn(f64, f64) -> bool) -> Comparison {
        let ours = Preset::ALL.iter().position(|&preset| preset == Preset::Sublet);
        let ours = ours.expect("sublet is a preset");
        let means: Vec<f64> = (0..Preset::ALL.len())
            .map(|at| mean(&self.results.iter().map(|r| measure(&r[at])).collect::<Vec<_>>()))
            .collect();
        let mut rival = usize::from(ours == 0);
        for at in (0..Preset::ALL.len()).filter(|&at| at != ours) {
            if beats(means[at], means[rival]) {
                rival = at;
            }
        }
        let differences: Vec<f64> =
            self.results.iter().map(|r| measure(&r[ours]) - measure(&r[rival])).collect();
        Comparison {
            sublet: means[ours],
            best: means[rival],
            rival: Preset::ALL[rival],
            difference: mean(&differences),
            interval: bootstrap(&differences),
        }
    }

    fn line(&self, attainment: &Comparison, p98: &Comparison) -> String {
        format!(
            "{}: attainment % sublet {:.2}, {} {:.2}, difference {:+.2} [{:+.2}, {:+.2}]; P98 ms sublet {}, {} {}, difference {} [{}, {}]",
            self.name,
            attainment.sublet * 100.0,
            attainment.rival,
            attainment.best * 100.0,
            attainment.difference * 100.0,
            attainment.interval.0 * 100.0,
            attainment.interval.1 * 100.0,
            ms(p98.sublet),
            p98.rival,
            ms(p98.best),
            ms(p98.difference),
            ms(p98.interval.0),
            ms(p98.interval.1),
        )
    }

    fn complaint(
        &self,
        attainment: &Comparison,
        p98: &Comparison,
        has_attained: bool,
        is_quick: bool,
    ) -> String {
        let mut what = Vec::new();
        if !has_attained {
            let sure = if attainment.interval.1 < 0.0 { "" } else { ", within the interval" };
            let (best, rival) = (attainment.best * 100.0, attainment.rival);
            let own = attainment.sublet * 100.0;
            what.push(format!("attainment {own:.2} % against {best:.2} % of {rival}{sure}"));
        }
        if !is_quick {
            let sure = if p98.interval.0 > 0.0 { "" } else { ", within the interval" };
            let (own, best) = (ms(p98.sublet), ms(p98.best));
            what.push(format!("P98 {own} ms against {best} ms of {}{sure}", p98.rival));
        }
        format!("{}: {}", self.name, what.join("; "))
    }
}

/// Milliseconds for people; requests that are never answered have no number.
fn ms(value: f64) -> String {
    match value {
        value if value.abs() >= NEVER_MS / 10.0 => {
            if value > 0.0 { "never" } else { "-never" }.into()
        }
        value => format!("{value:.1}"),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The 95 % interval of the mean, by resampling the seeds (Efron's percentile bootstrap).
fn bootstrap(values: &[f64]) -> (f64, f64) {
    let mut draw = sublet_workload::Draw::new(1, values.len() as u64);
    let count = values.len() as u64;
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let sum: f64 = (0..count).map(|_| values[draw.below(count) as usize]).sum();
            sum / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    (means[RESAMPLES / 40], means[RESAMPLES - 1 - RESAMPLES / 40])
}
