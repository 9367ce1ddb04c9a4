//! What fits on one GPU when slowdowns come from a table of measured pairs.
//!
//! A table knows no single number for the pressure of a partition: the slowdown depends on the batches on both sides. So all
//! pairs of ways to run two groups are compared, after ways that not even the kindest neighbour allows are left out.

use crate::bearing::{LOAD_MAX, Member, SLACK_MAX, bears, load};
use crate::choices::Item;
use crate::gpu::{Division, Mask, Share, Work, bits};
use crate::group::Way;
use crate::problem::GROUP_MAX;
use crate::{PairTable, Problem};

/// Slowdowns by item, size and choice: of the item beside each choice of each other item on each size.
struct Factors {
    of: Vec<Vec<Vec<Vec<Vec<Vec<f64>>>>>>,
}

impl Factors {
    fn new(work: &Work, table: &PairTable, items: &[Item]) -> Factors {
        let problem: &Problem = work.problem;
        let model = |item: usize| problem.tasks[items[item].task].model.as_str();
        let options = &work.kind.options;
        let beside = |item: usize, size: usize, batch: u32| {
            let row = |other: usize| {
                let of_size = |options: &crate::choices::Options| {
                    let at = (model(item), batch, work.sizes[size]);
                    let factor = |other_batch| {
                        table.get(at, (model(other), other_batch)).unwrap_or(f64::INFINITY)
                    };
                    options.choices.iter().map(|choice| factor(choice.batch)).collect::<Vec<f64>>()
                };
                options[other].iter().map(of_size).collect::<Vec<_>>()
            };
            (0..items.len()).map(row).collect::<Vec<_>>()
        };
        let of_item = |item: usize| {
            let of_size = |(size, options): (usize, &crate::choices::Options)| {
                options.choices.iter().map(|choice| beside(item, size, choice.batch)).collect()
            };
            options[item].iter().enumerate().map(of_size).collect()
        };
        Factors { of: (0..items.len()).map(of_item).collect() }
    }

    /// The members of a group as slowed down by another group.
    fn members(
        &self,
        work: &Work,
        group: Side,
        picks: &[u8; GROUP_MAX],
        other: Side,
        theirs: &[u8; GROUP_MAX],
    ) -> Vec<Member> {
        let slowed = |(place, item): (usize, usize)| {
            let choice = usize::from(picks[place]);
            let row = &self.of[item][group.size][choice];
            let worst = bits(other.items)
                .enumerate()
                .map(|(place, neighbour)| row[neighbour][other.size][usize::from(theirs[place])])
                .fold(1.0, f64::max);
            member(work, item, group.size, choice, worst)
        };
        bits(group.items).enumerate().map(slowed).collect()
    }

    /// The members of a group beside the kindest choices of another group.
    fn kindest(
        &self,
        work: &Work,
        group: Side,
        picks: &[u8; GROUP_MAX],
        other: Side,
    ) -> Vec<Member> {
        let slowed = |(place, item): (usize, usize)| {
            let choice = usize::from(picks[place]);
            let row = &self.of[item][group.size][choice];
            let least = |neighbour: usize| {
                row[neighbour][other.size].iter().copied().fold(f64::INFINITY, f64::min)
            };
            let worst = bits(other.items).map(least).fold(1.0, f64::max);
            member(work, item, group.size, choice, worst)
        };
        bits(group.items).enumerate().map(slowed).collect()
    }
}

/// A group on a partition of some size.
#[derive(Clone, Copy)]
struct Side {
    items: Mask,
    size: usize,
}

fn member(work: &Work, item: usize, size: usize, choice: usize, factor: f64) -> Member {
    let options = &work.kind.options[item][size];
    Member { own: factor, ..Member::new(&options.choices[choice], options.slo) }
}

/// The best division of every mask into at most two partitions.
pub(crate) fn best(work: &mut Work, table: &PairTable, items: &[Item]) -> Vec<Option<Division>> {
    let mut best = work.solo();
    let rules = &work.problem.rules;
    if rules.partitions_max < 2 {
        return best;
    }
    let whole = work.problem.gpus[work.kind.kind].whole;
    let factors = Factors::new(work, table, items);
    let groups = work.groups(|group, _| {
        let mut picks = Vec::new();
        let counts: Vec<usize> = group.iter().map(|options| options.choices.len()).collect();
        every(&counts, &mut |pick| {
            let chosen = group.iter().zip(pick);
            let members: Vec<Member> = chosen
                .map(|(options, index)| {
                    Member::new(&options.choices[usize::from(*index)], options.slo)
                })
                .collect();
            if load(&members, 0.0) <= LOAD_MAX {
                picks.push(*pick);
            }
        });
        let runs = !picks.is_empty();
        (picks, runs)
    });
    for (mask, best) in best.iter_mut().enumerate().skip(1) {
        let low = mask & mask.wrapping_neg();
        let mut group = mask;
        while group != 0 && work.fits[mask] {
            let rest = mask & !group;
            if group & low != 0 && rest != 0 {
                for (size, of_size) in groups.iter().enumerate() {
                    for (other_size, of_other) in groups.iter().enumerate() {
                        let taken = work.sizes[size] + work.sizes[other_size];
                        if taken > whole || (rules.complementary && taken != whole) {
                            continue;
                        }
                        let sides = [
                            Side { items: group as Mask, size },
                            Side { items: rest as Mask, size: other_size },
                        ];
                        meet(work, &factors, sides, [&of_size[group], &of_other[rest]], best);
                    }
                }
            }
            group = (group - 1) & mask;
        }
    }
    best
}

/// Compares all ways of two groups beside each other with the best division so far.
fn meet(
    work: &Work,
    factors: &Factors,
    [a, b]: [Side; 2],
    picks: [&[[u8; GROUP_MAX]]; 2],
    best: &mut Option<Division>,
) {
    let least = best.as_ref().map_or(0.0, |division| division.slack);
    let kind = |side, other| {
        move |picks: &&[u8; GROUP_MAX]| {
            load(&factors.kindest(work, side, picks, other), least) <= LOAD_MAX
        }
    };
    let of_a: Vec<_> = picks[0].iter().filter(kind(a, b)).collect();
    let of_b: Vec<_> = picks[1].iter().filter(kind(b, a)).collect();
    for pick_a in &of_a {
        for pick_b in &of_b {
            let least = best.as_ref().map_or(0.0, |division| division.slack);
            if best.is_some() && least >= SLACK_MAX {
                return;
            }
            let first = factors.members(work, a, pick_a, b, pick_b);
            let second = factors.members(work, b, pick_b, a, pick_a);
            if load(&first, least) > LOAD_MAX || load(&second, least) > LOAD_MAX {
                continue;
            }
            let slack = bears(&first, least, SLACK_MAX).min(bears(&second, least, SLACK_MAX));
            if best.as_ref().is_none_or(|division| slack > division.slack) {
                let share = |side: Side, pick: &[u8; GROUP_MAX]| Share {
                    items: side.items,
                    size: side.size,
                    way: Way { pressure: 0.0, bears: slack, choices: *pick },
                };
                *best = Some(Division { slack, shares: vec![share(a, pick_a), share(b, pick_b)] });
            }
        }
    }
}

/// All combinations of choices.
fn every(counts: &[usize], visit: &mut impl FnMut(&[u8; GROUP_MAX])) {
    if counts.contains(&0) {
        return;
    }
    let mut picks = [0u8; GROUP_MAX];
    loop {
        visit(&picks);
        let Some(place) =
            (0..counts.len()).find(|place| usize::from(picks[*place]) + 1 < counts[*place])
        else {
            return;
        };
        picks[place] += 1;
        picks[..place].fill(0);
    }
}
