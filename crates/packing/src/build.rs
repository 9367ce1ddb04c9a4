//! From a division of items into partitions to the partitions of a schedule.

use crate::bearing::LOAD_MAX;
use crate::bearing::{Member, duties, load};
use crate::choices::Item;
use crate::gpu::{Division, Kind, Share, bits};
use crate::group::Way;
use crate::{Interference, Partition, Problem, Run};

/// A GPU that is not numbered yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed {
    pub kind: usize,
    pub slack: f64,
    pub partitions: Vec<Partition>,
}

/// The partitions of a division, largest first. Duty cycles are chosen as if every run took longer by all the slack that the
/// partition has, so that the schedule really bears it.
pub(crate) fn placed(
    problem: &Problem,
    kind: &Kind,
    items: &[Item],
    division: &Division,
) -> Placed {
    let partition = |share: &Share| {
        let members = members(problem, kind, items, division, share);
        let spare = crate::bearing::bears(&members, 0.0, crate::bearing::SLACK_MAX);
        debug_assert!(load(&members, spare) <= LOAD_MAX);
        let duties = duties(&members, spare);
        let runs = bits(share.items).enumerate().zip(duties).map(|((place, item), duty)| {
            let choice =
                &kind.options[item][share.size].choices[usize::from(share.way.choices[place])];
            Run { task: items[item].task, rate: items[item].rate, batch: choice.batch, duty }
        });
        Partition { size: problem.gpus[kind.kind].sizes[share.size], runs: runs.collect() }
    };
    let mut partitions: Vec<Partition> = division.shares.iter().map(partition).collect();
    partitions.sort_by_key(|partition| std::cmp::Reverse(partition.size));
    Placed { kind: kind.kind, slack: division.slack, partitions }
}

/// A share's members with the pressure of all other shares already in their own part of the slowdown.
fn members(
    problem: &Problem,
    kind: &Kind,
    items: &[Item],
    division: &Division,
    share: &Share,
) -> Vec<Member> {
    let others = || division.shares.iter().filter(|other| other.items != share.items);
    let alone = division.shares.len() == 1;
    let pressure: f64 = others().map(|other| other.way.pressure).sum();
    let choice = |item: usize, size: usize, way: &Way, place: usize| {
        kind.options[item][size].choices[usize::from(way.choices[place])]
    };
    bits(share.items)
        .enumerate()
        .map(|(place, item)| {
            let chosen = choice(item, share.size, &share.way, place);
            let own = match &problem.gpus[kind.kind].interference {
                _ if alone => 1.0,
                Interference::None => 1.0,
                Interference::Linear(_) => chosen.own + pressure,
                Interference::Table(table) => {
                    let model = |item: usize| problem.tasks[items[item].task].model.as_str();
                    let size = problem.gpus[kind.kind].sizes[share.size];
                    let beside = |other: &Share| {
                        let factor = |(place, neighbour): (usize, usize)| {
                            let batch = choice(neighbour, other.size, &other.way, place).batch;
                            table
                                .get((model(item), chosen.batch, size), (model(neighbour), batch))
                                .expect("every pair that can meet was checked to be measured")
                        };
                        bits(other.items).enumerate().map(factor).fold(1.0, f64::max)
                    };
                    others().map(beside).fold(1.0, f64::max)
                }
            };
            Member { own, ..Member::new(&chosen, kind.options[item][share.size].slo) }
        })
        .collect()
}
