//! Sets too large for all their subsets: GPUs are filled one by one, each exactly over a window of the costliest items, and
//! then groups of GPUs are packed again, exactly, into fewer.

use crate::Problem;
use crate::bearing::SLACK_MAX;
use crate::build::{Placed, placed};
use crate::choices::{Item, cost_least};
use crate::cover::cover;
use crate::gpu::{Kind, bits};
use crate::solve::{Effort, Solution, built, kinds};

/// Items that are looked at together. All their subsets are: each more doubles the work, and triples the divisions.
const WINDOW: usize = 10;

/// Windows without an item for a GPU, after which it is taken to be full.
const IDLE_MAX: usize = 4;

/// A GPU and the items on it.
struct Filled {
    items: Vec<Item>,
    placed: Placed,
}

/// Packs items, or says that it could not: with one GPU more than there are.
pub(crate) fn pack(problem: &Problem, items: &[Item], effort: &Effort) -> Result<Solution, usize> {
    let mut filled = fill(problem, items)?;
    improve(problem, &mut filled, effort.rounds);
    let slack = filled.iter().map(|gpu| gpu.placed.slack).fold(SLACK_MAX, f64::min);
    let gpus: Vec<Placed> = filled.into_iter().map(|gpu| gpu.placed).collect();
    let over = problem
        .gpus
        .iter()
        .enumerate()
        .any(|(kind, given)| gpus.iter().filter(|gpu| gpu.kind == kind).count() > given.count);
    if over { Err(gpus.len()) } else { Ok(Solution { gpus, slack, positions: None }) }
}

fn cost(problem: &Problem, item: &Item) -> f64 {
    cost_least(problem, item.task, item.rate)
}

/// Fills GPUs one after another, kinds in the order given, the last kind without an end (so that improvement may still
/// bring the number down).
fn fill(problem: &Problem, items: &[Item]) -> Result<Vec<Filled>, usize> {
    let mut left: Vec<Item> = items.to_vec();
    left.sort_by(|a, b| cost(problem, b).total_cmp(&cost(problem, a)));
    let mut filled: Vec<Filled> = Vec::new();
    let given: usize = problem.gpus.iter().map(|gpus| gpus.count).sum();
    while !left.is_empty() {
        let used = |kind: usize| filled.iter().filter(|gpu| gpu.placed.kind == kind).count();
        let free = (0..problem.gpus.len()).find(|kind| used(*kind) < problem.gpus[*kind].count);
        let kind = free.or(problem.gpus.len().checked_sub(1)).ok_or(1usize)?;
        let mut chosen: Vec<Item> = Vec::new();
        let mut next = 0;
        let mut best: Option<Placed> = None;
        let mut idle = 0;
        while next < left.len() && chosen.len() < WINDOW && idle < IDLE_MAX {
            let more = (WINDOW - chosen.len()).min(left.len() - next);
            let mut window = chosen.clone();
            window.extend_from_slice(&left[next..next + more]);
            next += more;
            let Some((group, placed)) = fullest(problem, kind, &window, chosen.len()) else {
                continue;
            };
            idle = if group.len() > chosen.len() { 0 } else { idle + 1 };
            chosen = group;
            best = Some(placed);
        }
        let Some(placed) = best else { return Err(given + 1) };
        for item in &chosen {
            let place = left.iter().position(|other| other == item).expect("it was among them");
            left.remove(place);
        }
        filled.push(Filled { items: chosen, placed });
    }
    Ok(filled)
}

/// The costliest subset of a window that one GPU takes; it keeps the first `fixed` items.
fn fullest(
    problem: &Problem,
    kind: usize,
    window: &[Item],
    fixed: usize,
) -> Option<(Vec<Item>, Placed)> {
    let table = Kind::new(problem, kind, window);
    let costs: Vec<f64> = window.iter().map(|item| cost(problem, item)).collect();
    let keep = (1usize << fixed) - 1;
    let mut best: Option<(f64, f64, usize)> = None;
    for (mask, division) in table.best.iter().enumerate() {
        if let Some(division) = division.as_ref().filter(|_| mask & keep == keep) {
            let sum: f64 = bits(mask as u32).map(|item| costs[item]).sum();
            let better = best.is_none_or(|(most, slack, _)| {
                sum > most + 1e-12 || (sum > most - 1e-12 && division.slack > slack)
            });
            if better {
                best = Some((sum, division.slack, mask));
            }
        }
    }
    let mask = best?.2;
    let division = table.best[mask].as_ref()?;
    let items = bits(mask as u32).map(|item| window[item].clone()).collect();
    Some((items, placed(problem, &table, window, division)))
}

/// Packs groups of GPUs again while that saves one: the emptiest with each pair of others, in order.
fn improve(problem: &Problem, filled: &mut Vec<Filled>, rounds: usize) {
    let mut tried = 0;
    'again: while tried < rounds {
        filled.sort_by(|a, b| {
            let sum = |gpu: &Filled| gpu.items.iter().map(|item| cost(problem, item)).sum::<f64>();
            sum(a).total_cmp(&sum(b))
        });
        for first in 0..filled.len() {
            for second in first + 1..filled.len() {
                for third in second..filled.len() {
                    let mut group = vec![first, second, third];
                    group.dedup();
                    let items: Vec<Item> = group
                        .iter()
                        .flat_map(|index| filled[*index].items.iter().cloned())
                        .collect();
                    if items.len() > WINDOW + 1 {
                        continue;
                    }
                    tried += 1;
                    if let Some(fewer) = fewer(problem, filled, &group, items) {
                        for index in group.iter().rev() {
                            filled.remove(*index);
                        }
                        filled.extend(fewer);
                        continue 'again;
                    }
                    if tried >= rounds {
                        return;
                    }
                }
            }
        }
        return;
    }
}

/// The items of some GPUs on one GPU less, of the same kinds.
fn fewer(
    problem: &Problem,
    filled: &[Filled],
    group: &[usize],
    items: Vec<Item>,
) -> Option<Vec<Filled>> {
    let kinds = kinds(problem, &items);
    let of_kind =
        |kind: usize| group.iter().filter(|index| filled[**index].placed.kind == kind).count();
    let counts: Vec<usize> = (0..problem.gpus.len()).map(of_kind).collect();
    let cover = cover(&kinds, &counts).ok().filter(|cover| cover.gpus.len() < group.len())?;
    let placed = built(problem, &items, &kinds, &cover);
    let with = |(placed, (_, mask)): (Placed, &(usize, u32))| Filled {
        items: bits(*mask).map(|item| items[item].clone()).collect(),
        placed,
    };
    Some(placed.into_iter().zip(&cover.gpus).map(with).collect())
}
