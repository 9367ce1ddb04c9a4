//! The packer against everything there is, on problems small enough to try everything.

use crate::common::{Kind, draw, fewest, servable};
use proptest::prelude::*;
use std::collections::BTreeSet;
use sublet_packing::{
    Answer, Effort, Partition, Problem, Proof, Refusal, Rules, Schedule, check, greedy, pack,
};

fn used(problem: &Problem) -> Option<usize> {
    pack(problem, None, &Effort::default()).packing().map(|packing| packing.schedule.gpus_used())
}

#[test]
fn as_few_gpus_as_trying_everything() {
    let (mut packed, mut several) = (0, 0);
    for kind in [Kind::Calm, Kind::Linear, Kind::Table] {
        for seed in 0..40 {
            let count = 1 + (seed % 3) as usize;
            let problem = draw(seed, 3, count, kind);
            let best = fewest(&servable(&problem));
            match pack(&problem, None, &Effort::default()) {
                Answer::Packed(packing) => {
                    assert_eq!(check(&problem, &packing.schedule), [], "{kind:?} {seed}");
                    assert_eq!(Some(packing.schedule.gpus_used()), best, "{kind:?} {seed}");
                    assert_eq!(packing.proof, Proof::Exact);
                    packed += 1;
                    several += usize::from(packing.schedule.gpus_used() > 1);
                }
                Answer::Refused(_) => {
                    assert!(best.is_none_or(|best| best > count), "{kind:?} {seed}");
                }
            }
        }
    }
    assert!((40..115).contains(&packed) && several > 15, "{packed} {several}");
}

/// Without interference slack is a factor on all latencies, so that it can be looked for from outside.
#[test]
fn as_much_slack_as_there_is() {
    let mut looked = 0;
    for seed in 0..30 {
        let problem = draw(seed, 3, 3, Kind::Calm);
        let Answer::Packed(packing) = pack(&problem, None, &Effort::default()) else { continue };
        let slower = |factor: f64| {
            let mut slower = problem.clone();
            slower.rules.latency_ratio *= factor;
            fewest(&servable(&slower))
        };
        let best = Some(packing.schedule.gpus_used());
        assert_eq!(slower(1.0 + packing.slack - 1e-3), best, "{seed}");
        if packing.slack < 0.5 {
            looked += 1;
            assert_ne!(slower(1.0 + packing.slack + 1e-3), best, "{seed}");
            // The schedule itself bears it, as it stands.
            let mut slower = problem.clone();
            slower.rules.latency_ratio *= 1.0 + packing.slack - 1e-4;
            assert_eq!(check(&slower, &packing.schedule), []);
        }
    }
    assert!(looked > 5, "{looked}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn lower_rates_never_need_more(
        seed in 0u64..100_000,
        kind in prop_oneof![Just(Kind::Calm), Just(Kind::Linear), Just(Kind::Table)],
        factors in proptest::collection::vec(0.0f64..1.0, 5),
    ) {
        let tasks = if kind == Kind::Table { 3 } else { 5 };
        let problem = draw(seed, tasks, 5, kind);
        let mut lower = problem.clone();
        for (task, factor) in lower.tasks.iter_mut().zip(&factors) {
            task.rate *= factor;
        }
        if let Some(most) = used(&problem) {
            let less = used(&lower);
            prop_assert!(less.is_some_and(|less| less <= most), "{most} then {less:?}");
        }
    }

    #[test]
    fn every_schedule_of_every_method_holds(
        seed in 0u64..100_000,
        kind in prop_oneof![Just(Kind::Calm), Just(Kind::Linear)],
        pieces in 1usize..4,
    ) {
        let mut problem = draw(seed, 5, 4, kind);
        problem.rules.pieces_max = pieces;
        if let Answer::Packed(packing) = pack(&problem, None, &Effort::default()) {
            prop_assert_eq!(check(&problem, &packing.schedule), []);
            prop_assert!(packing.slack >= 0.0 && packing.schedule.gpus_used() <= 4);
        }
        problem.rules = Rules { pieces_max: 64, ..Rules::gpulet() };
        problem.gpus[0].sizes = vec![40, 60, 100];
        if problem.gpus[0].profile.latency("m0", 60, 1).is_some() {
            for aware in [false, true] {
                let mut judged = problem.clone();
                if !aware {
                    judged.gpus[0].interference = sublet_packing::Interference::None;
                }
                if let Answer::Packed(packing) = greedy(&problem, aware) {
                    prop_assert_eq!(check(&judged, &packing.schedule), []);
                }
            }
        }
    }
}

#[test]
fn a_rate_too_high_for_one_gpu_is_split_or_refused() {
    let mut problem = draw(7, 1, 6, Kind::Calm);
    problem.tasks[0].rate = 3000.0;
    let refused = pack(&problem, None, &Effort::default());
    assert!(
        matches!(&refused, Answer::Refused(Refusal::Task { task: 0, why }) if why.contains("the rules allow 1 of them")),
        "{refused:?}"
    );
    problem.rules.pieces_max = 6;
    let Answer::Packed(packing) = pack(&problem, None, &Effort::default()) else {
        panic!("it can be split")
    };
    assert_eq!(check(&problem, &packing.schedule), []);
    assert!(packing.schedule.gpus_used() > 1);
}

#[test]
fn says_how_many_gpus_are_missing() {
    let mut problem = draw(3, 4, 4, Kind::Calm);
    problem.tasks.iter_mut().for_each(|task| task.rate = 250.0);
    let needed = used(&problem).expect("four GPUs are enough");
    assert!(needed > 1);
    problem.gpus[0].count = needed - 1;
    let refused = pack(&problem, None, &Effort::default());
    assert_eq!(refused, Answer::Refused(Refusal::NeedsAtLeast { gpus: needed, given: needed - 1 }));
}

/// A random schedule of some GPUs, as a running assignment.
fn running(problem: &Problem, seed: u64) -> Schedule {
    let mut draw = fastrand::Rng::with_seed(seed);
    let count = problem.gpus[0].count;
    let mut gpus: Vec<Vec<Partition>> =
        vec![vec![Partition { size: 100, runs: Vec::new() }]; count];
    for task in 0..problem.tasks.len() {
        for gpu in gpus.iter_mut().filter(|_| draw.u8(0..3) == 0) {
            let run =
                sublet_packing::Run { task, rate: 1.0, batch: 1, duty: sublet_units::Time(1) };
            gpu[0].runs.push(run);
        }
    }
    Schedule { gpus }
}

/// The fewest moves of all ways to serve all tasks with so many of the GPUs.
fn fewest_moves(
    servable: &[bool],
    holding: &[BTreeSet<usize>],
    tasks: usize,
    gpus: usize,
) -> usize {
    let ways = crate::common::every(holding.len(), tasks);
    let moves = ways.iter().filter_map(|gpu_of| {
        let mut mask_of = vec![0usize; holding.len()];
        gpu_of.iter().enumerate().for_each(|(task, gpu)| mask_of[*gpu] |= 1 << task);
        let fits = mask_of.iter().all(|mask| servable[*mask]);
        let few = mask_of.iter().filter(|mask| **mask != 0).count() == gpus;
        let moved = gpu_of.iter().enumerate().filter(|(task, gpu)| !holding[**gpu].contains(task));
        (fits && few).then(|| moved.count())
    });
    moves.min().expect("it was packed")
}

#[test]
fn as_little_movement_as_trying_everything() {
    let effort = Effort { slack_step: 100.0, ..Effort::default() };
    let mut compared = 0;
    for seed in 0..30 {
        let problem = draw(seed, 3, 4, Kind::Linear);
        let now = running(&problem, seed + 1000);
        let Answer::Packed(packing) = pack(&problem, Some(&now), &effort) else { continue };
        assert_eq!(check(&problem, &packing.schedule), []);
        let holding: Vec<BTreeSet<usize>> = now
            .gpus
            .iter()
            .map(|gpu| gpu.iter().flat_map(|part| part.runs.iter().map(|run| run.task)).collect())
            .collect();
        let best = fewest_moves(&servable(&problem), &holding, 3, packing.schedule.gpus_used());
        assert_eq!(packing.moves, best, "{seed}");
        // What runs already does not move again.
        let Answer::Packed(again) = pack(&problem, Some(&packing.schedule), &effort) else {
            panic!()
        };
        assert_eq!(again.moves, 0);
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}

#[test]
fn large_sets_are_packed_with_a_bound_that_holds() {
    for (seed, kind) in [(1, Kind::Calm), (2, Kind::Linear)] {
        let mut problem = draw(seed, 30, 60, kind);
        problem.rules.partitions_max = 2;
        problem.rules.models_max = 3;
        problem.tasks.iter_mut().for_each(|task| task.rate *= 0.3);
        let Answer::Packed(packing) =
            pack(&problem, None, &Effort { rounds: 20, ..Effort::default() })
        else {
            panic!("sixty GPUs are enough")
        };
        assert_eq!(check(&problem, &packing.schedule), []);
        let used = packing.schedule.gpus_used();
        assert!(used < 30, "{used}");
        if let Proof::AtLeast(least) = packing.proof {
            assert!(least >= 1 && least < used, "{least} {used}");
        }
    }
}

/// The search for large sets and the exact one answer the same question: the first is never better.
#[test]
fn the_search_is_never_better_than_exact_and_its_bound_never_higher() {
    let mut equal = 0;
    let mut compared = 0;
    for seed in 0..20 {
        let problem = draw(seed, 7, 7, Kind::Linear);
        let exact = pack(&problem, None, &Effort::default());
        let search =
            pack(&problem, None, &Effort { exact_items: 0, rounds: 50, ..Effort::default() });
        let (Answer::Packed(exact), Answer::Packed(search)) = (exact, search) else { continue };
        assert_eq!(check(&problem, &search.schedule), []);
        let (best, found) = (exact.schedule.gpus_used(), search.schedule.gpus_used());
        assert!(found >= best);
        if let Proof::AtLeast(least) = search.proof {
            assert!(least <= best);
        } else {
            assert_eq!(found, best);
        }
        compared += 1;
        equal += usize::from(found == best);
    }
    assert!(compared > 5 && equal * 10 >= compared * 8, "{equal} of {compared}");
}

#[test]
fn two_kinds_of_gpus_are_both_used_and_neither_overdrawn() {
    let mut mixed = 0;
    for seed in 0..40 {
        let mut problem = draw(seed, 4, 1, Kind::Linear);
        let mut slower = problem.gpus[0].clone();
        slower.name = "other".into();
        slower.count = 2;
        problem.gpus.push(slower);
        let three = {
            let mut alike = problem.clone();
            alike.gpus.truncate(1);
            alike.gpus[0].count = 3;
            used(&alike)
        };
        // Both kinds are equal here, so that the answer is known.
        assert_eq!(used(&problem), three, "{seed}");
        let Answer::Packed(packing) = pack(&problem, None, &Effort::default()) else { continue };
        assert_eq!(check(&problem, &packing.schedule), []);
        mixed += usize::from(packing.schedule.gpus_used() > 1);
    }
    assert!(mixed > 3, "{mixed}");
}
