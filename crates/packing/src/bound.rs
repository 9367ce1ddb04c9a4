//! How many GPUs a large set of whole models needs at least.
//!
//! Give each model a weight. If no GPU can hold more than a weight of `M`, the set needs its whole weight divided by `M`
//! (Farley 1990). No GPU holds more than the heaviest groups on the partitions that make it up, even if a model were in several
//! of them and nobody disturbed anybody. Good weights are found by turns: the models of the heaviest GPU become lighter.

use crate::Problem;
use crate::choices::{self, Item, Options};
use crate::group::{self, Range};

/// Groups that are looked at; with more the bound is not worked out.
const GROUPS_MAX: usize = 300_000;
const TURNS: usize = 400;
const LIGHTER: f64 = 0.93;

/// The bound, or 0 where it is not worked out: with several kinds of GPUs, or too many groups.
pub(crate) fn by_groups(problem: &Problem, items: &[Item]) -> usize {
    let [gpus] = problem.gpus.as_slice() else { return 0 };
    let Some(groups) = groups(problem, items) else { return 0 };
    let mut weights = vec![1.0; items.len()];
    let mut least: f64 = 0.0;
    for _ in 0..TURNS {
        let heaviest: Vec<(f64, &[u16])> =
            groups.iter().map(|of_size| of_size.heaviest(&weights)).collect();
        let worth: Vec<f64> = heaviest.iter().map(|(weight, _)| *weight).collect();
        let (most, parts) = fullest(&gpus.sizes, &worth, gpus.whole, problem.rules.partitions_max);
        if most <= 0.0 {
            return 0;
        }
        least = least.max(weights.iter().sum::<f64>() / most);
        for size in parts {
            for item in heaviest[size].1 {
                weights[usize::from(*item)] *= LIGHTER;
            }
        }
    }
    (least - 1e-6).ceil() as usize
}

/// The groups that one partition size can run, one after another in one list.
struct Groups {
    members: Vec<u16>,
    ends: Vec<u32>,
}

impl Groups {
    fn get(&self, index: usize) -> &[u16] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.members[begin..self.ends[index] as usize]
    }

    fn heaviest(&self, weights: &[f64]) -> (f64, &[u16]) {
        let mut best: (f64, &[u16]) = (0.0, &[]);
        for index in 0..self.ends.len() {
            let group = self.get(index);
            let weight: f64 = group.iter().map(|item| weights[usize::from(*item)]).sum();
            if weight > best.0 {
                best = (weight, group);
            }
        }
        best
    }
}

/// All groups by size, undisturbed; `None` when there are too many.
fn groups(problem: &Problem, items: &[Item]) -> Option<Vec<Groups>> {
    let mut count = 0;
    let mut found = Vec::new();
    for &size in &problem.gpus[0].sizes {
        let options: Vec<Options> = items
            .iter()
            .map(|item| group::undisturbed(&choices::options(problem, 0, item, size)))
            .collect();
        let mut of_size = Groups { members: Vec::new(), ends: Vec::new() };
        // Groups are extended by items after their last, so each is met once.
        let mut open: Vec<Vec<u16>> = vec![Vec::new()];
        while let Some(group) = open.pop() {
            let next = group.last().map_or(0, |last| last + 1);
            for item in next..items.len() as u16 {
                let mut larger = group.clone();
                larger.push(item);
                let members: Vec<&Options> =
                    larger.iter().map(|item| &options[usize::from(*item)]).collect();
                if group::ways(&members, Range { low: 0.0, high: 0.0 }, &[]).is_empty() {
                    continue;
                }
                of_size.members.extend_from_slice(&larger);
                of_size.ends.push(of_size.members.len() as u32);
                count += 1;
                if count > GROUPS_MAX {
                    return None;
                }
                if larger.len() < problem.rules.models_max {
                    open.push(larger);
                }
            }
        }
        found.push(of_size);
    }
    Some(found)
}

/// The most that partitions of these sizes and worths bring to one GPU, and which sizes those are.
fn fullest(sizes: &[u32], worth: &[f64], whole: u32, parts_max: usize) -> (f64, Vec<usize>) {
    let mut best = (0.0, Vec::new());
    let parts = parts_max.min((whole / sizes[0]) as usize);
    // By what is taken: the best with one partition more in each turn.
    let mut reached: Vec<Option<(f64, Vec<usize>)>> = vec![None; whole as usize + 1];
    reached[0] = Some((0.0, Vec::new()));
    for _ in 0..parts {
        let mut next: Vec<Option<(f64, Vec<usize>)>> = vec![None; whole as usize + 1];
        for (taken, state) in reached.iter().enumerate() {
            let Some((sum, chosen)) = state else { continue };
            for (index, size) in sizes.iter().enumerate() {
                let at = taken + *size as usize;
                let sum = sum + worth[index];
                if at <= whole as usize && next[at].as_ref().is_none_or(|(other, _)| sum > *other) {
                    let mut chosen = chosen.clone();
                    chosen.push(index);
                    if sum > best.0 {
                        best = (sum, chosen.clone());
                    }
                    next[at] = Some((sum, chosen));
                }
            }
        }
        reached = next;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_gpu_is_found() {
        let sizes = [20, 40, 50, 60, 80, 100];
        let worth = [1.0, 1.5, 2.2, 2.3, 2.9, 3.5];
        assert_eq!(fullest(&sizes, &worth, 100, 1), (3.5, vec![5]));
        let (most, mut parts) = fullest(&sizes, &worth, 100, 2);
        parts.sort_unstable();
        assert_eq!((most, parts), (4.4, vec![2, 2]));
        assert_eq!(fullest(&sizes, &worth, 100, 16).0, 5.0);
    }
}
