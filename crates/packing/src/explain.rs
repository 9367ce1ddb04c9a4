//! Why a schedule looks as it does: for each partition what its runs need, and what other sizes would have meant.

use crate::bearing::{Member, SLACK_MAX, bears, load};
use crate::choices::{self, Choice, Item, Options};
use crate::group::{self, Range};
use crate::{Gpus, Interference, Partition, Problem, Run, Schedule};

/// A run with what is predicted of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedRun {
    pub run: Run,
    /// Latency of its batch alone on this partition.
    pub alone_ms: f64,
    /// Predicted slowdown by the GPU's other partitions.
    pub slowdown: f64,
    /// The longest that a request can take: gathering, the other models' runs, its own.
    pub worst_ms: f64,
    pub slo_ms: f64,
}

/// A partition with what is predicted of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedPartition {
    pub gpu: usize,
    pub size: u32,
    pub runs: Vec<ExplainedRun>,
    /// Share of the time that its runs take.
    pub load: f64,
    /// Slowdown that it bears beyond the predicted one; at most 0.5 is told apart.
    pub slack: f64,
    /// What each other size that the device allows would mean for the same models, smallest first.
    pub others: Vec<(u32, Other)>,
}

/// What another partition size would mean.
#[derive(Clone, Debug, PartialEq)]
pub enum Other {
    /// It serves them too, and then bears this much beyond the predicted slowdown.
    Slack(f64),
    /// Even alone and with its quickest batches, this task can take longer than its SLO.
    TooSlow { task: usize, least_ms: f64, slo_ms: f64 },
    /// Alone, no batch of this task both keeps up with its rate and meets its SLO.
    TooMuch { task: usize },
    /// Each model fits alone, but not together: their runs take at least this share of the time.
    Together { load: f64 },
}

/// Explains every partition of a schedule that holds.
pub fn explain(problem: &Problem, schedule: &Schedule) -> Vec<ExplainedPartition> {
    let kinds = problem.kinds();
    let mut explained = Vec::new();
    for (gpu, partitions) in schedule.gpus.iter().enumerate() {
        for index in 0..partitions.len() {
            explained.push(partition(problem, kinds[gpu], gpu, partitions, index));
        }
    }
    explained
}

fn partition(
    problem: &Problem,
    kind: usize,
    gpu: usize,
    partitions: &[Partition],
    index: usize,
) -> ExplainedPartition {
    let own = &partitions[index];
    let gpus = &problem.gpus[kind];
    let neighbours: Vec<&Partition> = partitions
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
        .map(|(_, other)| other)
        .collect();
    let members: Vec<Member> = own
        .runs
        .iter()
        .map(|run| Member {
            alone: problem.latency(kind, run.task, own.size, run.batch).unwrap_or(f64::INFINITY),
            cycle: 1000.0 * f64::from(run.batch) / run.rate,
            slo: problem.slo(run.task).as_millis_f64(),
            own: slowdown(problem, gpus, run, own.size, &neighbours),
        })
        .collect();
    let burst: f64 = members.iter().map(|member| member.latency(0.0)).sum();
    let runs: Vec<ExplainedRun> = own
        .runs
        .iter()
        .zip(&members)
        .map(|(run, member)| ExplainedRun {
            run: run.clone(),
            alone_ms: member.alone,
            slowdown: member.own,
            worst_ms: burst + run.duty.as_millis_f64(),
            slo_ms: member.slo,
        })
        .collect();
    let busy =
        runs.iter().map(|run| run.alone_ms * run.slowdown / run.run.duty.as_millis_f64()).sum();
    let slack = if load(&members, 0.0) <= 1.0 { bears(&members, 0.0, SLACK_MAX) } else { 0.0 };
    let smaller = gpus.sizes.iter().filter(|size| **size != own.size);
    let others =
        smaller.map(|size| (*size, other(problem, kind, own, *size, &neighbours))).collect();
    ExplainedPartition { gpu, size: own.size, runs, load: busy, slack, others }
}

/// The predicted slowdown of a run beside the GPU's other partitions.
fn slowdown(
    problem: &Problem,
    gpus: &Gpus,
    run: &Run,
    size: u32,
    neighbours: &[&Partition],
) -> f64 {
    let model = &problem.tasks[run.task].model;
    let beside = || neighbours.iter().flat_map(|neighbour| &neighbour.runs);
    match &gpus.interference {
        Interference::None => 1.0,
        Interference::Linear(_) if neighbours.is_empty() => 1.0,
        Interference::Linear(linear) => {
            let used =
                gpus.profile.utilisation(model, size, gpus.whole, run.batch).unwrap_or_default();
            let own = linear.l2_self * used.l2 + linear.dram_self * used.dram + linear.constant;
            (own + pressure(problem, gpus, neighbours)).max(1.0)
        }
        Interference::Table(table) => beside()
            .filter_map(|other| {
                table.get((model, run.batch, size), (&problem.tasks[other.task].model, other.batch))
            })
            .fold(1.0, f64::max),
    }
}

/// What the neighbours add in the linear model.
fn pressure(problem: &Problem, gpus: &Gpus, neighbours: &[&Partition]) -> f64 {
    let Interference::Linear(linear) = &gpus.interference else { return 0.0 };
    let of_partition = |partition: &&Partition| {
        let of_run = |run: &Run| {
            let model = &problem.tasks[run.task].model;
            let used = gpus.profile.utilisation(model, partition.size, gpus.whole, run.batch);
            let used = used.unwrap_or_default();
            linear.l2_other * used.l2 + linear.dram_other * used.dram
        };
        partition.runs.iter().map(of_run).fold(f64::NEG_INFINITY, f64::max)
    };
    neighbours.iter().map(of_partition).sum()
}

/// What another size would mean for the same models beside the same neighbours.
fn other(
    problem: &Problem,
    kind: usize,
    own: &Partition,
    size: u32,
    neighbours: &[&Partition],
) -> Other {
    let mut group: Vec<Options> = Vec::new();
    for run in &own.runs {
        let item = Item { task: run.task, rate: run.rate };
        let options = choices::options(problem, kind, &item, size);
        if options.choices.is_empty() {
            return hopeless(problem, kind, run.task, size, options.slo);
        }
        group.push(options);
    }
    if neighbours.is_empty() {
        for choice in group.iter_mut().flat_map(|options| &mut options.choices) {
            (choice.own, choice.pressure) = (1.0, 0.0);
        }
    }
    let pressure = pressure(problem, &problem.gpus[kind], neighbours);
    let references: Vec<&Options> = group.iter().collect();
    let ways = group::ways(&references, Range { low: pressure, high: pressure + SLACK_MAX }, &[]);
    match ways.iter().map(|way| way.bears - pressure).max_by(f64::total_cmp) {
        Some(slack) => Other::Slack(slack),
        None => {
            let least = |options: &Options| {
                let share = |choice: &Choice| {
                    let latency = choice.alone * (choice.own + pressure).max(1.0);
                    latency / choice.cycle.min(options.slo - latency).max(1e-9)
                };
                options.choices.iter().map(share).fold(f64::INFINITY, f64::min)
            };
            Other::Together { load: group.iter().map(least).sum() }
        }
    }
}

fn hopeless(problem: &Problem, kind: usize, task: usize, size: u32, slo_ms: f64) -> Other {
    let batches = problem.gpus[kind].profile.batches(&problem.tasks[task].model);
    let latency = |batch: u32| problem.latency(kind, task, size, batch);
    let quickest = batches.into_iter().filter_map(latency).fold(f64::INFINITY, f64::min);
    // A request waits for the batch before it, and for its own.
    if 2.0 * quickest > slo_ms {
        Other::TooSlow { task, least_ms: 2.0 * quickest, slo_ms }
    } else {
        Other::TooMuch { task }
    }
}
