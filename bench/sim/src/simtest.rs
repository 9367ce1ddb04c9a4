//! The fuzzer over many seeds: checkers, repeated hashes, coverage, and canaries that must fail.

use anyhow::{Result, bail};
use rayon::prelude::*;
use std::ops::Range;
use std::time::Instant;
use sublet_sched::Preset;
use sublet_sim::Violation;
use sublet_sim::fuzz::{Fault, Fuzz, Report, Tally};

/// Every so many seeds, a world is run twice.
const REPEATED: u64 = 10;

/// Seeds for which each canary is tried.
const CANARY_SEEDS: u64 = 20;

/// Failures that are shown.
const SHOWN: usize = 20;

/// What one preset came to over all seeds.
#[derive(Default)]
struct Sum {
    hash: u64,
    steps: u64,
    repeated: u64,
    tally: Tally,
    failures: Vec<(u64, String)>,
}

pub fn run(seeds: Range<u64>, presets: &[Preset]) -> Result<()> {
    let all = Preset::ALL;
    let presets = if presets.is_empty() { &all[..] } else { presets };
    let began = Instant::now();
    let (mut failures, mut hash, mut steps) = (0, 0u64, 0);
    for &preset in presets {
        let sum = seeds
            .clone()
            .into_par_iter()
            .fold(Sum::default, |sum, seed| sum.with(preset, seed))
            .reduce(Sum::default, Sum::and);
        for (seed, what) in sum.failures.iter().take(SHOWN) {
            println!("{preset}, seed {seed}: {what}");
        }
        let uncovered = match seeds.end - seeds.start {
            0..200 => Vec::new(),
            count => sum.tally.uncovered(count / 2),
        };
        for (name, count) in &uncovered {
            println!("{preset}: only {count} {name}");
        }
        println!(
            "{preset}: {} requests, {} runs, {} cold, {} loads ({} from peers, {} ahead), {} evictions, {} failed loads, \
             {} lost devices, {} events, {} worlds repeated, hash {:016x}",
            sum.tally.requests,
            sum.tally.runs,
            sum.tally.cold,
            sum.tally.loads,
            sum.tally.peer_loads,
            sum.tally.ahead_loads,
            sum.tally.evictions,
            sum.tally.failed_loads,
            sum.tally.lost_devices,
            sum.steps,
            sum.repeated,
            sum.hash,
        );
        failures += sum.failures.len() + uncovered.len();
        hash = hash.rotate_left(7) ^ sum.hash;
        steps += sum.steps;
    }
    let canaries = canaries()?;
    println!(
        "simtest: seeds {} presets {} failures {failures} canary failed {canaries} hash {hash:016x} ({steps} events in {:.1} s)",
        seeds.end - seeds.start,
        presets.len(),
        began.elapsed().as_secs_f64(),
    );
    if failures > 0 {
        bail!("{failures} failures");
    }
    Ok(())
}

impl Sum {
    fn with(mut self, preset: Preset, seed: u64) -> Self {
        match world(preset, seed, Fault::None) {
            Ok(report) => {
                self.hash ^= report.hash;
                self.steps += report.steps;
                self.tally += report.tally;
                if seed.is_multiple_of(REPEATED) {
                    self.repeated += 1;
                    if world(preset, seed, Fault::None).as_ref() != Ok(&report) {
                        self.failures.push((seed, "does not repeat".into()));
                    }
                }
            }
            Err(what) => self.failures.push((seed, what)),
        }
        self
    }

    fn and(mut self, other: Sum) -> Self {
        self.hash ^= other.hash;
        self.steps += other.steps;
        self.repeated += other.repeated;
        self.tally += other.tally;
        self.failures.extend(other.failures);
        self.failures.sort_unstable();
        self
    }
}

/// One world; a panic of the scheduler is a failure like any other.
fn world(preset: Preset, seed: u64, fault: Fault) -> Result<Report, String> {
    let run = || Fuzz::random(preset, seed, fault).run();
    match std::panic::catch_unwind(run) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(violation)) => Err(violation.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// Every broken scheduler and machine is noticed, for the right reason. Returns how many there are.
fn canaries() -> Result<usize> {
    for (fault, expected) in Fault::CASES {
        let mut caught = 0;
        for seed in 0..CANARY_SEEDS {
            match Fuzz::random(Preset::Sublet, seed, fault).run() {
                Ok(report) if report.tally.tampered > 0 => {
                    bail!("the canary {fault:?} passed with seed {seed}");
                }
                Ok(_) => {}
                Err(Violation { what, .. }) => {
                    caught += 1;
                    if !expected.iter().any(|part| what.contains(part)) {
                        bail!("the canary {fault:?} with seed {seed} failed with: {what}");
                    }
                }
            }
        }
        if caught == 0 {
            bail!("the canary {fault:?} was never noticed");
        }
    }
    Ok(Fault::CASES.len())
}
