//! What a model can do alone on each partition size: the batches that can keep up with its rate within its SLO.
//!
//! gpulet's two shapes are special cases of one form, in which a batch of at most `b` is gathered over a duty cycle `d`:
//!
//! - *saturated*: `d = L(b)`, so that `2·L(b) ≤ SLO` and the partition is never idle;
//! - *residual*: `d = 1000·b/rate` with `L(b) + d ≤ SLO`.
//!
//! Here any `d ≤ 1000·b/rate` is allowed: a batch then may not be full, and costs no more than a full one. A partition is
//! feasible when every model has `Σ L + d ≤ SLO` and the models together `Σ L/d ≤ 1`. Batches that become ready are run in
//! the order in which they do: their bursts sum to `Σ L` and their load is at most 1, so none waits longer than `Σ L`.
//! Lowering a rate only loosens `d ≤ 1000·b/rate`: what is feasible stays so at every lower rate, by construction.

use crate::{Interference, Problem};

/// A model, or a share of its rate, that must be placed as one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub task: usize,
    /// Requests per second.
    pub rate: f64,
}

/// A batch size that an item can use on a partition size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    pub batch: u32,
    /// Latency alone, in milliseconds.
    pub alone: f64,
    /// The longest duty cycle that keeps up with the rate, in milliseconds.
    pub cycle: f64,
    /// Its own part of the slowdown; the neighbours' pressure is added, and the sum is at least 1.
    pub own: f64,
    /// What it adds to the neighbours' slowdown.
    pub pressure: f64,
}

/// The choices of one item on one partition size, with its SLO.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub slo: f64,
    pub choices: Vec<Choice>,
}

/// The options of an item on a partition. A batch that cannot keep up alone, or whose latency is more than half the SLO
/// (it must be gathered for at least as long as it runs), cannot do better in company and is left out.
pub(crate) fn options(problem: &Problem, kind: usize, item: &Item, size: u32) -> Options {
    let gpus = &problem.gpus[kind];
    let model = &problem.tasks[item.task].model;
    let slo = problem.slo(item.task).as_millis_f64();
    let mut choices = Vec::new();
    for batch in gpus.profile.batches(model) {
        let Some(alone) = problem.latency(kind, item.task, size, batch) else { continue };
        let cycle = 1000.0 * f64::from(batch) / item.rate;
        if alone > cycle || 2.0 * alone > slo {
            continue;
        }
        let (own, pressure) = match &gpus.interference {
            Interference::Linear(model_of) => {
                let used =
                    gpus.profile.utilisation(model, size, gpus.whole, batch).unwrap_or_default();
                (
                    model_of.l2_self * used.l2 + model_of.dram_self * used.dram + model_of.constant,
                    model_of.l2_other * used.l2 + model_of.dram_other * used.dram,
                )
            }
            Interference::None | Interference::Table(_) => (1.0, 0.0),
        };
        choices.push(Choice { batch, alone, cycle, own, pressure });
    }
    remove_dominated(&mut choices);
    Options { slo, choices }
}

/// Measurements are noisy: a larger batch may be as fast as a smaller one, which then is of no use.
fn remove_dominated(choices: &mut Vec<Choice>) {
    let dominates = |a: &Choice, b: &Choice| {
        a.batch > b.batch && a.alone <= b.alone && a.own <= b.own && a.pressure <= b.pressure
    };
    let all = choices.clone();
    choices.retain(|choice| !all.iter().any(|other| dominates(other, choice)));
}

/// The largest rate per second that one whole GPU of some kind can serve of a task, alone.
pub(crate) fn rate_max(problem: &Problem, task: usize) -> f64 {
    let mut most: f64 = 0.0;
    let slo = problem.slo(task).as_millis_f64();
    for (kind, gpus) in problem.gpus.iter().enumerate().filter(|(_, gpus)| gpus.count > 0) {
        for &size in &gpus.sizes {
            for batch in gpus.profile.batches(&problem.tasks[task].model) {
                let Some(alone) = problem.latency(kind, task, size, batch) else { continue };
                if 2.0 * alone <= slo {
                    most = most.max(1000.0 * f64::from(batch) / alone);
                }
            }
        }
    }
    most
}

/// The least share of one GPU that a task's rate can cost: no schedule uses less.
///
/// The runs of a partition load it by `Σ L/d ≤ 1`, where `d ≤ 1000·b/rate` and `d ≤ SLO − L`. So a whole model costs its
/// partition's share of the GPU times `L/min(1000·b/rate, SLO − L)` at least. The pieces of a split model cost at least what
/// the first limit says of the whole rate, and at least what the second says of one piece.
pub(crate) fn cost_least(problem: &Problem, task: usize, rate: f64) -> f64 {
    let (mut whole, mut by_rate, mut by_slo) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    let slo = problem.slo(task).as_millis_f64();
    for (kind, gpus) in problem.gpus.iter().enumerate().filter(|(_, gpus)| gpus.count > 0) {
        let batches = gpus.profile.batches(&problem.tasks[task].model);
        for &size in &gpus.sizes {
            let share = f64::from(size) / f64::from(gpus.whole);
            for &batch in &batches {
                let Some(alone) = problem.latency(kind, task, size, batch) else { continue };
                if 2.0 * alone > slo {
                    continue;
                }
                let cycle = 1000.0 * f64::from(batch) / rate;
                if alone <= cycle {
                    whole = whole.min(share * alone / cycle.min(slo - alone));
                }
                by_rate = by_rate.min(share * alone / cycle);
                by_slo = by_slo.min(share * alone / (slo - alone));
            }
        }
    }
    if problem.rules.pieces_max == 1 { whole } else { by_rate.max(by_slo) }
}
