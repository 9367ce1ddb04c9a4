//! Whether the simulator predicts the live engine: the same models, requests and policy, once on a real CPU device and
//! once on the virtual clock with the costs that were measured on that device.
//!
//! Processors differ from minute to minute, so a prediction is compared with a run right beside it: each run of a
//! workload lies between two calibrations, runs of the same kind of load with other arrivals, from which its profile is
//! made. What counts is the median difference of several such pairs; each of them is printed.

mod fleet;
mod live;
mod profile;
mod simulated;

use crate::busy::Busy;
use anyhow::{Context, Result, bail, ensure};
use fleet::Fleet;
use live::Terms;
use std::path::{Path, PathBuf};
use sublet_report::{Outcome, Report, Row};
use sublet_sim::CostFile;
use sublet_units::{Bytes, Time};
use sublet_workload::{Schedule, Split, Workload, WorkloadSpec};

/// How far attainment may be off, in percentage points, and the median latency, in percent.
const ATTAINMENT_POINTS_MAX: f64 = 2.0;
const MEDIAN_PERCENT_MAX: f64 = 15.0;

/// What is compared, and where it goes.
pub struct Options {
    /// Length of each run.
    pub seconds: u64,
    /// Comparisons per workload.
    pub pairs: u64,
    /// Only workloads whose name contains this.
    pub filter: String,
    /// The folder that profiles go to.
    pub profiles: PathBuf,
    /// The report's page.
    pub html: PathBuf,
}

/// One workload on one size of device.
struct Case {
    name: &'static str,
    /// Share of all weights that fits.
    fits: f64,
    /// Requests arrive at this share of what the device could run at most.
    load: f64,
    /// Intervals: 1 is Poisson.
    cv: f64,
    split: Split,
    /// The objective, in mean warm run times.
    slo_runs: f64,
    /// Requests that cannot start within the objective are refused.
    refuses: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "mostly warm: 80 % fits, Poisson, Zipf",
        fits: 0.8,
        load: 0.5,
        cv: 1.0,
        split: Split::Zipf { exponent: 1.0 },
        slo_runs: 4.0,
        refuses: false,
    },
    Case {
        name: "bursts and swaps: 60 % fits, Gamma CV 2, uniform",
        fits: 0.6,
        load: 0.35,
        cv: 2.0,
        split: Split::Uniform,
        slo_runs: 6.0,
        refuses: false,
    },
    Case {
        name: "overload: 70 % fits, Poisson, Zipf, late requests refused",
        fits: 0.7,
        load: 1.2,
        cv: 1.0,
        split: Split::Zipf { exponent: 1.0 },
        slo_runs: 8.0,
        refuses: true,
    },
];

/// By how much a simulation differs from its live run: attainment in points, the median latency in percent.
struct Difference {
    points: f64,
    percent: f64,
}

/// Compares every workload; prints each pair, then each workload's median difference.
///
/// # Errors
/// When a bar is missed, after everything was printed.
pub fn run(options: &Options) -> Result<()> {
    ensure!(options.pairs > 0, "there is nothing to compare without pairs");
    std::fs::create_dir_all(&options.profiles)?;
    let fleet = Fleet::make()?;
    let mut report = Report::new("The engine and the simulator");
    report.about("devices", format!("one CPU device, link {}/s", Bytes(fleet::LINK)));
    let mut all = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(&options.filter)) {
        let pairs = case.compare(&fleet, options, &mut report)?;
        let points = median(pairs.iter().map(|pair| pair.points));
        let percent = median(pairs.iter().map(|pair| pair.percent));
        println!(
            "agree: {}: medians of {} pairs: attainment Δ {points:+.2} points, median latency Δ {percent:+.1} %",
            case.name,
            pairs.len()
        );
        all.push(Difference { points: points.abs(), percent: percent.abs() });
    }
    let html = &options.html;
    std::fs::write(html, report.page()).with_context(|| html.display().to_string())?;
    let points = all.iter().map(|of| of.points).fold(0.0, f64::max);
    let percent = all.iter().map(|of| of.percent).fold(0.0, f64::max);
    println!(
        "agree: workloads {} attainment Δ at most {points:.2} points median Δ at most {percent:.1} %",
        all.len(),
    );
    if points > ATTAINMENT_POINTS_MAX || percent > MEDIAN_PERCENT_MAX {
        bail!(
            "a bar was missed: attainment within {ATTAINMENT_POINTS_MAX} points, median within {MEDIAN_PERCENT_MAX} %"
        );
    }
    Ok(())
}

impl Case {
    fn compare(
        &self,
        fleet: &Fleet,
        options: &Options,
        report: &mut Report,
    ) -> Result<Vec<Difference>> {
        let mean_run = fleet.mean_run()?.as_secs_f64();
        let rate = self.load / mean_run;
        let slo = Time((self.slo_runs * mean_run * 1e9) as u64);
        let patience = self.refuses.then_some(slo);
        let terms = Terms { memory: fleet.memory(self.fits), slo, patience };
        let length = Time::from_secs(options.seconds);
        println!("agree: {}: {rate:.0} requests/s, objective {slo}, {length} a run", self.name);
        let session = |seed: u64| {
            let schedule = self.schedule(rate, fleet.models.len(), seed, length)?;
            live::run(fleet, terms, &schedule)
        };
        let mut before = session(1_000)?;
        let mut differences = Vec::new();
        let (mut all_live, mut all_simulated) = (Outcome::default(), Outcome::default());
        for pair in 1..=options.pairs {
            let busy = Busy::watch();
            let live = session(pair)?;
            let others = busy.others();
            let after = session(1_000 + pair)?;
            let costs = kept(profile::of(fleet, &[&before, &after])?, self, pair, options)?;
            let own = profile::of(fleet, &[&live])?;
            let simulated = simulated::run(&costs, terms, &live)?;
            let explained = simulated::run(&own, terms, &live)?;
            let live = live.outcome(slo);
            let difference = Difference::of(&simulated, &live);
            let model = Difference::of(&explained, &live);
            println!(
                "agree: pair {pair}: attainment live {:.2} % simulated {:.2} % Δ {:+.2}; median live {:.2} ms simulated \
                 {:.2} ms Δ {:+.1} %; P98 {} and {}; cold {:.1} % and {:.1} %; with the run's own costs Δ {:+.2} and \
                 {:+.1} %; {}; run time of the live run {:+.1} %; others took {:.0} % of the machine",
                attainment(&live),
                attainment(&simulated),
                difference.points,
                median_ms(&live),
                median_ms(&simulated),
                difference.percent,
                live.latency.quantile(0.98),
                simulated.latency.quantile(0.98),
                live.cold_share().unwrap_or(0.0) * 100.0,
                simulated.cold_share().unwrap_or(0.0) * 100.0,
                model.points,
                model.percent,
                figures(&costs),
                (mean_run_ms(&own) / mean_run_ms(&costs) - 1.0) * 100.0,
                others * 100.0,
            );
            all_live.add(&live, true);
            all_simulated.add(&simulated, true);
            differences.push(difference);
            before = after;
        }
        report.rows.push(Row::new(format!("{}: live", self.name), all_live));
        report.rows.push(Row::new(format!("{}: simulated", self.name), all_simulated));
        Ok(differences)
    }

    fn schedule(&self, rate: f64, models: usize, seed: u64, length: Time) -> Result<Schedule> {
        let spec = WorkloadSpec {
            split: self.split.clone(),
            ..WorkloadSpec::new(format!("gamma:rate={rate},cv={}", self.cv).parse()?)
        };
        let mut no_file = |file: &str| Err(format!("no {file}"));
        Ok(Workload::new(&spec, models as u32, seed, &mut no_file)?.schedule(length))
    }
}

impl Difference {
    fn of(simulated: &Outcome, live: &Outcome) -> Self {
        Difference {
            points: attainment(simulated) - attainment(live),
            percent: (median_ms(simulated) / median_ms(live) - 1.0) * 100.0,
        }
    }
}

/// Writes a profile, and gives back what the file says: the simulator gets no more.
fn kept(costs: CostFile, case: &Case, pair: u64, options: &Options) -> Result<CostFile> {
    let name = case.name.split(':').next().unwrap_or_default().replace(' ', "-");
    let path: &Path = &options.profiles.join(format!("{name}-{pair}.json"));
    std::fs::write(path, serde_json::to_string(&costs)?)
        .with_context(|| path.display().to_string())?;
    Ok(CostFile::from_json(&std::fs::read_to_string(path)?)?)
}

fn figures(costs: &CostFile) -> String {
    format!(
        "profile: mean run {:.2} ms, launch {:.0} us, answer {:.0} us, load {:.0} us",
        mean_run_ms(costs),
        costs.device.launch_us,
        costs.device.answer_us,
        costs.links.load_setup_us
    )
}

fn mean_run_ms(costs: &CostFile) -> f64 {
    costs.models.iter().map(|kind| kind.runs[0].1).sum::<f64>() / costs.models.len() as f64
}

fn attainment(outcome: &Outcome) -> f64 {
    outcome.attainment().unwrap_or(0.0) * 100.0
}

fn median_ms(outcome: &Outcome) -> f64 {
    outcome.latency.quantile(0.5).as_millis_f64()
}

/// Of an even number, the mean of the middle two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}
