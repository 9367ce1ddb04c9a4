//! Verifies a schedule from the definitions, knowing nothing of how it was made.
//!
//! Written apart from the solvers: it reads only the problem, the profile's points and the schedule, and finds every
//! violation, each with its place.

use crate::{Gpus, Interference, Partition, Problem, Run, Schedule};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use sublet_units::{Bytes, Time};

/// A partition of a GPU, by number and by order on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub gpu: usize,
    pub partition: usize,
}

/// What a schedule breaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Violation {
    /// The schedule is for another number of GPUs.
    GpuCount {
        scheduled: usize,
        given: usize,
    },
    /// The device does not allow this size.
    Size {
        place: Place,
        size: u32,
    },
    /// Partitions take more than the GPU, or do not divide it as the rules demand.
    Sum {
        gpu: usize,
        taken: u32,
        whole: u32,
    },
    PartitionCount {
        gpu: usize,
        partitions: usize,
    },
    ModelCount {
        place: Place,
        models: usize,
    },
    EmptyPartition {
        place: Place,
    },
    /// A run of a task that does not exist, or that serves no rate.
    Run {
        place: Place,
        task: usize,
    },
    /// The profile has no such point.
    Unmeasured {
        place: Place,
        task: usize,
        batch: u32,
    },
    Memory {
        gpu: usize,
        needed: Bytes,
        given: Bytes,
    },
    /// More requests arrive in a duty cycle than the batch takes.
    Batch {
        place: Place,
        task: usize,
        arriving: f64,
        batch: u32,
    },
    /// The runs need more time than there is: `Σ L/d` is more than 1.
    Load {
        place: Place,
        load: f64,
    },
    /// `Σ L + d` is more than the SLO.
    Slo {
        place: Place,
        task: usize,
        worst_ms: f64,
        slo_ms: f64,
    },
    /// A task's runs together serve less than its rate.
    Rate {
        task: usize,
        served: f64,
        asked: f64,
    },
    /// A task is on more partitions than the rules allow.
    Pieces {
        task: usize,
        pieces: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU {}, partition {}", self.gpu, self.partition)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::GpuCount { scheduled, given } => {
                write!(f, "the schedule is for {scheduled} GPUs, but there are {given}")
            }
            Violation::Size { place, size } => {
                write!(f, "{place}: the device has no partition of {size}")
            }
            Violation::Sum { gpu, taken, whole } => {
                write!(f, "GPU {gpu}: its partitions make up {taken} of {whole}")
            }
            Violation::PartitionCount { gpu, partitions } => {
                write!(f, "GPU {gpu}: {partitions} partitions are more than the rules allow")
            }
            Violation::ModelCount { place, models } => {
                write!(f, "{place}: {models} models are more than the rules allow")
            }
            Violation::EmptyPartition { place } => write!(f, "{place}: it runs nothing"),
            Violation::Run { place, task } => {
                write!(f, "{place}: task {task} does not exist, or the run serves no rate")
            }
            Violation::Unmeasured { place, task, batch } => {
                write!(f, "{place}: task {task} was not measured at batch {batch}")
            }
            Violation::Memory { gpu, needed, given } => {
                write!(f, "GPU {gpu}: its models need {needed} of {given}")
            }
            Violation::Batch { place, task, arriving, batch } => write!(
                f,
                "{place}: {arriving:.3} requests of task {task} arrive in a duty cycle, for a batch of {batch}"
            ),
            Violation::Load { place, load } => {
                write!(f, "{place}: its runs need {:.2} % of the time", load * 100.0)
            }
            Violation::Slo { place, task, worst_ms, slo_ms } => {
                write!(
                    f,
                    "{place}: task {task} takes up to {worst_ms:.3} ms, more than {slo_ms:.3} ms"
                )
            }
            Violation::Rate { task, served, asked } => {
                write!(f, "task {task} is served at {served:.3} of {asked:.3} requests per second")
            }
            Violation::Pieces { task, pieces } => {
                write!(f, "task {task} is on {pieces} partitions, more than the rules allow")
            }
        }
    }
}

/// Rounding that is forgiven: duty cycles are whole nanoseconds, and rates are sums.
const FORGIVEN: f64 = 1e-6;

/// Every violation of a schedule; none means that it holds.
pub fn check(problem: &Problem, schedule: &Schedule) -> Vec<Violation> {
    let mut found = Vec::new();
    let given: usize = problem.gpus.iter().map(|gpus| gpus.count).sum();
    if schedule.gpus.len() != given {
        return vec![Violation::GpuCount { scheduled: schedule.gpus.len(), given }];
    }
    let mut number = 0;
    for gpus in &problem.gpus {
        for _ in 0..gpus.count {
            check_gpu(problem, gpus, number, &schedule.gpus[number], &mut found);
            number += 1;
        }
    }
    check_rates(problem, schedule, &mut found);
    found
}

fn check_gpu(
    problem: &Problem,
    gpus: &Gpus,
    gpu: usize,
    partitions: &[Partition],
    found: &mut Vec<Violation>,
) {
    let rules = &problem.rules;
    if partitions.len() > rules.partitions_max {
        found.push(Violation::PartitionCount { gpu, partitions: partitions.len() });
    }
    let taken = partitions.iter().fold(0u32, |sum, partition| sum.saturating_add(partition.size));
    let divided = !rules.complementary || partitions.len() != 2 || taken == gpus.whole;
    if taken > gpus.whole || !divided {
        found.push(Violation::Sum { gpu, taken, whole: gpus.whole });
    }
    let runs = partitions.iter().flat_map(|partition| &partition.runs);
    let models: BTreeSet<&str> = runs
        .filter_map(|run| problem.tasks.get(run.task))
        .map(|task| task.model.as_str())
        .collect();
    let bytes = models.iter().filter_map(|model| problem.memory.get(*model)).map(|bytes| bytes.0);
    let needed = Bytes(bytes.fold(0, u64::saturating_add));
    if needed > gpus.memory {
        found.push(Violation::Memory { gpu, needed, given: gpus.memory });
    }
    for (index, partition) in partitions.iter().enumerate() {
        let place = Place { gpu, partition: index };
        if !gpus.sizes.contains(&partition.size) {
            found.push(Violation::Size { place, size: partition.size });
        }
        if partition.runs.is_empty() {
            found.push(Violation::EmptyPartition { place });
        }
        if partition.runs.len() > rules.models_max {
            found.push(Violation::ModelCount { place, models: partition.runs.len() });
        }
        let neighbours: Vec<&Partition> = partitions
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, partition)| partition)
            .collect();
        check_partition(problem, gpus, place, partition, &neighbours, found);
    }
}

/// The runs of one partition: known, measured, keeping up, and in time although their neighbours disturb them.
fn check_partition(
    problem: &Problem,
    gpus: &Gpus,
    place: Place,
    partition: &Partition,
    neighbours: &[&Partition],
    found: &mut Vec<Violation>,
) {
    let mut measured: Vec<(&Run, f64)> = Vec::new();
    for run in &partition.runs {
        let Some(task) =
            problem.tasks.get(run.task).filter(|_| run.rate > 0.0 && run.rate.is_finite())
        else {
            found.push(Violation::Run { place, task: run.task });
            continue;
        };
        let alone = gpus.profile.latency(&task.model, partition.size, run.batch);
        let slowed = slowdown(problem, gpus, run, partition.size, neighbours);
        let (Some(alone), Some(slowed)) = (alone, slowed) else {
            found.push(Violation::Unmeasured { place, task: run.task, batch: run.batch });
            continue;
        };
        measured.push((run, alone.as_millis_f64() * problem.rules.latency_ratio * slowed));
        let arriving = run.rate * run.duty.as_secs_f64();
        if arriving > f64::from(run.batch) * (1.0 + FORGIVEN) {
            found.push(Violation::Batch { place, task: run.task, arriving, batch: run.batch });
        }
    }
    let burst: f64 = measured.iter().map(|(_, latency)| latency).sum();
    let mut load = 0.0;
    for (run, latency) in &measured {
        load +=
            if run.duty == Time::ZERO { f64::INFINITY } else { latency / run.duty.as_millis_f64() };
        let worst_ms = burst + run.duty.as_millis_f64();
        let slo_ms = problem.tasks[run.task].slo.as_millis_f64() * problem.rules.slo_ratio;
        if worst_ms > slo_ms * (1.0 + FORGIVEN) {
            found.push(Violation::Slo { place, task: run.task, worst_ms, slo_ms });
        }
    }
    if load > 1.0 + FORGIVEN {
        found.push(Violation::Load { place, load });
    }
}

/// How much slower a run is because of the GPU's other partitions; `None` where that was not measured.
fn slowdown(
    problem: &Problem,
    gpus: &Gpus,
    run: &Run,
    size: u32,
    neighbours: &[&Partition],
) -> Option<f64> {
    if neighbours.is_empty() {
        return Some(1.0);
    }
    let name = |run: &Run| problem.tasks.get(run.task).map(|task| task.model.as_str());
    let model = name(run)?;
    match &gpus.interference {
        Interference::None => Some(1.0),
        Interference::Linear(linear) => {
            let used = gpus.profile.utilisation(model, size, gpus.whole, run.batch)?;
            let mut factor =
                linear.constant + linear.l2_self * used.l2 + linear.dram_self * used.dram;
            for neighbour in neighbours {
                let mut worst = f64::NEG_INFINITY;
                for other in &neighbour.runs {
                    let used = gpus.profile.utilisation(
                        name(other)?,
                        neighbour.size,
                        gpus.whole,
                        other.batch,
                    )?;
                    worst = worst.max(linear.l2_other * used.l2 + linear.dram_other * used.dram);
                }
                factor += if neighbour.runs.is_empty() { 0.0 } else { worst };
            }
            Some(factor.max(1.0))
        }
        Interference::Table(table) => {
            let mut worst: f64 = 1.0;
            for other in neighbours.iter().flat_map(|neighbour| &neighbour.runs) {
                worst =
                    worst.max(table.get((model, run.batch, size), (name(other)?, other.batch))?);
            }
            Some(worst)
        }
    }
}

/// Every task with a rate is served, on no more partitions than allowed.
fn check_rates(problem: &Problem, schedule: &Schedule, found: &mut Vec<Violation>) {
    let mut served: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
    for run in schedule.gpus.iter().flatten().flat_map(|partition| &partition.runs) {
        let entry = served.entry(run.task).or_default();
        *entry = (entry.0 + run.rate, entry.1 + 1);
    }
    for task in 0..problem.tasks.len() {
        let (rate, pieces) = served.get(&task).copied().unwrap_or_default();
        let asked = problem.rate(task);
        if rate < asked * (1.0 - FORGIVEN) {
            found.push(Violation::Rate { task, served: rate, asked });
        }
        if pieces > problem.rules.pieces_max {
            found.push(Violation::Pieces { task, pieces });
        }
    }
}
