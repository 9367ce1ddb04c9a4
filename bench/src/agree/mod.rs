//! Whether the simulator predicts the live engine: the same models, schedules and policy, once on a real CPU device and
//! once on the virtual clock with a cost model that was measured on that device beforehand.

mod fleet;
mod live;
mod profile;
mod simulated;

use crate::busy::Busy;
use anyhow::{Context, Result, bail};
use fleet::Fleet;
use std::path::Path;
use std::time::Duration;
use sublet_report::{Outcome, Report, Row};
use sublet_sim::CostFile;
use sublet_units::{Bytes, Time};
use sublet_workload::{Split, Workload, WorkloadSpec};

/// How far attainment may be off, in percentage points, and the median latency, in percent.
const ATTAINMENT_POINTS_MAX: f64 = 2.0;
const MEDIAN_PERCENT_MAX: f64 = 15.0;

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
}

const CASES: &[Case] = &[
    Case {
        name: "resident, Poisson, uniform",
        fits: 2.0,
        load: 0.5,
        cv: 1.0,
        split: Split::Uniform,
        slo_runs: 3.0,
    },
    Case {
        name: "60 % fits, Poisson, Zipf",
        fits: 0.6,
        load: 0.4,
        cv: 1.0,
        split: Split::Zipf { exponent: 1.0 },
        slo_runs: 4.0,
    },
    Case {
        name: "60 % fits, Gamma CV 2, uniform",
        fits: 0.6,
        load: 0.3,
        cv: 2.0,
        split: Split::Uniform,
        slo_runs: 6.0,
    },
];

/// Measures the profile, keeps it at `profile`, and compares for about `seconds` per workload; the report's page goes to
/// `html`.
pub fn run(seconds: u64, profile: &Path, html: &Path) -> Result<()> {
    let fleet = Fleet::make()?;
    let measured = profile::measure(&fleet)?;
    std::fs::write(profile, serde_json::to_string_pretty(&measured)?)
        .with_context(|| profile.display().to_string())?;
    // What the simulator gets is what the file says.
    let costs = CostFile::from_json(&std::fs::read_to_string(profile)?)?;
    show(&costs);
    let mean_run_ms =
        costs.models.iter().map(|kind| kind.runs[0].1).sum::<f64>() / costs.models.len() as f64;
    let mut report = Report::new("The engine and the simulator");
    report.about("devices", format!("one CPU device, link {}/s", Bytes(fleet::LINK)));
    let (mut points, mut percents) = (Vec::new(), Vec::new());
    for case in CASES {
        let rate = case.load * 1e3 / mean_run_ms;
        let spec = WorkloadSpec {
            split: case.split.clone(),
            ..WorkloadSpec::new(format!("gamma:rate={rate},cv={}", case.cv).parse()?)
        };
        let models = costs.models.len() as u32;
        let workload = Workload::new(&spec, models, 7, &mut |file| Err(format!("no {file}")))?;
        let schedule = workload.schedule(Time::from_secs(seconds));
        let slo = Time((case.slo_runs * mean_run_ms * 1e6) as u64);
        let memory = fleet.memory(case.fits);
        let busy = Busy::watch();
        let live = live::run(&fleet, memory, &schedule, slo)?;
        let others = busy.others();
        let simulated = simulated::run(&costs, memory, &schedule, slo)?;
        let attainment = |outcome: &Outcome| outcome.attainment().unwrap_or(0.0) * 100.0;
        let median = |outcome: &Outcome| outcome.latency.quantile(0.5).as_millis_f64();
        let point = attainment(&simulated) - attainment(&live);
        let percent = (median(&simulated) / median(&live) - 1.0) * 100.0;
        println!(
            "agree: {} at {rate:.0}/s, objective {slo}: attainment live {:.2} % simulated {:.2} % Δ {point:+.2}; \
             median live {:.2} ms simulated {:.2} ms Δ {percent:+.1} %; P98 live {} simulated {}; cold live {:.1} % \
             simulated {:.1} %; others took {:.0} % of the machine",
            case.name,
            attainment(&live),
            attainment(&simulated),
            median(&live),
            median(&simulated),
            live.latency.quantile(0.98),
            simulated.latency.quantile(0.98),
            live.cold_share().unwrap_or(0.0) * 100.0,
            simulated.cold_share().unwrap_or(0.0) * 100.0,
            others * 100.0,
        );
        points.push(point.abs());
        percents.push(percent.abs());
        report.rows.push(Row::new(format!("{}: live", case.name), live));
        report.rows.push(Row::new(format!("{}: simulated", case.name), simulated));
    }
    std::fs::write(html, report.page()).with_context(|| html.display().to_string())?;
    let largest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    println!(
        "agree: workloads {} attainment Δ at most {:.2} points median Δ at most {:.1} %",
        CASES.len(),
        largest(&points),
        largest(&percents)
    );
    if largest(&points) > ATTAINMENT_POINTS_MAX || largest(&percents) > MEDIAN_PERCENT_MAX {
        bail!(
            "a bar was missed: attainment within {ATTAINMENT_POINTS_MAX} points, median within {MEDIAN_PERCENT_MAX} %"
        );
    }
    Ok(())
}

fn show(costs: &CostFile) {
    for kind in &costs.models {
        println!("profile {}: {} run {:.3} ms", kind.name, kind.bytes, kind.runs[0].1);
    }
    println!(
        "profile: launch {:.0} us, answer {:.0} us, jitter {:.3}, link {}/s and {:.0} us a load",
        costs.device.launch_us,
        costs.device.answer_us,
        costs.device.jitter,
        costs.links.host_rate,
        costs.links.load_setup_us
    );
}

/// How long a live run may go on after its last request was due.
const GRACE: Duration = Duration::from_secs(20);
