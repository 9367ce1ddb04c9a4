//! Measured variation of run times: a device goes through the factors in their order, from a place that the seed gives.

use sublet_sched::Command;
use sublet_sim::{CostFile, Machine};
use sublet_units::{Bytes, DeviceId, LaneId, ModelId, RequestId, RunId, Time};

const COSTS: &str = r#"
    name = "measured"
    device = { memory = "1GB", page = "1MB", segment = "4MB", launch_us = 100, spread = [0.5, 1.0, 1.5] }
    links = { host_rate = "10GB" }
    [[model]]
    name = "a"
    bytes = "4MB"
    runs = [[1, 2.0]]
"#;

/// How long each of nine runs takes, one after the other, in microseconds.
fn runs(seed: u64) -> Vec<u64> {
    let costs = CostFile::from_toml(COSTS).unwrap();
    let mut machine = Machine::new(seed);
    let device = machine.add_device(costs.device(0, 1, Bytes(100_000_000), 1).1);
    assert_eq!(device, DeviceId(0));
    let model = machine.add_model(costs.model(&costs.models[0], None).1);
    assert_eq!(model, ModelId(0));
    let mut now = Time::ZERO;
    let mut times = Vec::new();
    for run in 0..9 {
        let (run, requests) = (RunId(run), vec![RequestId(run)]);
        let lane = LaneId(0);
        machine.carry_out(now, Command::Run { device, lane, run, model, requests, cold: false });
        let (ended, _) = machine.pop().unwrap();
        times.push((ended - now).as_micros());
        now = ended;
    }
    times
}

#[test]
fn runs_go_through_the_measured_factors() {
    let cycle = [1_100, 2_100, 3_100];
    let mut starts = Vec::new();
    for seed in 0..20 {
        let times = runs(seed);
        let start = cycle.iter().position(|time| *time == times[0]).unwrap();
        let wanted: Vec<u64> = (0..9).map(|at| cycle[(start + at) % 3]).collect();
        assert_eq!(times, wanted);
        assert_eq!(times, runs(seed), "a seed repeats");
        starts.push(start);
    }
    starts.sort_unstable();
    starts.dedup();
    assert_eq!(starts, [0, 1, 2], "seeds begin at different places");
}
