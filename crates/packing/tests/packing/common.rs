//! Small random problems, and their best answers by trying everything.

use std::collections::BTreeMap;
use sublet_packing::{
    Gpus, Interference, Linear, PairTable, Partition, Problem, Profile, Rules, Run, Schedule, Task,
    Utilisation, check,
};
use sublet_units::{Bytes, Time};

pub const BATCHES: [u32; 3] = [1, 4, 16];

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Calm,
    Linear,
    Table,
}

/// A problem of `tasks` models on `gpus` GPUs, from a seed. Loads are such that a model needs between a tenth of a GPU and
/// more than one.
pub fn draw(seed: u64, tasks: usize, gpus: usize, kind: Kind) -> Problem {
    let mut draw = fastrand::Rng::with_seed(seed);
    let sizes: Vec<u32> = if draw.bool() { vec![40, 60, 100] } else { vec![20, 50, 80, 100] };
    let mut profile = Profile::default();
    let mut asked = Vec::new();
    let mut memory = BTreeMap::new();
    for index in 0..tasks {
        let name = format!("m{index}");
        let (fixed, each) = (1.0 + 4.0 * draw.f64(), 0.2 + draw.f64());
        for &size in &sizes {
            for batch in BATCHES {
                let noise = 0.95 + 0.1 * draw.f64();
                let ms = noise * (fixed + each * f64::from(batch) * 100.0 / f64::from(size));
                profile.add_latency(&name, size, batch, Time((ms * 1e6) as u64)).unwrap();
                let used = Utilisation { l2: 0.5 * draw.f64(), dram: 0.6 * draw.f64() };
                profile.add_utilisation(&name, Some(size), batch, used).unwrap();
            }
        }
        let slo = Time(((12.0 + 60.0 * draw.f64()) * 1e6) as u64);
        asked.push(Task { model: name.clone(), rate: 20.0 + 600.0 * draw.f64(), slo });
        memory.insert(name, Bytes::from_mib(draw.u64(1..5)));
    }
    let interference = match kind {
        Kind::Calm => Interference::None,
        Kind::Linear => Interference::Linear(
            Linear::new([0.2, 0.7, 0.3, 0.2, 0.85 + 0.2 * draw.f64()]).unwrap(),
        ),
        Kind::Table => Interference::Table(pairs(&mut draw, &profile, &sizes)),
    };
    let gpus = Gpus {
        name: "gpu".into(),
        count: gpus,
        whole: 100,
        sizes,
        memory: Bytes::from_mib(draw.u64(4..14)),
        profile,
        interference,
    };
    let complementary = draw.bool();
    let partitions_max = if kind == Kind::Table || complementary { 2 } else { draw.usize(1..4) };
    let rules = Rules {
        partitions_max,
        models_max: draw.usize(1..4),
        complementary,
        raise_rates: draw.bool(),
        ..Rules::gpulet()
    };
    Problem::new(asked, vec![gpus], rules, memory).unwrap()
}

fn pairs(draw: &mut fastrand::Rng, profile: &Profile, sizes: &[u32]) -> PairTable {
    let mut table = PairTable::default();
    let models: Vec<&str> = profile.models().collect();
    for model in &models {
        for other in &models {
            for batch in BATCHES {
                for &size in sizes {
                    for other_batch in BATCHES {
                        let factor = 0.95 + 0.5 * draw.f64();
                        table.add((model, batch, size), (other, other_batch), factor).unwrap();
                    }
                }
            }
        }
    }
    table
}

/// By set of tasks: whether one GPU can serve it, found by trying all divisions, sizes and batches with the checker.
pub fn servable(problem: &Problem) -> Vec<bool> {
    let masks = 1usize << problem.tasks.len();
    let mut found = vec![true; masks];
    for (mask, found) in found.iter_mut().enumerate().skip(1) {
        let tasks: Vec<usize> =
            (0..problem.tasks.len()).filter(|task| mask >> task & 1 == 1).collect();
        *found = divisions(problem, &tasks);
    }
    found
}

/// The fewest GPUs that a division of the tasks into servable sets needs.
pub fn fewest(servable: &[bool]) -> Option<usize> {
    let mut best: Vec<Option<usize>> = vec![None; servable.len()];
    best[0] = Some(0);
    for mask in 1..servable.len() {
        for group in (1..=mask).filter(|group| group & mask == *group && servable[*group]) {
            if let Some(rest) = best[mask & !group] {
                best[mask] = Some(best[mask].map_or(rest + 1, |used| used.min(rest + 1)));
            }
        }
    }
    best[servable.len() - 1]
}

fn divisions(problem: &Problem, tasks: &[usize]) -> bool {
    let parts_max = problem.rules.partitions_max.min(tasks.len());
    (1..=parts_max).any(|parts| {
        every(parts, tasks.len()).into_iter().any(|part_of| {
            let used = (0..parts).all(|part| part_of.contains(&part));
            used && sizes_and_batches(problem, tasks, &part_of, parts)
        })
    })
}

fn sizes_and_batches(problem: &Problem, tasks: &[usize], part_of: &[usize], parts: usize) -> bool {
    let sizes = &problem.gpus[0].sizes;
    let alone = alone(problem, tasks);
    every(sizes.len(), parts).into_iter().any(|size_of| {
        let taken: u32 = size_of.iter().map(|size| sizes[*size]).sum();
        taken <= 100
            && every(BATCHES.len(), tasks.len()).into_iter().any(|batch_of| {
                let partitions = (0..parts)
                    .map(|part| Partition {
                        size: sizes[size_of[part]],
                        runs: (0..tasks.len())
                            .filter(|index| part_of[*index] == part)
                            .map(|index| Run {
                                task: tasks[index],
                                rate: problem.rate(tasks[index]),
                                batch: BATCHES[batch_of[index]],
                                duty: Time(1),
                            })
                            .collect(),
                    })
                    .collect();
                holds(&alone, partitions)
            })
    })
}

/// The same problem with one GPU and nothing else to serve.
pub fn alone(problem: &Problem, tasks: &[usize]) -> Problem {
    let mut alone = problem.clone();
    alone.gpus[0].count = 1;
    for (index, task) in alone.tasks.iter_mut().enumerate() {
        if !tasks.contains(&index) {
            task.rate = 0.0;
        }
    }
    alone
}

/// Whether the partitions hold with the longest duty cycles that rates and SLOs allow. What is too late at a cycle of a
/// nanosecond tells how long the burst is.
fn holds(problem: &Problem, partitions: Vec<Partition>) -> bool {
    use sublet_packing::Violation;
    let mut schedule = Schedule { gpus: vec![partitions] };
    // The longest cycle that fills the batch; then as much less as it is too late.
    for run in schedule.gpus.iter_mut().flatten().flat_map(|partition| &mut partition.runs) {
        run.duty = Time((1e9 * f64::from(run.batch) / run.rate) as u64);
    }
    for violation in check(problem, &schedule) {
        if let Violation::Slo { place, task, worst_ms, slo_ms } = violation {
            let runs = &mut schedule.gpus[0][place.partition].runs;
            let run = runs.iter_mut().find(|run| run.task == task).unwrap();
            run.duty = run.duty.saturating_sub(Time(((worst_ms - slo_ms) * 1e6) as u64));
        }
    }
    check(problem, &schedule).is_empty()
}

/// All sequences of `length` numbers below `base`.
pub fn every(base: usize, length: usize) -> Vec<Vec<usize>> {
    let count = base.pow(length as u32);
    (0..count)
        .map(|number| (0..length).map(|place| number / base.pow(place as u32) % base).collect())
        .collect()
}
