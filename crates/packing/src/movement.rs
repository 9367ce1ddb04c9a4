//! Which GPU takes which part of a schedule, so that as few models as possible have to be brought to a new GPU.

use crate::build::Placed;
use crate::choices::Item;
use crate::cover::Cover;
use crate::gpu::{Kind, Mask, bits};
use crate::solve::Effort;
use crate::{Problem, Schedule};
use std::collections::BTreeSet;

/// More items than this, and only the numbers of the GPUs are chosen by movement.
const ITEMS_MAX: usize = 10;

/// The tasks that each GPU runs now.
fn holding(problem: &Problem, current: Option<&Schedule>) -> Vec<BTreeSet<usize>> {
    let gpus: usize = problem.gpus.iter().map(|gpus| gpus.count).sum();
    let tasks = |gpu: usize| {
        let partitions = current.and_then(|schedule| schedule.gpus.get(gpu)).into_iter().flatten();
        partitions.flat_map(|partition| partition.runs.iter().map(|run| run.task)).collect()
    };
    (0..gpus).map(tasks).collect()
}

/// Of all covers with as few GPUs and, up to the step, as much slack as `best`, one that moves the fewest models, with the
/// GPUs' numbers. `None` when there are too many items to look at them all.
pub(crate) fn cheapest(
    problem: &Problem,
    items: &[Item],
    kinds: &[Kind],
    best: &Cover,
    current: &Schedule,
    effort: &Effort,
) -> Option<(Cover, Vec<usize>)> {
    if items.len() > ITEMS_MAX {
        return None;
    }
    let step = effort.slack_step.max(1e-12);
    let floor = ((best.slack / step).floor() * step).min(best.slack);
    let holding = holding(problem, Some(current));
    let wanted = worth_looking_at(problem, &holding, items, best.gpus.len());
    let masks = 1usize << items.len();
    let used_max = best.gpus.len();
    // By GPUs used and mask: the fewest moves, and what the last GPU takes.
    let mut stages: Vec<Vec<Vec<(usize, usize)>>> = Vec::new();
    let mut last = vec![vec![(usize::MAX, 0); masks]; used_max + 1];
    last[0][0].0 = 0;
    for &(gpu, kind) in &wanted {
        let cost: Vec<Option<usize>> = (0..masks)
            .map(|mask| {
                let fits =
                    kinds[kind].best[mask].as_ref().is_some_and(|division| division.slack >= floor);
                let tasks: BTreeSet<usize> =
                    bits(mask as Mask).map(|item| items[item].task).collect();
                fits.then(|| tasks.difference(&holding[gpu]).count())
            })
            .collect();
        let mut next: Vec<Vec<(usize, usize)>> =
            last.iter().map(|row| row.iter().map(|(moves, _)| (*moves, 0)).collect()).collect();
        for used in 1..=used_max {
            for mask in 1..masks {
                let mut group = mask;
                while group != 0 {
                    if let (Some(moves), (before, _)) = (cost[group], last[used - 1][mask & !group])
                        && before != usize::MAX
                        && before + moves < next[used][mask].0
                    {
                        next[used][mask] = (before + moves, group);
                    }
                    group = (group - 1) & mask;
                }
            }
        }
        stages.push(std::mem::replace(&mut last, next));
    }
    let (mut used, mut mask) = (used_max, masks - 1);
    if last[used][mask].0 == usize::MAX {
        return None;
    }
    stages.push(last);
    let (mut gpus, mut positions, mut slack) = (Vec::new(), Vec::new(), f64::INFINITY);
    for (index, &(gpu, kind)) in wanted.iter().enumerate().rev() {
        let group = stages[index + 1][used][mask].1;
        if group != 0 {
            slack =
                slack.min(kinds[kind].best[group].as_ref().map_or(0.0, |division| division.slack));
            gpus.push((kind, group as Mask));
            positions.push(gpu);
            (used, mask) = (used - 1, mask & !group);
        }
    }
    Some((Cover { slack, gpus }, positions))
}

/// GPUs that hold something wanted, and of each kind as many others as could be needed.
fn worth_looking_at(
    problem: &Problem,
    holding: &[BTreeSet<usize>],
    items: &[Item],
    used: usize,
) -> Vec<(usize, usize)> {
    let mut others = vec![used; problem.gpus.len()];
    let mut found = Vec::new();
    for (gpu, kind) in problem.kinds().into_iter().enumerate() {
        let holds = items.iter().any(|item| holding[gpu].contains(&item.task));
        if holds || others[kind] > 0 {
            others[kind] -= usize::from(!holds);
            found.push((gpu, kind));
        }
    }
    found
}

/// Puts placed GPUs at given numbers, and counts the models that move.
pub(crate) fn at(
    problem: &Problem,
    gpus: Vec<Placed>,
    positions: &[usize],
    current: Option<&Schedule>,
) -> (Schedule, usize) {
    let holding = holding(problem, current);
    let mut schedule = Schedule { gpus: vec![Vec::new(); holding.len()] };
    let mut moves = 0;
    for (placed, &gpu) in gpus.into_iter().zip(positions) {
        moves += tasks(&placed).difference(&holding[gpu]).count();
        schedule.gpus[gpu] = placed.partitions;
    }
    (schedule, moves)
}

/// Numbers placed GPUs so that the fewest models move: an assignment problem within each kind.
pub(crate) fn place(
    problem: &Problem,
    gpus: Vec<Placed>,
    current: Option<&Schedule>,
) -> (Schedule, usize) {
    let holding = holding(problem, current);
    let mut positions = vec![0; gpus.len()];
    let kinds = problem.kinds();
    for kind in 0..problem.gpus.len() {
        let rows: Vec<usize> = (0..gpus.len()).filter(|index| gpus[*index].kind == kind).collect();
        let mut spare = rows.len();
        let columns: Vec<usize> = (0..kinds.len())
            .filter(|gpu| kinds[*gpu] == kind)
            .filter(|gpu| {
                let holds = !holding[*gpu].is_empty();
                let wanted = holds || spare > 0;
                spare -= usize::from(!holds && spare > 0);
                wanted
            })
            .collect();
        let cost: Vec<Vec<i64>> = rows
            .iter()
            .map(|row| {
                let tasks = tasks(&gpus[*row]);
                columns.iter().map(|gpu| tasks.difference(&holding[*gpu]).count() as i64).collect()
            })
            .collect();
        for (row, column) in assign(&cost).into_iter().enumerate() {
            positions[rows[row]] = columns[column];
        }
    }
    at(problem, gpus, &positions, current)
}

fn tasks(placed: &Placed) -> BTreeSet<usize> {
    placed
        .partitions
        .iter()
        .flat_map(|partition| partition.runs.iter().map(|run| run.task))
        .collect()
}

/// The cheapest assignment of every row to a column of its own (Kuhn and Munkres, with potentials); there are at least as
/// many columns as rows.
fn assign(cost: &[Vec<i64>]) -> Vec<usize> {
    let (rows, columns) = (cost.len(), cost.first().map_or(0, Vec::len));
    assert!(rows <= columns, "every row needs a column");
    let (mut of_row, mut of_column) = (vec![0i64; rows + 1], vec![0i64; columns + 1]);
    // Rows and columns count from 1; 0 is the row that looks for a place.
    let mut owner = vec![0usize; columns + 1];
    for row in 1..=rows {
        owner[0] = row;
        let (mut at, mut from) = (0, vec![0usize; columns + 1]);
        let (mut reach, mut seen) = (vec![i64::MAX; columns + 1], vec![false; columns + 1]);
        loop {
            seen[at] = true;
            let (current, mut least, mut next) = (owner[at], i64::MAX, 0);
            for column in (1..=columns).filter(|column| !seen[*column]).collect::<Vec<_>>() {
                let reduced = cost[current - 1][column - 1] - of_row[current] - of_column[column];
                if reduced < reach[column] {
                    (reach[column], from[column]) = (reduced, at);
                }
                if reach[column] < least {
                    (least, next) = (reach[column], column);
                }
            }
            for column in 0..=columns {
                if seen[column] {
                    of_row[owner[column]] += least;
                    of_column[column] -= least;
                } else if reach[column] != i64::MAX {
                    reach[column] -= least;
                }
            }
            at = next;
            if owner[at] == 0 {
                break;
            }
        }
        while at != 0 {
            owner[at] = owner[from[at]];
            at = from[at];
        }
    }
    let mut found = vec![0; rows];
    for column in 1..=columns {
        if owner[column] != 0 {
            found[owner[column] - 1] = column - 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheapest_of(cost: &[Vec<i64>], row: usize, taken: &mut Vec<usize>) -> i64 {
        if row == cost.len() {
            return 0;
        }
        let mut least = i64::MAX;
        for column in 0..cost[0].len() {
            if !taken.contains(&column) {
                taken.push(column);
                least = least.min(cost[row][column] + cheapest_of(cost, row + 1, taken));
                taken.pop();
            }
        }
        least
    }

    #[test]
    fn the_assignment_is_as_cheap_as_the_best_of_all() {
        let mut draw = fastrand::Rng::with_seed(3);
        for _ in 0..300 {
            let (rows, more) = (draw.usize(1..5), draw.usize(0..3));
            let cost: Vec<Vec<i64>> =
                (0..rows).map(|_| (0..rows + more).map(|_| draw.i64(0..6)).collect()).collect();
            let found = assign(&cost);
            let distinct: BTreeSet<usize> = found.iter().copied().collect();
            assert_eq!(distinct.len(), rows);
            let sum: i64 = found.iter().enumerate().map(|(row, column)| cost[row][*column]).sum();
            assert_eq!(sum, cheapest_of(&cost, 0, &mut Vec::new()));
        }
    }
}
