//! The fuzzer over few seeds, its canaries, and a policy that starves. `cargo xtask simtest` runs many seeds.

use sublet_sched::{Config, Order, Policy, Preset, Request, Urgency, Work};
use sublet_sim::Violation;
use sublet_sim::fuzz::{Draw, Fault, Fuzz, Report, Tally};
use sublet_units::Time;

const SLO: Time = Time::from_millis(500);

fn fuzz(preset: Preset, seed: u64, fault: Fault) -> Result<Report, Violation> {
    Fuzz::random(preset, seed, fault).run()
}

#[test]
fn every_preset_keeps_every_promise() {
    for preset in Preset::ALL {
        let mut total = Tally::default();
        for seed in 0..60 {
            let report = fuzz(preset, seed, Fault::None);
            total += report.unwrap_or_else(|why| panic!("{preset:?}, seed {seed}: {why}")).tally;
        }
        assert_eq!(total.uncovered(20), [], "{preset:?}: {total:?}");
    }
}

/// Worlds in which a scheduler once left requests waiting, never came to rest, or lost count.
#[test]
fn worlds_that_failed_once_fail_no_more() {
    let failed: [(Preset, &[u64]); 5] = [
        (Preset::FifoLru, &[1824]),
        (Preset::DeepPlanServer, &[951, 971, 1809, 2148, 3827, 16540, 16829, 18560, 19843]),
        (Preset::Gpulet, &[236, 248]),
        (Preset::Sublet, &[62, 66, 110, 115, 163, 175, 236, 323, 364, 376]),
        (Preset::Torpor, &[257]),
    ];
    for (preset, seeds) in failed {
        for &seed in seeds {
            let report = fuzz(preset, seed, Fault::None);
            assert!(report.is_ok(), "{preset:?}, seed {seed}: {report:?}");
        }
    }
}

/// Only pinned models are loaded by other presets before somebody asks for them.
#[test]
fn worlds_with_regular_requests_make_sublet_load_ahead() {
    let ahead = |preset| -> u64 {
        let seeds = (6..200).step_by(9);
        seeds.map(|seed| fuzz(preset, seed, Fault::None).unwrap().tally.ahead_loads).sum()
    };
    let (sublet, fifo) = (ahead(Preset::Sublet), ahead(Preset::FifoLru));
    assert!(sublet > fifo + 20, "{sublet} loads ahead, {fifo} of pinned models");
}

#[test]
fn a_seed_replays_bit_for_bit() {
    for preset in Preset::ALL {
        let reports = |seeds: std::ops::Range<u64>| {
            seeds.map(|seed| fuzz(preset, seed, Fault::None)).collect::<Vec<_>>()
        };
        assert_eq!(reports(0..10), reports(0..10), "{preset:?}");
        assert_ne!(reports(0..1), reports(1..2));
    }
}

/// Each broken scheduler or machine must be caught, or the checks above are worth nothing.
#[test]
fn canaries_are_caught() {
    for (fault, expected) in Fault::CASES {
        let mut caught = 0;
        for seed in 0..20 {
            match fuzz(Preset::Sublet, seed, fault) {
                Ok(report) => {
                    assert_eq!(report.tally.tampered, 0, "{fault:?} passed with seed {seed}");
                }
                Err(Violation { what, .. }) => {
                    caught += 1;
                    let is_expected = expected.iter().any(|part| what.contains(part));
                    assert!(is_expected, "{fault:?}, seed {seed}: {what}");
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
        policy: Policy { order: Box::new(Favourite), ..Policy::new(Preset::Sublet) },
        ..Config::new(Preset::Sublet, SLO)
    };
    for seed in 0..3 {
        let fuzz = |config| Fuzz::new(config, Draw::saturating(seed), Fault::None);
        let error = fuzz(unfair()).within(SLO * 10).run().unwrap_err().to_string();
        assert!(error.contains("waited"), "{error}");
        for preset in Preset::ALL {
            let fair = fuzz(Config::new(preset, SLO)).run();
            assert!(fair.is_ok(), "{preset:?}, seed {seed}: {fair:?}");
        }
    }
}
