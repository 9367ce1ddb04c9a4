//! What fits on one GPU of a kind: for every subset of a few items the best division into partitions.
//!
//! Items are bits of a mask. The pressures of partitions add up, so a division with total pressure `T` is feasible when
//! every partition bears `T` less its own pressure: `T ≤ min(bears + pressure)`. Divisions are built partition by
//! partition, keeping those that no other beats in size, pressure and bearing.

use crate::bearing::SLACK_MAX;
use crate::choices::{self, Item, Options};
use crate::group::{self, Range, Way};
use crate::pairs;
use crate::{Interference, Problem};

/// A set of items as bits.
pub(crate) type Mask = u32;

/// A partition of a chosen division.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Share {
    pub items: Mask,
    /// Index into the kind's sizes.
    pub size: usize,
    /// For each item of the mask, in order of its bits, the index of its choice.
    pub way: Way,
}

/// The best division found for a subset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Division {
    /// Slowdown that every partition bears beyond the predicted.
    pub slack: f64,
    pub shares: Vec<Share>,
}

/// Everything that one kind of GPU can do with the items.
pub(crate) struct Kind {
    pub kind: usize,
    pub items: usize,
    /// By item and size.
    pub options: Vec<Vec<Options>>,
    /// By mask: what one GPU of this kind can do with exactly these items.
    pub best: Vec<Option<Division>>,
}

impl Kind {
    /// Works out every subset of the items, of which there are at most 16.
    pub fn new(problem: &Problem, kind: usize, items: &[Item]) -> Kind {
        let sizes = &problem.gpus[kind].sizes;
        let options: Vec<Vec<Options>> = items
            .iter()
            .map(|item| {
                sizes.iter().map(|size| choices::options(problem, kind, item, *size)).collect()
            })
            .collect();
        let mut built =
            Kind { kind, items: items.len(), options, best: vec![None; 1 << items.len()] };
        let fits = built.memory(problem, items);
        let mut work = Work { problem, sizes, kind: &built, fits: &fits };
        let best = match &problem.gpus[kind].interference {
            Interference::Table(table) => pairs::best(&mut work, table, items),
            Interference::None | Interference::Linear(_) => work.best(),
        };
        built.best = best;
        built
    }

    /// Whether the weights of each subset fit, each model counted once.
    fn memory(&self, problem: &Problem, items: &[Item]) -> Vec<bool> {
        let room = problem.gpus[self.kind].memory.0;
        let mut taken = vec![0u64; 1 << items.len()];
        for mask in 1..taken.len() {
            let low = mask.trailing_zeros() as usize;
            let rest = mask & (mask - 1);
            let again = bits(rest as Mask).any(|item| items[item].task == items[low].task);
            let bytes = if again { 0 } else { problem.memory(items[low].task).0 };
            taken[mask] = taken[rest].saturating_add(bytes);
        }
        taken.into_iter().map(|bytes| bytes <= room).collect()
    }

    /// The options of a group on a size, in order of the mask's bits.
    pub fn group(&self, mask: Mask, size: usize) -> Vec<&Options> {
        bits(mask).map(|item| &self.options[item][size]).collect()
    }
}

/// The bits of a mask, ascending.
pub(crate) fn bits(mut mask: Mask) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        bit
    })
}

/// What the computation of one kind reads.
pub(crate) struct Work<'a> {
    pub problem: &'a Problem,
    pub sizes: &'a [u32],
    pub kind: &'a Kind,
    pub fits: &'a [bool],
}

/// A division under construction.
#[derive(Clone, Copy)]
struct Partial {
    /// Sum of the partitions' sizes.
    taken: u32,
    parts: u32,
    /// Sum of the partitions' pressures.
    pressure: f64,
    /// The least of what a partition bears plus its own pressure.
    key: f64,
    /// The partition added last: group, size, way; and the division before it.
    group: Mask,
    size: u8,
    way: u16,
    before: u32,
}

const NONE: u32 = u32::MAX;

impl Work<'_> {
    /// The pressures that matter: from what neighbours add at least, to what leaves the most slack beside the worst.
    pub fn range(&self) -> Range {
        let pressures = self.kind.options.iter().flatten().flat_map(|options| &options.choices);
        let (least, most) = pressures.fold((f64::INFINITY, 0.0f64), |(least, most), choice| {
            (least.min(choice.pressure), most.max(choice.pressure))
        });
        // A partition with neighbours has at least one; pressures below zero (odd coefficients) may add up.
        let whole = self.problem.gpus[self.kind.kind].whole;
        let smallest = self.sizes.first().copied().unwrap_or(whole);
        let parts = self.problem.rules.partitions_max.min((whole / smallest) as usize);
        let others = parts.saturating_sub(1) as f64;
        let low = if least < 0.0 { least * others } else { least };
        Range { low: if low.is_finite() { low } else { 0.0 }, high: SLACK_MAX + most * others }
    }

    /// What `find` finds for each group that may run on each size: where one may, all its subsets may, too. `find` is given
    /// the group and what was found for it on smaller sizes, and says whether the group may run at all.
    pub fn groups<T>(
        &self,
        mut find: impl FnMut(&[&Options], &mut dyn Iterator<Item = &T>) -> (Vec<T>, bool),
    ) -> Vec<Vec<Vec<T>>> {
        let masks = 1usize << self.kind.items;
        let mut found: Vec<Vec<Vec<T>>> = Vec::with_capacity(self.sizes.len());
        for size in 0..self.sizes.len() {
            let mut of_size: Vec<Vec<T>> = Vec::with_capacity(masks);
            of_size.push(Vec::new());
            let mut runs = vec![true; masks];
            for mask in 1..masks {
                runs[mask] = mask.count_ones() as usize <= self.problem.rules.models_max
                    && self.fits[mask]
                    && bits(mask as Mask).all(|item| runs[mask & !(1 << item)]);
                let mut ways = Vec::new();
                if runs[mask] {
                    let mut smaller = found.iter().flat_map(|of_size| &of_size[mask]);
                    (ways, runs[mask]) = find(&self.kind.group(mask as Mask, size), &mut smaller);
                }
                of_size.push(ways);
            }
            found.push(of_size);
        }
        found
    }

    /// The best of each mask with a GPU to itself: one partition, no neighbours. Larger partitions first.
    pub fn solo(&self) -> Vec<Option<Division>> {
        let range = Range { low: 0.0, high: SLACK_MAX };
        let mut best: Vec<Option<Division>> = vec![None; 1 << self.kind.items];
        for mask in 1..best.len() {
            if mask.count_ones() as usize > self.problem.rules.models_max
                || !self.fits[mask]
                || bits(mask as Mask).any(|item| {
                    let rest = mask & !(1 << item);
                    rest != 0 && best[rest].is_none()
                })
            {
                continue;
            }
            for size in (0..self.sizes.len()).rev() {
                let beat = best[mask].as_ref().map(|division| division.slack);
                if beat.is_some_and(|slack| slack >= SLACK_MAX) {
                    break;
                }
                if let Some(way) = group::alone(&self.kind.group(mask as Mask, size), range, beat) {
                    let share = Share { items: mask as Mask, size, way };
                    best[mask] = Some(Division { slack: way.bears, shares: vec![share] });
                }
            }
        }
        best
    }

    fn best(&mut self) -> Vec<Option<Division>> {
        let mut best = self.solo();
        if self.problem.rules.partitions_max > 1 {
            let range = self.range();
            let complementary = self.problem.rules.complementary;
            let groups = self.groups(|group, smaller| {
                // Where sizes need not add up to the whole, a way on a smaller partition beats one that is no better.
                let known: Vec<Way> =
                    if complementary { Vec::new() } else { smaller.copied().collect() };
                let ways = group::ways(group, range, &known);
                let runs = !(ways.is_empty() && known.is_empty());
                (ways, runs)
            });
            self.divide(&groups, range.low >= 0.0, &mut best);
        }
        best
    }

    /// Improves each mask's best by all divisions into two and more partitions. The group with a mask's lowest item is added
    /// last, so that each division is built once.
    fn divide(&self, groups: &[Vec<Vec<Way>>], rising: bool, best: &mut [Option<Division>]) {
        let rules = &self.problem.rules;
        let whole = self.problem.gpus[self.kind.kind].whole;
        let mut store: Vec<Partial> = Vec::new();
        let mut partials: Vec<std::ops::Range<u32>> = vec![0..0; best.len()];
        for mask in (1..best.len()).filter(|mask| self.fits[*mask]) {
            let mut kept: Vec<Partial> = Vec::new();
            let mut most = best[mask].as_ref().map(|division| division.slack);
            let mut end: Option<Partial> = None;
            let low = mask & mask.wrapping_neg();
            let others = mask & !low;
            let mut rest = others;
            loop {
                let group = mask & !rest;
                let befores = &partials[rest];
                for (size, of_size) in groups.iter().enumerate() {
                    for (way, found) in of_size[group].iter().enumerate() {
                        let first = Partial {
                            taken: self.sizes[size],
                            parts: 1,
                            pressure: found.pressure,
                            key: found.bears + found.pressure,
                            group: group as Mask,
                            size: size as u8,
                            way: way as u16,
                            before: NONE,
                        };
                        if rest == 0 && self.extends(&first) {
                            keep(&mut kept, first, rules.complementary);
                        }
                        for index in befores.clone() {
                            let before = &store[index as usize];
                            let taken = before.taken + first.taken;
                            if taken > whole || (rules.complementary && taken != whole) {
                                continue;
                            }
                            let next = Partial {
                                taken,
                                parts: before.parts + 1,
                                pressure: before.pressure + first.pressure,
                                key: before.key.min(first.key),
                                before: index,
                                ..first
                            };
                            let slack = (next.key - next.pressure).min(SLACK_MAX);
                            if slack >= 0.0 && most.is_none_or(|most| slack > most) {
                                (most, end) = (Some(slack), Some(next));
                            }
                            if (slack >= 0.0 || !rising) && self.extends(&next) {
                                keep(&mut kept, next, rules.complementary);
                            }
                        }
                    }
                }
                if rest == 0 {
                    break;
                }
                rest = (rest - 1) & others;
            }
            let begin = store.len() as u32;
            store.append(&mut kept);
            partials[mask] = begin..store.len() as u32;
            if let (Some(slack), Some(end)) = (most, end) {
                best[mask] = Some(Division { slack, shares: trace(&store, end, groups) });
            }
        }
    }

    /// Whether another partition can be added.
    fn extends(&self, partial: &Partial) -> bool {
        let whole = self.problem.gpus[self.kind.kind].whole;
        let smallest = self.sizes.first().copied().unwrap_or(whole);
        (partial.parts as usize) < self.problem.rules.partitions_max
            && partial.taken + smallest <= whole
    }
}

/// Adds a division unless one that is kept is as good in everything. Divisions of different sizes are kept apart where
/// the sizes must add up to the whole, because a smaller one is then not better.
fn keep(kept: &mut Vec<Partial>, next: Partial, complementary: bool) {
    let beats = |a: &Partial, b: &Partial| {
        let smaller = if complementary { a.taken == b.taken } else { a.taken <= b.taken };
        smaller && a.parts <= b.parts && a.pressure <= b.pressure && a.key >= b.key
    };
    if kept.iter().any(|other| beats(other, &next)) {
        return;
    }
    kept.retain(|other| !beats(&next, other));
    kept.push(next);
}

fn trace(store: &[Partial], end: Partial, groups: &[Vec<Vec<Way>>]) -> Vec<Share> {
    let (mut shares, mut partial) = (Vec::new(), end);
    loop {
        let (size, group) = (usize::from(partial.size), partial.group);
        let way = groups[size][group as usize][usize::from(partial.way)];
        shares.push(Share { items: group, size, way });
        if partial.before == NONE {
            return shares;
        }
        partial = store[partial.before as usize];
    }
}
