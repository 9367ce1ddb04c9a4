//! Every process has the rate, the variation and the distribution that it is named after, and repeats from its seed.

use sublet_units::Time;
use sublet_workload::{
    Assignment, Level, Levels, MarkovState, Process, Schedule, Split, Workload, WorkloadSpec,
};

fn no_files(file: &str) -> Result<Vec<u8>, String> {
    Err(format!("there is no {file}"))
}

fn workload(spec: &WorkloadSpec, models: u32, seed: u64) -> Workload {
    Workload::new(spec, models, seed, &mut no_files).unwrap()
}

/// Mean and coefficient of variation of the intervals of one model, in seconds.
fn intervals(process: Process, count: usize) -> (f64, f64, Vec<f64>) {
    let mut last = 0;
    let gaps: Vec<f64> = workload(&WorkloadSpec::new(process), 1, 11)
        .arrivals()
        .take(count)
        .map(|arrival| {
            let gap = arrival.at.0 - last;
            last = arrival.at.0;
            gap as f64 / 1e9
        })
        .collect();
    let mean = gaps.iter().sum::<f64>() / count as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count as f64;
    (mean, variance.sqrt() / mean, gaps)
}

/// The largest distance between a sample's distribution and the one it should have, times the root of its size:
/// above 1.95 the sample is from another distribution with probability 0.999 (Kolmogorov and Smirnov).
fn distance(mut sample: Vec<f64>, distribution: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let gap = |(index, x): (usize, &f64)| {
        let should = distribution(*x);
        (should - index as f64 / n).abs().max((should - (index + 1) as f64 / n).abs())
    };
    sample.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt()
}

#[test]
fn intervals_have_their_distribution() {
    let (mean, cv, gaps) = intervals(Process::Poisson { rate: 50.0 }, 50_000);
    assert!((mean * 50.0 - 1.0).abs() < 0.02 && (cv - 1.0).abs() < 0.02, "{mean} {cv}");
    assert!(distance(gaps, |x| 1.0 - (-50.0 * x).exp()) < 1.95);

    // Shape 4 (CV 1/2): an Erlang distribution, which has a closed form.
    let (mean, cv, gaps) = intervals(Process::Gamma { rate: 50.0, cv: 0.5 }, 50_000);
    assert!((mean * 50.0 - 1.0).abs() < 0.02 && (cv - 0.5).abs() < 0.01, "{mean} {cv}");
    let erlang = |x: f64| {
        let y = 200.0 * x;
        1.0 - (-y).exp() * (1.0 + y + y * y / 2.0 + y * y * y / 6.0)
    };
    assert!(distance(gaps.clone(), erlang) < 1.95);
    assert!(distance(gaps, |x| 1.0 - (-50.0 * x).exp()) > 1.95, "the check must be able to fail");

    let (mean, cv, _) = intervals(Process::Gamma { rate: 50.0, cv: 4.0 }, 400_000);
    assert!((mean * 50.0 - 1.0).abs() < 0.04 && (cv - 4.0).abs() < 0.15, "{mean} {cv}");

    let (mean, _, gaps) = intervals(Process::Pareto { rate: 50.0, alpha: 3.0 }, 50_000);
    assert!((mean * 50.0 - 1.0).abs() < 0.02, "{mean}");
    let least = (3.0 - 1.0) / (3.0 * 50.0);
    assert!(distance(gaps, |x| if x < least { 0.0 } else { 1.0 - (least / x).powi(3) }) < 1.95);

    let (mean, cv, gaps) = intervals(Process::Lognormal { rate: 50.0, sigma: 0.5 }, 50_000);
    let wanted_cv = ((0.25f64).exp() - 1.0).sqrt();
    assert!((mean * 50.0 - 1.0).abs() < 0.02 && (cv - wanted_cv).abs() < 0.02, "{mean} {cv}");
    let median = (-(50.0f64).ln() - 0.125).exp();
    let below = gaps.iter().filter(|gap| **gap < median).count();
    assert!((below as f64 / 50_000.0 - 0.5).abs() < 0.01);

    let (mean, cv, _) = intervals(Process::Constant { rate: 50.0 }, 50_000);
    assert!((mean * 50.0 - 1.0).abs() < 1e-3 && cv < 0.01, "{mean} {cv}");
}

#[test]
fn modulated_processes_spend_their_time_in_their_states() {
    let states = vec![
        MarkovState { rate: 10.0, dwell: Time::from_secs(4) },
        MarkovState { rate: 0.0, dwell: Time::from_secs(4) },
        MarkovState { rate: 220.0, dwell: Time::from_secs(2) },
    ];
    let spec = WorkloadSpec::new(Process::Markov { states });
    assert!((spec.mean_rate().unwrap() - 48.0).abs() < 1e-9);
    let drawn = WorkloadSpec { assign: Assignment::Drawn, ..spec.clone() };
    for spec in [spec, drawn] {
        let rate = workload(&spec, 3, 5).schedule(Time::from_secs(40_000)).rate();
        assert!((rate / 48.0 - 1.0).abs() < 0.05, "{rate}");
    }
}

fn variance_of_counts(schedule: &Schedule, bin: Time) -> (f64, f64) {
    let mut counts = vec![0.0; (schedule.span.0 / bin.0) as usize];
    schedule.arrivals.iter().for_each(|arrival| counts[(arrival.at.0 / bin.0) as usize] += 1.0);
    let mean = counts.iter().sum::<f64>() / counts.len() as f64;
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>();
    (mean, variance / counts.len() as f64)
}

#[test]
fn loads_per_interval_have_their_mean_and_stay_within_it() {
    let every = Time::from_secs(20);
    let heavy = Levels::Lognormal { mu: 4.5, sigma: 0.3 };
    let light = Level { mu: 1.0, sigma: 1.0, stay: 0.9 };
    let burst = Levels::Markov { states: vec![light, Level { mu: 4.5, sigma: 0.3, stay: 0.76 }] };
    for (levels, wanted) in [(heavy, 94.16), (burst, 30.87)] {
        let spec = WorkloadSpec {
            split: Split::Dirichlet { concentration: 0.5 },
            ..WorkloadSpec::new(Process::Piecewise { every, levels })
        };
        assert!((spec.mean_rate().unwrap() / wanted - 1.0).abs() < 0.01, "{:?}", spec.mean_rate());
        let schedule = workload(&spec, 8, 9).schedule(Time::from_secs(40_000));
        assert!((schedule.rate() / wanted - 1.0).abs() < 0.06, "{} {wanted}", schedule.rate());
        let per_model = schedule.per_model();
        let even = schedule.arrivals.len() as f64 / 8.0;
        assert!(per_model.iter().all(|count| (*count as f64 / even - 1.0).abs() < 0.3));
        // The split changes from interval to interval: within one, a model has far more or less than its even share.
        let first: Vec<_> = schedule.arrivals.iter().filter(|arrival| arrival.model == 0).collect();
        let model = Schedule { arrivals: first.into_iter().copied().collect(), ..schedule };
        let (mean, variance) = variance_of_counts(&model, every);
        assert!(variance > 4.0 * mean, "{variance} {mean}");
    }
    let levels = Levels::Explicit { rates: vec![0.0, 100.0] };
    let spec = WorkloadSpec::new(Process::Piecewise { every, levels });
    let schedule = workload(&spec, 2, 1).schedule(Time::from_secs(200));
    assert!(schedule.arrivals.iter().all(|arrival| arrival.at.0 / every.0 % 2 == 1));
    assert!((schedule.rate() / 50.0 - 1.0).abs() < 0.1);
}

#[test]
fn models_have_their_shares() {
    let split = Split::Explicit { weights: vec![10.0, 10.0, 1.0, 0.0] };
    for (process, assign) in [
        (Process::Poisson { rate: 21.0 }, Assignment::Independent),
        (Process::Gamma { rate: 21.0, cv: 2.0 }, Assignment::Independent),
        (Process::Gamma { rate: 21.0, cv: 2.0 }, Assignment::Drawn),
        (Process::Constant { rate: 21.0 }, Assignment::Independent),
    ] {
        let spec = WorkloadSpec { arrivals: process, split: split.clone(), assign };
        let schedule = workload(&spec, 4, 3).schedule(Time::from_secs(4_000));
        let rates: Vec<f64> = schedule.per_model().iter().map(|n| *n as f64 / 4_000.0).collect();
        for (rate, wanted) in rates.iter().zip([10.0, 10.0, 1.0, 0.0]) {
            assert!((rate - wanted).abs() <= 0.08 * wanted, "{spec:?}: {rates:?}");
        }
        assert!(schedule.arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}

#[test]
fn a_seed_repeats_and_another_differs() {
    for process in [
        Process::Poisson { rate: 100.0 },
        Process::Gamma { rate: 100.0, cv: 4.0 },
        Process::Piecewise {
            every: Time::from_secs(1),
            levels: Levels::Lognormal { mu: 3.0, sigma: 1.0 },
        },
    ] {
        let spec = WorkloadSpec::new(process);
        let schedule = |seed| workload(&spec, 5, seed).schedule(Time::from_secs(10));
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
        let kept = schedule(1).arrivals;
        assert!(workload(&spec, 5, 1).arrivals().take(kept.len()).eq(kept));
    }
}

#[test]
fn the_numbers_of_a_seed_are_fixed() {
    let spec = WorkloadSpec::new(Process::Gamma { rate: 1000.0, cv: 2.0 });
    let first: Vec<_> =
        workload(&spec, 3, 42).arrivals().take(5).map(|a| (a.at.0, a.model)).collect();
    let wanted = [(133_258, 2), (133_627, 2), (178_223, 2), (373_884, 2), (607_968, 1)];
    assert_eq!(first, wanted);
}

#[test]
fn another_model_changes_nothing_for_the_rest() {
    let spec = |rate| WorkloadSpec::new(Process::Gamma { rate, cv: 2.0 });
    let of_model_1 = |spec: &WorkloadSpec, models| -> Vec<Time> {
        let schedule = workload(spec, models, 7).schedule(Time::from_secs(20));
        schedule.arrivals.iter().filter(|a| a.model == 1).map(|a| a.at).collect()
    };
    assert_eq!(of_model_1(&spec(40.0), 4), of_model_1(&spec(80.0), 8));
}

#[test]
fn meaningless_processes_are_refused() {
    let refused = |process| {
        let spec = WorkloadSpec::new(process);
        Workload::new(&spec, 2, 1, &mut no_files).unwrap_err().to_string()
    };
    assert!(refused(Process::Poisson { rate: 0.0 }).contains("rate"));
    assert!(refused(Process::Poisson { rate: f64::INFINITY }).contains("rate"));
    assert!(refused(Process::Gamma { rate: 1.0, cv: -1.0 }).contains("cv"));
    assert!(refused(Process::Pareto { rate: 1.0, alpha: 1.0 }).contains("alpha"));
    assert!(refused(Process::Markov { states: Vec::new() }).contains("states"));
    let dead = vec![MarkovState { rate: 0.0, dwell: Time::from_secs(1) }];
    assert!(refused(Process::Markov { states: dead }).contains("zero"));
    let stuck = vec![Level { mu: 0.0, sigma: 0.0, stay: 1.0 }; 2];
    let levels = Levels::Markov { states: stuck };
    let every = Time::from_secs(1);
    assert!(refused(Process::Piecewise { every, levels }).contains("stay"));
    let levels = Levels::Explicit { rates: vec![0.0] };
    assert!(refused(Process::Piecewise { every, levels: levels.clone() }).contains("no load"));
    assert!(refused(Process::Piecewise { every: Time::ZERO, levels }).contains("every"));
    let none = WorkloadSpec::new(Process::Poisson { rate: 1.0 });
    assert!(Workload::new(&none, 0, 1, &mut no_files).is_err());
}
