//! The packer: fewest GPUs, then most slack, then least movement.
//!
//! Small sets are solved exactly over all subsets. Larger ones are packed GPU by GPU and improved; a bound then says how
//! far from the fewest the result can be. Models are split where they must be, and where it saves a GPU.

use crate::bearing::{LOAD_MAX, SLACK_MAX};
use crate::build::{Placed, placed};
use crate::choices::{Item, cost_least, rate_max};
use crate::cover::{Cover, cover};
use crate::gpu::{Kind, Mask};
use crate::{Answer, Gpus, Packing, Problem, Proof, Refusal, Schedule, bound, movement, search};
use sublet_units::{Bytes, Time};

/// How hard to try where trying is endless, and what counts as equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Sets of at most this many items are solved exactly; at most 16.
    pub exact_items: usize,
    /// Ways to split models that are tried in order to save a GPU; 0 splits only what must be split.
    pub splits: usize,
    /// Rounds in which a large set's packing is improved.
    pub rounds: usize,
    /// Slack is compared in steps of this; among equals the least movement wins.
    pub slack_step: f64,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { exact_items: 14, splits: 8, rounds: 200, slack_step: 0.05 }
    }
}

/// Solves a problem. With the schedule that runs now (its tasks are indices into the same problem), GPUs keep what they
/// hold as far as fewest GPUs and most slack allow.
pub fn pack(problem: &Problem, current: Option<&Schedule>, effort: &Effort) -> Answer {
    let active: Vec<usize> =
        (0..problem.tasks.len()).filter(|task| problem.rate(*task) > 0.0).collect();
    if let Some(refusal) = active.iter().find_map(|task| hopeless(problem, *task)) {
        return Answer::Refused(refusal);
    }
    let mut least = gpus_least(problem, &active);
    let given: usize = problem.gpus.iter().map(|gpus| gpus.count).sum();
    let items = items(problem, &active);
    let split = items.len() > active.len();
    let (mut found, exact) = attempt(problem, items.clone(), current, effort);
    // Splitting more models can help where the bound leaves room.
    let whole_is_best = problem.rules.pieces_max == 1;
    let used = match &found {
        Ok(solution) => solution.gpus.len(),
        Err(needed) => *needed,
    };
    if whole_is_best && !exact && used > least {
        least = least.max(bound::by_groups(problem, &items));
    }
    if !whole_is_best && used > least && effort.splits > 0 {
        found = split_more(problem, items, current, effort, found, least);
    }
    let proven = if exact && whole_is_best && !split { used } else { least };
    match found {
        Ok(solution) => {
            let used = solution.gpus.len();
            let (schedule, moves) = match solution.positions {
                Some(positions) => movement::at(problem, solution.gpus, &positions, current),
                None => movement::place(problem, solution.gpus, current),
            };
            let proof = if used <= proven { Proof::Exact } else { Proof::AtLeast(proven) };
            Answer::Packed(Packing { schedule, proof, slack: solution.slack, moves })
        }
        Err(_) if proven > given => Answer::Refused(Refusal::NeedsAtLeast { gpus: proven, given }),
        Err(_) => Answer::Refused(Refusal::NotFound { gpus_least: proven, given }),
    }
}

/// GPUs with what they run, not yet numbered unless movement has been weighed.
pub(crate) struct Solution {
    pub gpus: Vec<Placed>,
    pub slack: f64,
    pub positions: Option<Vec<usize>>,
}

/// No schedule of the active tasks uses fewer GPUs than this: by what they cost, and by how many fit on one GPU.
fn gpus_least(problem: &Problem, active: &[usize]) -> usize {
    let shares: f64 =
        active.iter().map(|task| cost_least(problem, *task, problem.rate(*task))).sum();
    let rules = &problem.rules;
    let parts = |gpus: &Gpus| rules.partitions_max.min((gpus.whole / gpus.sizes[0]) as usize);
    let models = problem.gpus.iter().map(parts).max().unwrap_or(1) * rules.models_max;
    ((shares - 1e-9).ceil() as usize).max(active.len().div_ceil(models))
}

/// Each task whole, or in as many equal pieces as the fastest GPU makes necessary.
fn items(problem: &Problem, active: &[usize]) -> Vec<Item> {
    let mut items = Vec::new();
    for &task in active {
        let (rate, most) = (problem.rate(task), rate_max(problem, task) * LOAD_MAX);
        let pieces = (rate / most).ceil().max(1.0) as usize;
        items.extend((0..pieces).map(|_| Item { task, rate: rate / pieces as f64 }));
    }
    // Tight SLOs first: the search over batch sizes then meets its limits early.
    items.sort_by_key(|item| (problem.slo(item.task), item.task));
    items
}

/// Why a task can be served by no partition at all.
fn hopeless(problem: &Problem, task: usize) -> Option<Refusal> {
    let refusal = |why: String| Some(Refusal::Task { task, why });
    let room = problem.gpus.iter().filter(|gpus| gpus.count > 0).map(|gpus| gpus.memory).max();
    let memory = problem.memory(task);
    if memory > room.unwrap_or(Bytes::ZERO) {
        return refusal(match room {
            Some(room) => format!("its {memory} exceed a GPU's {room}"),
            None => "there is no GPU".into(),
        });
    }
    let most = rate_max(problem, task) * LOAD_MAX;
    let slo = problem.slo(task);
    if most == 0.0 {
        let quickest = quickest(problem, task);
        return refusal(format!(
            "its quickest run takes {quickest}, and a request may wait as long again: more than the SLO of {slo}"
        ));
    }
    let rate = problem.rate(task);
    let pieces = (rate / most).ceil();
    if pieces > problem.rules.pieces_max as f64 {
        return refusal(format!(
            "{rate:.1} requests per second need {pieces} GPUs of at most {most:.1} each within {slo}, and the rules allow {} of \
             them",
            problem.rules.pieces_max
        ));
    }
    None
}

fn quickest(problem: &Problem, task: usize) -> Time {
    let mut least = f64::INFINITY;
    for (kind, gpus) in problem.gpus.iter().enumerate() {
        for &size in &gpus.sizes {
            for batch in gpus.profile.batches(&problem.tasks[task].model) {
                least =
                    least.min(problem.latency(kind, task, size, batch).unwrap_or(f64::INFINITY));
            }
        }
    }
    Time((least * 1e6) as u64)
}

/// Packs these items; else how many GPUs they need at least. Says whether the answer is exact for these items.
fn attempt(
    problem: &Problem,
    items: Vec<Item>,
    current: Option<&Schedule>,
    effort: &Effort,
) -> (Result<Solution, usize>, bool) {
    if items.is_empty() {
        return (Ok(Solution { gpus: Vec::new(), slack: SLACK_MAX, positions: None }), true);
    }
    if items.len() > effort.exact_items.min(16) {
        return (search::pack(problem, &items, effort), false);
    }
    let kinds = kinds(problem, &items);
    let counts: Vec<usize> = problem.gpus.iter().map(|gpus| gpus.count).collect();
    let found = cover(&kinds, &counts).map(|best| {
        let cheapest =
            current.and_then(|now| movement::cheapest(problem, &items, &kinds, &best, now, effort));
        let positions = cheapest.as_ref().map(|(_, positions)| positions.clone());
        let cover = cheapest.map_or(best, |(cover, _)| cover);
        Solution { gpus: built(problem, &items, &kinds, &cover), slack: cover.slack, positions }
    });
    (found, true)
}

pub(crate) fn kinds(problem: &Problem, items: &[Item]) -> Vec<Kind> {
    (0..problem.gpus.len()).map(|kind| Kind::new(problem, kind, items)).collect()
}

pub(crate) fn built(
    problem: &Problem,
    items: &[Item],
    kinds: &[Kind],
    cover: &Cover,
) -> Vec<Placed> {
    let of = |(kind, mask): &(usize, Mask)| {
        let division = kinds[*kind].best[*mask as usize].as_ref().expect("a cover uses what fits");
        placed(problem, &kinds[*kind], items, division)
    };
    cover.gpus.iter().map(of).collect()
}

/// Tries to save GPUs by splitting one model more, or two, into equal pieces.
fn split_more(
    problem: &Problem,
    items: Vec<Item>,
    current: Option<&Schedule>,
    effort: &Effort,
    found: Result<Solution, usize>,
    least: usize,
) -> Result<Solution, usize> {
    let mut best = found;
    let used = |found: &Result<Solution, usize>| match found {
        Ok(solution) => (0, solution.gpus.len()),
        Err(needed) => (1, *needed),
    };
    for split in splits(problem, &items).into_iter().take(effort.splits) {
        if used(&best) <= (0, least) {
            break;
        }
        let (next, _) = attempt(problem, split, current, effort);
        if used(&next) < used(&best) {
            best = next;
        }
    }
    best
}

/// The items with one task, then two, in one piece more than now: the costliest tasks first.
fn splits(problem: &Problem, items: &[Item]) -> Vec<Vec<Item>> {
    let pieces =
        |items: &[Item], task: usize| items.iter().filter(|item| item.task == task).count();
    let mut tasks: Vec<usize> = items.iter().map(|item| item.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    tasks.retain(|task| pieces(items, *task) < problem.rules.pieces_max);
    let cost = |task: &usize| cost_least(problem, *task, problem.rate(*task));
    tasks.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
    let one_more = |items: &[Item], task: usize| -> Vec<Item> {
        let pieces = pieces(items, task) + 1;
        let mut split: Vec<Item> = items.iter().filter(|item| item.task != task).cloned().collect();
        let piece = Item { task, rate: problem.rate(task) / pieces as f64 };
        let place = split.partition_point(|item| {
            (problem.slo(item.task), item.task) < (problem.slo(task), task)
        });
        split.splice(place..place, std::iter::repeat_n(piece, pieces));
        split
    };
    let singles: Vec<Vec<Item>> = tasks.iter().map(|task| one_more(items, *task)).collect();
    let mut all = singles.clone();
    for (index, single) in singles.iter().enumerate() {
        all.extend(tasks[index + 1..].iter().map(|task| one_more(single, *task)));
    }
    all
}
