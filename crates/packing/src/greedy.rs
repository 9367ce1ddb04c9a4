//! gpulet's own elastic partitioning, as a baseline (USENIX ATC 2022, algorithm 1).
//!
//! Models are taken by rate × SLO, largest first. The rate of each is divided into saturated gpulets of its most efficient
//! size and a residual of the smallest size that serves it. Each is given to the free gpulet that fits best, a whole GPU being
//! split into `p` and `100 − p`; a residual that finds none is merged into a gpulet of its own model, or shares an occupied
//! gpulet in time; else the set is not schedulable.
//!
//! Where the publication or its code leaves something open or wrong, this is what is done here:
//!
//! - A residual's batch is the largest with `L(b) + 1000·b/rate ≤ SLO`; where the rate is so low that no batch fills in time,
//!   the smallest batch runs every `SLO − L(b)` (the original does not end at rates up to 4 per second).
//! - No model is dropped: a rate that cannot be placed makes the set unschedulable (the original loses up to 7 per second).
//! - Both sides of a GPU are checked when one is filled (the original's check of the neighbour looks at the wrong gpulet).
//! - The best fit is the smallest free gpulet, so leftovers are used before whole GPUs (the original prefers whole ones).
//! - Of time-shared models each keeps the batch of its residual, with `Σ L/d ≤ 1` and `Σ L + d ≤` every SLO.

use crate::{Answer, Interference, Packing, Partition, Problem, Proof, Refusal, Run, Schedule};
use sublet_units::Time;

/// Duty cycles are whole nanoseconds.
const ROUNDING: f64 = 1e-7;

/// More saturated parts than any cluster has room for.
const PARTS_MAX: f64 = 1e6;

/// A gpulet: a share of a GPU, free or with its runs.
#[derive(Clone)]
struct Gpulet {
    gpu: usize,
    size: u32,
    runs: Vec<Run>,
}

/// What of a model's rate is placed as one.
#[derive(Clone, Copy)]
struct Part {
    task: usize,
    rate: f64,
}

/// gpulet's schedule. `aware` is its mode with interference: slowdowns count when a gpulet is chosen.
///
/// Looks at GPUs of the first kind only. The result's rates may be split over several gpulets, whatever the rules say, because the method needs that.
pub fn greedy(problem: &Problem, aware: bool) -> Answer {
    let mut state = State { problem, aware, gpulets: Vec::new() };
    for (gpu, kind) in problem.kinds().into_iter().enumerate().filter(|(_, kind)| *kind == 0) {
        state.gpulets.push(Gpulet { gpu, size: problem.gpus[kind].whole, runs: Vec::new() });
    }
    let mut order: Vec<usize> =
        (0..problem.tasks.len()).filter(|task| problem.rate(*task) > 0.0).collect();
    let weight = |task: &usize| problem.rate(*task) * problem.slo(*task).as_millis_f64();
    order.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    for task in order {
        for part in state.parts(task) {
            if !(state.best_fit(part) || state.merge(part) || state.share(part)) {
                let given = problem.kinds().len();
                return Answer::Refused(Refusal::NotFound { gpus_least: 1, given });
            }
        }
    }
    let mut schedule = Schedule { gpus: vec![Vec::new(); problem.kinds().len()] };
    for gpulet in state.gpulets.into_iter().filter(|gpulet| !gpulet.runs.is_empty()) {
        schedule.gpus[gpulet.gpu].push(Partition { size: gpulet.size, runs: gpulet.runs });
    }
    Answer::Packed(Packing { schedule, proof: Proof::AtLeast(1), slack: 0.0, moves: 0 })
}

struct State<'a> {
    problem: &'a Problem,
    aware: bool,
    gpulets: Vec<Gpulet>,
}

impl State<'_> {
    /// Saturated parts at the most efficient size, and the rest.
    fn parts(&self, task: usize) -> Vec<Part> {
        let rate = self.problem.rate(task);
        let most = self
            .knee(task)
            .map_or(0.0, |size| self.saturated(task, size).map_or(0.0, |(_, rate)| rate));
        // A rate that no size serves, or only countless ones, is one part, which finds no place.
        let full = if most > 0.0 { (rate / most).floor() } else { 0.0 };
        if full > PARTS_MAX {
            return vec![Part { task, rate }];
        }
        let mut parts = vec![Part { task, rate: most }; full as usize];
        let rest = rate - full * most;
        if rest > 1e-9 * rate || parts.is_empty() {
            parts.push(Part { task, rate: rest });
        }
        parts
    }

    /// The largest batch with `2·L(b) ≤ SLO`, and the rate that it serves.
    fn saturated(&self, task: usize, size: u32) -> Option<(u32, f64)> {
        let slo = self.problem.slo(task).as_millis_f64();
        let batches = self.batches(task);
        batches.into_iter().rev().find_map(|batch| {
            let latency = self.latency(task, size, batch)?;
            (2.0 * latency <= slo).then(|| (batch, 1000.0 * f64::from(batch) / latency))
        })
    }

    /// The size after which throughput per share falls off most: the knee of throughput against size, where throughput
    /// divided by size is largest.
    fn knee(&self, task: usize) -> Option<u32> {
        let per_share =
            |size: u32| self.saturated(task, size).map(|(_, rate)| rate / f64::from(size));
        let sizes = self.sizes();
        let served = sizes.into_iter().filter_map(|size| Some((size, per_share(size)?)));
        served.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(size, _)| size)
    }

    fn sizes(&self) -> Vec<u32> {
        self.problem.gpus.first().map(|gpus| gpus.sizes.clone()).unwrap_or_default()
    }

    fn batches(&self, task: usize) -> Vec<u32> {
        let model = &self.problem.tasks[task].model;
        self.problem
            .gpus
            .first()
            .map(|gpus| gpus.profile.batches(model).into_iter().collect())
            .unwrap_or_default()
    }

    fn latency(&self, task: usize, size: u32, batch: u32) -> Option<f64> {
        self.problem.latency(0, task, size, batch)
    }

    /// The run of a part alone on a size: saturated where the rate asks for it, else residual.
    fn run(&self, part: Part, size: u32, slowdown: impl Fn(u32) -> Option<f64>) -> Option<Run> {
        let slo = self.problem.slo(part.task).as_millis_f64();
        let mut found = None;
        for batch in self.batches(part.task) {
            let latency = self.latency(part.task, size, batch)? * slowdown(batch)?;
            let cycle = 1000.0 * f64::from(batch) / part.rate;
            let duty = if latency + cycle <= slo { cycle } else { cycle.min(slo - latency) };
            // Only where no batch fills in time may one run before it is full.
            if latency > duty * (1.0 + ROUNDING) || (found.is_some() && duty < cycle) {
                continue;
            }
            let duty = Time((duty * 1e6) as u64);
            found = Some(Run { task: part.task, rate: part.rate, batch, duty });
        }
        found
    }

    /// The smallest free gpulet, split where it is a whole GPU, on which the part and its neighbours keep their SLOs.
    fn best_fit(&mut self, part: Part) -> bool {
        let mut options: Vec<(u32, u32, usize)> = Vec::new();
        for (index, gpulet) in
            self.gpulets.iter().enumerate().filter(|(_, gpulet)| gpulet.runs.is_empty())
        {
            let whole = self.whole(gpulet.gpu);
            for size in self.sizes() {
                let splits = gpulet.size == whole && size < whole;
                let splittable = splits && self.problem.rules.partitions_max > 1;
                let rest = whole - size;
                if size == gpulet.size || (splittable && self.sizes().contains(&rest)) {
                    options.push((gpulet.size, size, index));
                }
            }
        }
        options.sort_unstable();
        for (_, size, index) in options {
            let before = self.gpulets.clone();
            let (gpu, rest) = (self.gpulets[index].gpu, self.gpulets[index].size - size);
            self.gpulets[index].size = size;
            if rest > 0 {
                self.gpulets.push(Gpulet { gpu, size: rest, runs: Vec::new() });
            }
            let run = self.run(part, size, |batch| self.slowdown(part.task, batch, index));
            if let Some(run) = run {
                self.gpulets[index].runs.push(run);
                if self.holds(gpu) {
                    return true;
                }
            }
            self.gpulets = before;
        }
        false
    }

    /// Serves the part together with one already placed part of the same model, if its gpulet has room.
    fn merge(&mut self, part: Part) -> bool {
        for index in 0..self.gpulets.len() {
            let gpulet = &self.gpulets[index];
            let [own] = gpulet.runs.as_slice() else { continue };
            if own.task != part.task {
                continue;
            }
            let both = Part { task: part.task, rate: part.rate + own.rate };
            let (gpu, size) = (gpulet.gpu, gpulet.size);
            if let Some(run) = self.run(both, size, |batch| self.slowdown(part.task, batch, index))
            {
                let before = std::mem::replace(&mut self.gpulets[index].runs, vec![run]);
                if self.holds(gpu) {
                    return true;
                }
                self.gpulets[index].runs = before;
            }
        }
        false
    }

    /// Shares an occupied gpulet in time: the first on which everyone still keeps its SLO.
    fn share(&mut self, part: Part) -> bool {
        for index in 0..self.gpulets.len() {
            let (gpu, size, models) =
                (self.gpulets[index].gpu, self.gpulets[index].size, self.gpulets[index].runs.len());
            if models == 0 || models >= self.problem.rules.models_max {
                continue;
            }
            if let Some(run) = self.run(part, size, |batch| self.slowdown(part.task, batch, index))
            {
                self.gpulets[index].runs.push(run);
                if self.holds(gpu) {
                    return true;
                }
                self.gpulets[index].runs.pop();
            }
        }
        false
    }

    fn whole(&self, gpu: usize) -> u32 {
        self.problem.gpus[self.problem.kinds()[gpu]].whole
    }

    /// Whether every gpulet of a GPU keeps its SLOs, and its models fit.
    fn holds(&self, gpu: usize) -> bool {
        let on_gpu = || self.gpulets.iter().enumerate().filter(|(_, gpulet)| gpulet.gpu == gpu);
        let mut tasks: Vec<usize> =
            on_gpu().flat_map(|(_, gpulet)| gpulet.runs.iter().map(|run| run.task)).collect();
        tasks.sort_unstable();
        tasks.dedup();
        let bytes =
            tasks.iter().fold(0u64, |sum, task| sum.saturating_add(self.problem.memory(*task).0));
        if bytes > self.problem.gpus[self.problem.kinds()[gpu]].memory.0 {
            return false;
        }
        on_gpu().all(|(index, gpulet)| {
            let mut latencies = Vec::new();
            for run in &gpulet.runs {
                let alone = self.latency(run.task, gpulet.size, run.batch);
                let slowed = self.slowdown(run.task, run.batch, index);
                let (Some(alone), Some(slowed)) = (alone, slowed) else { return false };
                latencies.push((run, alone * slowed));
            }
            let burst: f64 = latencies.iter().map(|(_, latency)| latency).sum();
            let load: f64 =
                latencies.iter().map(|(run, latency)| latency / run.duty.as_millis_f64()).sum();
            let in_time = |run: &Run| {
                let slo = self.problem.slo(run.task).as_millis_f64();
                burst + run.duty.as_millis_f64() <= slo * (1.0 + ROUNDING)
            };
            load <= 1.0 + ROUNDING && latencies.iter().all(|(run, _)| in_time(run))
        })
    }

    /// The slowdown of a run on a gpulet by what its neighbours run; 1 when interference is not looked at.
    fn slowdown(&self, task: usize, batch: u32, index: usize) -> Option<f64> {
        let gpulet = &self.gpulets[index];
        let gpus = &self.problem.gpus[0];
        let model = |task: usize| self.problem.tasks[task].model.as_str();
        let others = self
            .gpulets
            .iter()
            .enumerate()
            .filter(|(other, neighbour)| *other != index && neighbour.gpu == gpulet.gpu)
            .flat_map(|(_, neighbour)| neighbour.runs.iter().map(move |run| (run, neighbour.size)));
        let mut worst: f64 = 1.0;
        for (run, size) in others {
            let factor = match &gpus.interference {
                _ if !self.aware => 1.0,
                Interference::None => 1.0,
                Interference::Linear(linear) => {
                    let own =
                        gpus.profile.utilisation(model(task), gpulet.size, gpus.whole, batch)?;
                    let other =
                        gpus.profile.utilisation(model(run.task), size, gpus.whole, run.batch)?;
                    let used = [own.l2, other.l2, own.dram, other.dram, 1.0];
                    linear.coefficients().iter().zip(used).map(|(factor, used)| factor * used).sum()
                }
                Interference::Table(table) => {
                    table.get((model(task), batch, gpulet.size), (model(run.task), run.batch))?
                }
            };
            worst = worst.max(factor);
        }
        Some(worst)
    }
}
