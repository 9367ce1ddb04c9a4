//! Every scenario under every preset, with the same seeds: does `sublet` have at least the attainment and at most the P98 of
//! the best of the others?
//!
//! P98 is that of all requests that count; one that was never answered, for whatever reason, never ends.

use crate::library::Library;
use anyhow::{Result, anyhow, bail};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::fmt;
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

/// Differences up to this part count as none.
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

/// `sublet` against one of the others, in one measure.
struct Comparison {
    sublet: f64,
    rival: f64,
    difference: f64,
    interval: (f64, f64),
}

/// `sublet` against one preset in attainment, and the same or another in P98.
struct Verdict {
    rivals: (Preset, Preset),
    attainment: Comparison,
    p98: Comparison,
}

/// `first`: the first seed.
pub fn run(library: &Library, filter: &str, seeds: Option<u64>, first: u64) -> Result<()> {
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
            jobs.extend((first..first + seeds).map(|seed| Job {
                case,
                scenario,
                costs,
                point,
                seed,
            }));
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
    let (mut against_best, mut against_each) = (Count::default(), Count::default());
    let mut lacking = Vec::new();
    for case in &cases {
        if case.results.is_empty() {
            println!("{}: skipped, its trace is not there", case.name);
            continue;
        }
        let verdict = case.against_best();
        println!("{}: {verdict}", case.name);
        if let Some(complaint) = verdict.complaint() {
            lacking.push(format!("{}: {complaint}", case.name));
        }
        against_best.add(&verdict);
        against_each.add(&case.against_best_of_each());
    }
    println!("where sublet is not the best:");
    for complaint in &lacking {
        println!("  {complaint}");
    }
    println!(
        "policies, each measure against the preset that is best in it: {against_each}\n\
         policies: {against_best} ({:.0} s)",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Points at which `sublet` holds its own.
#[derive(Default)]
struct Count {
    points: u64,
    attains: u64,
    quick: u64,
    both: u64,
    better: u64,
}

impl Count {
    fn add(&mut self, verdict: &Verdict) {
        let (attains, quick) = (verdict.attains(), verdict.is_quick());
        self.points += 1;
        self.attains += u64::from(attains);
        self.quick += u64::from(quick);
        self.both += u64::from(attains && quick);
        self.better += u64::from(attains && quick && verdict.is_better());
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { points, attains, quick, both, better } = self;
        write!(
            f,
            "scenarios {points} attainment ≥ best in {attains}, P98 ≤ best in {quick}, both in {both}, strictly better in \
             {better}"
        )
    }
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
    /// Against the best of the others: the one with the highest attainment, of equals the one with the lowest P98.
    fn against_best(&self) -> Verdict {
        let beats = |mine: &(f64, f64), other: &(f64, f64)| match order(mine.0, other.0) {
            Ordering::Equal => mine.1 < other.1,
            unequal => unequal.is_gt(),
        };
        let rival = self.best(beats);
        self.against(rival, rival)
    }

    /// In each measure against the preset that is best in that, which need not be the same.
    fn against_best_of_each(&self) -> Verdict {
        self.against(
            self.best(|mine, other| mine.0 > other.0),
            self.best(|mine, other| mine.1 < other.1),
        )
    }

    /// Which of the others is the best over all seeds.
    fn best(&self, beats: impl Fn(&(f64, f64), &(f64, f64)) -> bool) -> usize {
        let mut best = None;
        for at in (0..Preset::ALL.len()).filter(|&at| Preset::ALL[at] != Preset::Sublet) {
            let means = (self.mean(at, |result| result.0), self.mean(at, |result| result.1));
            if best.as_ref().is_none_or(|(_, other)| beats(&means, other)) {
                best = Some((at, means));
            }
        }
        best.expect("there are other presets").0
    }

    fn mean(&self, preset: usize, measure: fn(&(f64, f64)) -> f64) -> f64 {
        mean(&self.results.iter().map(|result| measure(&result[preset])).collect::<Vec<_>>())
    }

    fn against(&self, in_attainment: usize, in_p98: usize) -> Verdict {
        Verdict {
            rivals: (Preset::ALL[in_attainment], Preset::ALL[in_p98]),
            attainment: self.compare(in_attainment, |result| result.0),
            p98: self.compare(in_p98, |result| result.1),
        }
    }

    fn compare(&self, rival: usize, measure: fn(&(f64, f64)) -> f64) -> Comparison {
        let ours = Preset::ALL.iter().position(|&preset| preset == Preset::Sublet);
        let ours = ours.expect("sublet is a preset");
        let differences: Vec<f64> =
            self.results.iter().map(|r| measure(&r[ours]) - measure(&r[rival])).collect();
        Comparison {
            sublet: self.mean(ours, measure),
            rival: self.mean(rival, measure),
            difference: mean(&differences),
            interval: bootstrap(&differences),
        }
    }
}

impl Comparison {
    fn order(&self) -> Ordering {
        order(self.sublet, self.rival)
    }
}

impl Verdict {
    fn attains(&self) -> bool {
        self.attainment.order().is_ge()
    }

    fn is_quick(&self) -> bool {
        self.p98.order().is_le()
    }

    fn is_better(&self) -> bool {
        self.attainment.order().is_gt() || self.attains() && self.p98.order().is_lt()
    }

    fn complaint(&self) -> Option<String> {
        let mut what = Vec::new();
        let (attainment, p98) = (&self.attainment, &self.p98);
        if !self.attains() {
            let sure = if attainment.interval.1 < 0.0 { "" } else { ", within the interval" };
            let (own, best) = (attainment.sublet * 100.0, attainment.rival * 100.0);
            what.push(format!(
                "attainment {own:.3} % against {best:.3} % of {}{sure}",
                self.rivals.0
            ));
        }
        if !self.is_quick() {
            let sure = if p98.interval.0 > 0.0 { "" } else { ", within the interval" };
            let (own, best) = (ms(p98.sublet), ms(p98.rival));
            what.push(format!("P98 {own} ms against {best} ms of {}{sure}", self.rivals.1));
        }
        (!what.is_empty()).then(|| what.join("; "))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { rivals, attainment, p98 } = self;
        let percent = |value: f64| value * 100.0;
        write!(
            f,
            "attainment % sublet {:.2}, {} {:.2}, difference {:+.2} [{:+.2}, {:+.2}]; ",
            percent(attainment.sublet),
            rivals.0,
            percent(attainment.rival),
            percent(attainment.difference),
            percent(attainment.interval.0),
            percent(attainment.interval.1),
        )?;
        write!(
            f,
            "P98 ms sublet {}, {} {}, difference {} [{}, {}]",
            ms(p98.sublet),
            rivals.1,
            ms(p98.rival),
            ms(p98.difference),
            ms(p98.interval.0),
            ms(p98.interval.1),
        )
    }
}

/// Of two means, where rounding counts for nothing.
fn order(one: f64, other: f64) -> Ordering {
    match (one - other).abs() <= EQUAL * one.abs().max(other.abs()) {
        true => Ordering::Equal,
        false => one.total_cmp(&other),
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
