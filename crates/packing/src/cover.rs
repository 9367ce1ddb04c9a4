//! The fewest GPUs that take all items, and of those ways the one with most slack: dynamic programming over subsets.
//!
//! The slack of a schedule is that of its tightest GPU, so the best cover of a set by `c` GPUs is the best over all first
//! GPUs of the lesser of its slack and the best cover of the rest by `c − 1`. GPUs of one kind are interchangeable: the
//! first one takes the lowest item.

use crate::gpu::{Kind, Mask};

/// GPUs and what each takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cover {
    pub slack: f64,
    /// Of each GPU its kind and items.
    pub gpus: Vec<(usize, Mask)>,
}

/// The slack of the best cover of each mask by a number of GPUs of one kind, and the first GPU's items.
struct Layer {
    slack: Vec<f64>,
    first: Vec<Mask>,
}

const NEVER: f64 = f64::NEG_INFINITY;

/// The best cover by at most `counts` GPUs of each kind, or the least number that would do.
pub(crate) fn cover(kinds: &[Kind], counts: &[usize]) -> Result<Cover, usize> {
    match kinds {
        [kind] => cover_alike(kind, counts[0]),
        _ => cover_mixed(kinds, counts).ok_or(counts.iter().sum::<usize>() + 1),
    }
}

fn empty(items: usize) -> Layer {
    let mut slack = vec![NEVER; 1 << items];
    slack[0] = f64::INFINITY;
    Layer { slack, first: vec![0; 1 << items] }
}

/// One GPU more of this kind.
fn extend(kind: &Kind, before: &Layer, only: Option<Mask>) -> Layer {
    let masks = before.slack.len();
    let mut layer = Layer { slack: vec![NEVER; masks], first: vec![0; masks] };
    let targets = only.map_or(1..masks, |mask| mask as usize..mask as usize + 1);
    for mask in targets {
        let low = mask & mask.wrapping_neg();
        let others = mask & !low;
        let mut rest = others;
        loop {
            let group = mask & !rest;
            if let Some(division) = &kind.best[group] {
                let slack = division.slack.min(before.slack[rest]);
                if slack > layer.slack[mask] {
                    (layer.slack[mask], layer.first[mask]) = (slack, group as Mask);
                }
            }
            if rest == 0 {
                break;
            }
            rest = (rest - 1) & others;
        }
    }
    layer
}

fn cover_alike(kind: &Kind, count: usize) -> Result<Cover, usize> {
    let full = (1usize << kind.items) - 1;
    let mut layers = vec![empty(kind.items)];
    for used in 1..=kind.items {
        let last = layers.last().expect("there is a layer of no GPUs");
        let goal = extend(kind, last, Some(full as Mask));
        if goal.slack[full] > NEVER {
            if used > count {
                return Err(used);
            }
            let slack = goal.slack[full];
            layers.push(goal);
            return Ok(Cover { slack, gpus: trace(kind.kind, &layers, used, full) });
        }
        layers.push(extend(kind, last, None));
    }
    Err(kind.items + 1)
}

fn trace(kind: usize, layers: &[Layer], mut used: usize, mut mask: usize) -> Vec<(usize, Mask)> {
    let mut gpus = Vec::new();
    while used > 0 {
        let first = layers[used].first[mask];
        gpus.push((kind, first));
        mask &= !(first as usize);
        used -= 1;
    }
    gpus
}

/// Covers with some GPUs of each kind: subsets are divided between the kinds.
fn cover_mixed(kinds: &[Kind], counts: &[usize]) -> Option<Cover> {
    let items = kinds.first()?.items;
    let masks = 1usize << items;
    let of_kind: Vec<Vec<Layer>> = kinds
        .iter()
        .zip(counts)
        .map(|(kind, count)| {
            let mut layers = vec![empty(items)];
            for _ in 0..(*count).min(items) {
                layers.push(extend(kind, layers.last().expect("never empty"), None));
            }
            layers
        })
        .collect();
    // By GPUs used in total and mask: the slack, GPUs of the last kind, and their items.
    let mut stages: Vec<Vec<Vec<(f64, usize, usize)>>> = Vec::new();
    let mut used_max = 0;
    for layers in &of_kind {
        used_max = (used_max + layers.len() - 1).min(items);
        let mut stage = vec![vec![(NEVER, 0, 0); masks]; used_max + 1];
        for (used, row) in stage.iter_mut().enumerate() {
            for (of_this, layer) in layers.iter().enumerate().take(used + 1) {
                for (mask, cell) in row.iter_mut().enumerate() {
                    let mut group = mask;
                    loop {
                        let before = match stages.last() {
                            Some(last) => {
                                last.get(used - of_this).map_or(NEVER, |row| row[mask & !group].0)
                            }
                            None if used == of_this && group == mask => f64::INFINITY,
                            None => NEVER,
                        };
                        let slack = layer.slack[group].min(before);
                        if slack > cell.0 {
                            *cell = (slack, of_this, group);
                        }
                        if group == 0 {
                            break;
                        }
                        group = (group - 1) & mask;
                    }
                }
            }
        }
        stages.push(stage);
    }
    let last = stages.last()?;
    let mut used = (0..last.len()).find(|used| last[*used][masks - 1].0 > NEVER)?;
    let slack = last[used][masks - 1].0;
    let (mut gpus, mut mask) = (Vec::new(), masks - 1);
    for (index, stage) in stages.iter().enumerate().rev() {
        let (_, of_this, group) = stage[used][mask];
        gpus.extend(trace(kinds[index].kind, &of_kind[index], of_this, group));
        (used, mask) = (used - of_this, mask & !group);
    }
    Some(Cover { slack, gpus })
}
