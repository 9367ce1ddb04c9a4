//! The part of `sublet` that divides devices: a share of one for models that cannot wait for a run of another.

use super::elastic::{self, Load, SHARERS};
use super::{Demand, ElasticPartitions, LanePlan, Partition, Served};
use crate::event::Batching;
use sublet_units::{ModelId, Time};

/// How often it is looked whether somebody suffers.
const LOOKED: Time = Time::from_secs(2);

/// One late request in so many is too many for a model whose deadline leaves less time than others' runs take.
const LATE_ONE_IN: u64 = 5_000;

/// A lane is made for so many times the rate, since requests come unevenly.
const SPARE: u64 = 2;

/// Devices are whole, except that hasty models whose requests were late have a lane of their own: the smallest share of a
/// device on which they meet their deadlines. A model is hasty when its deadline leaves less time than others' runs take.
/// It keeps its lane while it is asked for, and runs anywhere else too where a lane is idle.
#[derive(Default)]
pub struct HastyLanes {
    counted: ElasticPartitions,
    /// Who has a lane.
    kept: Vec<ModelId>,
}

impl Partition for HastyLanes {
    fn sample_every(&self) -> Time {
        self.counted.sample_every()
    }

    fn sample(&mut self, model: ModelId, requests: u64, span: Time) {
        self.counted.sample(model, requests, span);
    }

    fn plan_every(&self) -> Time {
        LOOKED
    }

    fn plan(&mut self, demands: &[Demand], devices: usize) -> Option<Vec<Vec<LanePlan>>> {
        let asked = |demand: &&Demand| self.counted.rate(demand.model) > 0;
        let run = |demand: &Demand, rows: u32| elastic::latency(demand, rows, 100);
        let largest = |demand: &Demand| run(demand, demand.batching.rows_max);
        let longest = demands.iter().filter(asked).filter_map(largest).max()?;
        let time = |demand: &Demand| Some(demand.slo.saturating_sub(run(demand, 1)?));
        let mut hasty: Vec<(Time, &Demand)> = demands
            .iter()
            .filter(asked)
            .filter(|demand| {
                self.kept.contains(&demand.model)
                    || demand.late > 0 && demand.late * LATE_ONE_IN >= demand.ended
            })
            .filter_map(|demand| Some((time(demand)?, demand)))
            .filter(|&(time, _)| time < longest)
            .collect();
        hasty.sort_unstable_by_key(|&(time, demand)| (time, demand.model));
        let lanes = self.lanes(hasty.into_iter().map(|(_, demand)| demand), devices);
        let mut kept: Vec<ModelId> = lanes.iter().flat_map(|(_, loads)| loads).map(of).collect();
        kept.sort_unstable();
        if kept == self.kept {
            return None;
        }
        self.kept = kept;
        let mut plan = vec![vec![whole(100)]; devices];
        for (device, (share, loads)) in plan.iter_mut().zip(lanes) {
            // With time to spare, batches gather while others run: none waits for one.
            let batching = |load: &Load| Batching { delay_max: Time::ZERO, ..load.demand.batching };
            let served = |load: &Load| Served { model: of(load), batching: batching(load) };
            let lane = LanePlan { share, models: loads.iter().map(served).collect() };
            *device = vec![lane, whole(100 - share)];
        }
        Some(plan)
    }
}

impl HastyLanes {
    /// Shares with their models: one on each device at most.
    fn lanes<'a>(
        &self,
        hasty: impl Iterator<Item = &'a Demand<'a>>,
        devices: usize,
    ) -> Vec<(u32, Vec<Load<'a>>)> {
        let mut lanes: Vec<(u32, Vec<Load>)> = Vec::new();
        for demand in hasty {
            let load = Load { demand, rate: self.counted.rate(demand.model) * SPARE };
            let fits = |(share, loads): &&mut (u32, Vec<Load>)| {
                let all: Vec<Load> = loads.iter().chain([&load]).cloned().collect();
                all.len() <= SHARERS && elastic::cycle(&all, *share).is_some()
            };
            if let Some((_, loads)) = lanes.iter_mut().find(fits) {
                loads.push(load);
                continue;
            }
            let holds = |&share: &u32| elastic::cycle(std::slice::from_ref(&load), share).is_some();
            let shares = elastic::shares(demand).into_iter().filter(|&share| share < 100);
            if let Some(share) = shares.into_iter().find(holds).filter(|_| lanes.len() < devices) {
                lanes.push((share, vec![load]));
            }
        }
        lanes
    }
}

fn of(load: &Load) -> ModelId {
    load.demand.model
}

/// A lane for whoever has none.
fn whole(share: u32) -> LanePlan {
    LanePlan { share, models: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProfilePoint;

    fn point(rows: u32, share: u32, millis: u64) -> ProfilePoint {
        ProfilePoint { rows, share, time: Time::from_millis(millis) }
    }

    #[test]
    fn a_model_that_others_make_late_gets_a_share_and_keeps_it() {
        let quick = [point(1, 100, 1), point(1, 20, 2)];
        let long = [point(1, 100, 50), point(1, 20, 250)];
        let demand = |model, slo, profile, late| Demand {
            model: ModelId(model),
            slo: Time::from_millis(slo),
            batching: Batching { rows_max: 1, delay_max: Time::ZERO },
            profile,
            ended: 1000,
            late,
        };
        let mut lanes = HastyLanes::default();
        for model in [0, 1] {
            lanes.sample(ModelId(model), 10, Time::from_secs(1));
        }
        let calm = [demand(0, 10, &quick, 0), demand(1, 500, &long, 9)];
        assert_eq!(lanes.plan(&calm, 2), None, "only what suffers from others' runs gets a share");
        let rush = [demand(0, 10, &quick, 9), demand(1, 500, &long, 9)];
        let plan = lanes.plan(&rush, 2).expect("a division");
        let shares: Vec<Vec<u32>> =
            plan.iter().map(|lanes| lanes.iter().map(|lane| lane.share).collect()).collect();
        assert_eq!(shares, [vec![20, 80], vec![100]]);
        assert_eq!(plan[0][0].models[0].model, ModelId(0));
        assert_eq!(lanes.plan(&calm, 2), None, "it keeps what it has");
    }
}
