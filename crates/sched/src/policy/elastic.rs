//! Elastic partitioning (gpulet, ATC 2022, §4.2): which model runs on which share of which device.
//!
//! Models come by rate × deadline, the largest first. A model's rate is split into saturated pieces on partitions at the
//! knee of its throughput, and one residual piece on the smallest partition that keeps its deadline; each piece takes
//! the best fitting free partition, a whole device being cut in two at most. A piece that finds none shares the time
//! of an occupied partition, with up to three models in one duty cycle. Here, what fits nowhere joins the least used
//! partition, where gpulet would call the set not schedulable: requests must go somewhere.

use super::{Demand, LanePlan, Served};
use crate::event::Batching;
use sublet_units::Time;

/// Partitions of a device, and models in one duty cycle.
const PARTITIONS: usize = 2;
pub(super) const SHARERS: usize = 3;

#[derive(Clone)]
pub(super) struct Load<'a> {
    pub demand: &'a Demand<'a>,
    /// Requests per 1000 s.
    pub rate: u64,
}

/// A share of a device with the pieces that run on it.
#[derive(Clone, Default)]
struct Partition<'a> {
    device: usize,
    share: u32,
    pieces: Vec<Load<'a>>,
    /// The batch and duty cycle of each piece.
    cycle: Vec<(u32, Time)>,
    /// It has one piece that fills it.
    saturated: bool,
}

/// One list of lanes for each device.
pub(super) fn divide(mut loads: Vec<Load>, devices: usize) -> Vec<Vec<LanePlan>> {
    loads.sort_by_key(|load| {
        let weight = u128::from(load.rate) * u128::from(load.demand.slo.0);
        (std::cmp::Reverse(weight), load.demand.model)
    });
    let whole = |device| Partition { device, share: 100, ..Partition::default() };
    let mut partitions: Vec<Partition> = (0..devices).map(whole).collect();
    for load in loads {
        place(&mut partitions, load);
    }
    let mut plan = vec![Vec::new(); devices];
    for Partition { device, share, pieces, cycle, .. } in partitions {
        let served = pieces.iter().zip(cycle).map(|(piece, (rows, delay))| Served {
            model: piece.demand.model,
            batching: Batching { rows_max: rows, delay_max: delay },
        });
        plan[device].push(LanePlan { share, models: served.collect() });
    }
    plan
}

fn place<'a>(partitions: &mut Vec<Partition<'a>>, load: Load<'a>) {
    let mut left = load.rate;
    if let Some((share, rows, time)) = knee(&load) {
        let most = throughput(rows, time);
        while left >= most {
            let Some(at) = take(partitions, share) else { break };
            partitions[at].pieces.push(Load { rate: most, ..load.clone() });
            partitions[at].cycle.push((rows, time));
            partitions[at].saturated = true;
            left -= most;
        }
    }
    if left == 0 {
        return;
    }
    let rest = Load { rate: left, ..load };
    let fit = shares(rest.demand)
        .into_iter()
        .find(|&share| cycle(std::slice::from_ref(&rest), share).is_some());
    if let Some(share) = fit
        && let Some(at) = take(partitions, share)
    {
        // The partition may be larger than asked for.
        let cycle = cycle(std::slice::from_ref(&rest), partitions[at].share);
        partitions[at].cycle = cycle.expect("a larger share is no slower");
        partitions[at].pieces.push(rest);
        return;
    }
    for partition in partitions.iter_mut() {
        let mut pieces = partition.pieces.clone();
        pieces.push(rest.clone());
        if !partition.saturated
            && pieces.len() <= SHARERS
            && let Some(cycle) = cycle(&pieces, partition.share)
        {
            (partition.pieces, partition.cycle) = (pieces, cycle);
            return;
        }
    }
    overflow(partitions, rest);
}

/// A piece without a place goes where the least is promised, in batches of what waits.
fn overflow<'a>(partitions: &mut [Partition<'a>], rest: Load<'a>) {
    let used = |partition: &Partition| -> u64 {
        partition.pieces.iter().map(|piece| piece.rate).sum::<u64>() / u64::from(partition.share)
    };
    let Some(partition) = partitions.iter_mut().min_by_key(|partition| used(partition)) else {
        return;
    };
    partition.cycle.push((rest.demand.batching.rows_max, Time::ZERO));
    partition.pieces.push(rest);
}

/// Takes the smallest free partition of at least `share`, cutting a whole device where that leaves something.
fn take(partitions: &mut Vec<Partition>, share: u32) -> Option<usize> {
    let is_fit = |partition: &Partition| partition.pieces.is_empty() && partition.share >= share;
    let best = (0..partitions.len()).filter(|&at| is_fit(&partitions[at]));
    let at = best.min_by_key(|&at| partitions[at].share)?;
    let device = partitions[at].device;
    let cuts = partitions.iter().filter(|partition| partition.device == device).count();
    let rest = partitions[at].share - share;
    if rest > 0 && cuts < PARTITIONS {
        partitions[at].share = share;
        partitions.push(Partition { device, share: rest, ..Partition::default() });
    }
    Some(at)
}

/// The shares that a model was measured on, ascending.
pub(super) fn shares(demand: &Demand) -> Vec<u32> {
    let mut shares: Vec<u32> = demand.profile.iter().map(|point| point.share).collect();
    shares.sort_unstable();
    shares.dedup();
    shares
}

/// What a run of so many rows takes on a share: as measured on the nearest share from below and batch from above.
pub(super) fn latency(demand: &Demand, rows: u32, share: u32) -> Option<Time> {
    let share = shares(demand).into_iter().rev().find(|&known| known <= share)?;
    let points = demand.profile.iter().filter(|point| point.share == share && point.rows >= rows);
    points.min_by_key(|point| point.rows).map(|point| point.time)
}

fn batches(demand: &Demand) -> Vec<u32> {
    let rows = demand.profile.iter().map(|point| point.rows);
    let mut rows: Vec<u32> = rows.filter(|&rows| rows <= demand.batching.rows_max).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Requests per 1000 s.
fn throughput(rows: u32, time: Time) -> u64 {
    (u128::from(rows) * 1_000_000_000_000 / u128::from(time.0.max(1))) as u64
}

/// The share where throughput lies highest above the straight line to that of the whole device, with the largest batch
/// that meets the deadline twice over, and its time.
fn knee(load: &Load) -> Option<(u32, u32, Time)> {
    let demand = load.demand;
    let best = |share: u32| {
        let meets = |&rows: &u32| {
            latency(demand, rows, share).is_some_and(|time| time.0 * 2 <= demand.slo.0)
        };
        let rows = batches(demand).into_iter().rev().find(meets)?;
        Some((share, rows, latency(demand, rows, share)?))
    };
    let points: Vec<(u32, u32, Time)> = shares(demand).into_iter().filter_map(best).collect();
    let &(_, rows, time) = points.last()?;
    let whole = i128::from(throughput(rows, time));
    let above = |&&(share, rows, time): &&(u32, u32, Time)| {
        i128::from(throughput(rows, time)) * 100 - whole * i128::from(share)
    };
    points.iter().max_by_key(above).copied()
}

/// A duty cycle in which all pieces run one after the other on a share: the batch and the cycle of each, if every
/// deadline holds.
pub(super) fn cycle(pieces: &[Load], share: u32) -> Option<Vec<(u32, Time)>> {
    let gathers = |load: &Load, rows: u32| {
        Time((u128::from(rows) * 1_000_000_000_000 / u128::from(load.rate.max(1))) as u64)
    };
    let longest = pieces.iter().map(|piece| piece.demand.slo).min()?;
    let candidates = pieces.iter().flat_map(|piece| {
        batches(piece.demand).into_iter().map(move |rows| gathers(piece, rows).min(longest))
    });
    let mut candidates: Vec<Time> = candidates.collect();
    // What comes rarely runs as it comes: the cycle is then what the deadlines leave.
    let alone: Option<u64> =
        pieces.iter().map(|piece| Some(latency(piece.demand, 1, share)?.0)).sum();
    candidates.push(longest.saturating_sub(Time(alone?)));
    candidates.sort_unstable();
    candidates.dedup();
    candidates.into_iter().rev().find_map(|duty| {
        let mut busy = Time::ZERO;
        let mut batches = Vec::new();
        for piece in pieces {
            let rows = u128::from(piece.rate) * u128::from(duty.0);
            let rows = u32::try_from(rows.div_ceil(1_000_000_000_000).max(1)).ok()?;
            if rows > piece.demand.batching.rows_max {
                return None;
            }
            busy = busy.saturating_add(latency(piece.demand, rows, share)?);
            batches.push(rows);
        }
        let holds = |piece: &Load| busy.saturating_add(duty) <= piece.demand.slo;
        (busy <= duty.max(Time(1)) && pieces.iter().all(holds))
            .then(|| batches.into_iter().map(|rows| (rows, duty)).collect())
    })
}
