//! The scheduler under a small simulation: random work and random faults, then a phase without faults in which
//! everything must finish, with a checker that looks at every command.
//!
//! `SUBLET_SIM_SEEDS=10000` runs more seeds; `SUBLET_SIM_SEED=42` runs one.

mod checker;
mod log;
mod workload;
mod world;

use std::env;
use std::fmt;
use sublet_sched::{Batching, Config, Order, Preset, Request, Urgency, Work};
use sublet_units::Time;
use workload::Workload;
use world::{Fault, World};

const SLO: Time = Time::from_millis(500);

/// Prints the seed when a simulation panics.
struct Announce<T: fmt::Debug>(T);

impl<T: fmt::Debug> Drop for Announce<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation of {:?} failed", self.0);
        }
    }
}

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SUBLET_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SUBLET_SIM_SEEDS").unwrap_or(default)).collect(),
    }
}

fn simulate(preset: Preset, seed: u64) -> Result<world::Report, String> {
    World::new(Config::new(preset, SLO), Workload::random(seed), Fault::None).run()
}

fn check_all(preset: Preset) {
    let mut total = world::Report::default();
    for seed in seeds(200) {
        let _announce = Announce((preset, seed));
        match simulate(preset, seed) {
            Ok(report) => total += report,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    println!("{preset:?}: {total:?}");
    let batches = !matches!(preset, Preset::Torpor | Preset::DeepPlanServer);
    if seeds(200).len() >= 100 && batches {
        total.assert_covered();
    }
}

#[test]
fn fifo_lru_keeps_every_promise() {
    check_all(Preset::FifoLru);
}

#[test]
fn sublet_keeps_every_promise() {
    check_all(Preset::Sublet);
}

#[test]
fn torpor_keeps_every_promise() {
    check_all(Preset::Torpor);
}

#[test]
fn deepplan_server_keeps_every_promise() {
    check_all(Preset::DeepPlanServer);
}

#[test]
fn gpulet_keeps_every_promise() {
    check_all(Preset::Gpulet);
}

#[test]
fn a_seed_replays_bit_for_bit() {
    for preset in Preset::ALL {
        for seed in seeds(10) {
            let hash = || simulate(preset, seed).map(|report| report.hash);
            assert_eq!(hash(), hash(), "{preset:?} seed {seed}");
        }
    }
}

/// Each broken scheduler must be caught, or the checks above are worth nothing.
#[test]
fn canaries_are_caught() {
    let cases = [
        (Fault::EvictBusy, "in use"),
        (Fault::SwallowLoad, "made room for nobody|without its weights|never ended|in flight"),
        (Fault::AnswerTwice, "while it runs"),
        (Fault::SwallowReject, "queue's length"),
        (Fault::SwallowRun, "queue's length"),
        (Fault::SharePages, "has it"),
        (Fault::GoneTwice, "goes twice"),
    ];
    for (fault, expected) in cases {
        let mut caught = 0;
        for seed in 0..20 {
            let config = Config::new(Preset::Sublet, SLO);
            match World::new(config, Workload::random(seed), fault).run() {
                Ok(report) => assert_eq!(report.tampered, 0, "{fault:?} passed with seed {seed}"),
                Err(error) => {
                    caught += 1;
                    let is_expected = expected.split('|').any(|part| error.contains(part));
                    assert!(is_expected, "{fault:?}, seed {seed}: {error}");
                }
            }
        }
        assert!(caught > 0, "{fault:?} never happened");
    }
}

/// One model always first, without patience: the other's request waits until all is over.
#[test]
fn an_unfair_policy_is_caught() {
    struct Favourite;
    impl Order for Favourite {
        fn request(&self, request: &Request, arrived: Time, _: Time) -> Urgency {
            Urgency { class: 9 - request.model.0, when: arrived }
        }
        fn model(&self, work: &Work) -> Urgency {
            work.first
        }
    }
    let unfair = || Config {
        patience: Time::MAX,
        policy: sublet_sched::Policy {
            order: Box::new(Favourite),
            ..sublet_sched::Policy::new(Preset::Sublet)
        },
        ..Config::new(Preset::Sublet, SLO)
    };
    for seed in 0..3 {
        let _announce = Announce(seed);
        let run = |config| World::new(config, Workload::saturating(seed), Fault::None).run();
        let error = run(unfair()).unwrap_err();
        assert!(error.contains("waited"), "{error}");
        for preset in [Preset::FifoLru, Preset::Sublet] {
            run(Config::new(preset, SLO)).expect("the same work is served fairly by a preset");
        }
    }
}

/// The knobs of a batch, for the workload and the checker.
fn batching(rows_max: u32, delay_max: Time) -> Option<Batching> {
    Some(Batching { rows_max, delay_max })
}
