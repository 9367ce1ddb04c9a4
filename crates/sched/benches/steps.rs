//! What steps of the scheduler cost: warm requests on 4 devices with 500 models, and a mix that swaps.
//!
//! `cargo bench -p sublet-sched` prints requests per second and nanoseconds per request, the driver included: a heap of
//! events, as small as it can be.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;
use sublet_sched::{
    Batching, Command, Config, DeviceSpec, Event, ModelSpec, Preset, ProfilePoint, Request,
    Scheduler,
};
use sublet_units::{BatchKey, Bytes, DeviceId, LoadId, ModelId, RequestId, RunId, Time};

/// What is in flight: the last segment of a load, or a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Load(DeviceId, LoadId, u32),
    Run(DeviceId, RunId),
}

struct Case {
    name: &'static str,
    devices: u32,
    models: u32,
    /// Pages of a device; a model takes four.
    pages: u32,
    /// Of 1000: how busy the devices are.
    load: u64,
    batching: Option<Batching>,
}

const RUN: Time = Time::from_millis(5);
const LOAD: Time = Time::from_millis(8);

fn play(case: &Case, preset: Preset, requests: u64) -> (f64, u64) {
    let mut scheduler = Scheduler::new(Config::new(preset, Time::from_millis(100)));
    let mut out = Vec::new();
    for device in 0..case.devices {
        let spec = DeviceSpec {
            page_bytes: Bytes::from_mib(8),
            pages: case.pages,
            lanes: 1,
            link_rate: 4_000_000_000,
            ..DeviceSpec::default()
        };
        scheduler.step(Time::ZERO, Event::DeviceAdded { device: DeviceId(device), spec }, &mut out);
    }
    for model in 0..case.models {
        let spec = ModelSpec {
            segments: vec![Bytes::from_mib(8); 4],
            batching: case.batching,
            profile: vec![ProfilePoint { rows: 1, share: 100, time: RUN }],
            ..ModelSpec::default()
        };
        scheduler.step(Time::ZERO, Event::ModelAdded { model: ModelId(model), spec }, &mut out);
    }
    let mut rng = fastrand::Rng::with_seed(1);
    let mut agenda: BinaryHeap<Reverse<(Time, Due)>> = BinaryHeap::new();
    let gap = RUN.0 * 1000 / (u64::from(case.devices) * case.load);
    let (mut arrival, mut asked, mut loads) = (Time::ZERO, 0, 0);
    let started = Instant::now();
    while asked < requests || !agenda.is_empty() {
        let next = agenda.peek().map_or(Time::MAX, |Reverse((time, _))| *time);
        let wake = scheduler.next_wakeup().unwrap_or(Time::MAX);
        let arrives = if asked < requests { arrival } else { Time::MAX };
        let now = next.min(wake).min(arrives);
        let event = if arrives == now {
            asked += 1;
            arrival += Time(rng.u64(0..gap * 2));
            Event::Arrived(Request {
                id: RequestId(asked),
                model: ModelId(rng.u32(0..case.models).min(rng.u32(0..case.models))),
                key: BatchKey(0),
                rows: 1,
                deadline: Some(now + Time::from_millis(100)),
                expires: None,
                priority: 0,
            })
        } else if next == now {
            match agenda.pop().expect("the next").0.1 {
                Due::Load(device, load, segment) => Event::Loaded { device, load, segment },
                Due::Run(device, run) => Event::Finished { device, run, ok: true },
            }
        } else {
            Event::Wake
        };
        scheduler.step(now, event, &mut out);
        for command in out.drain(..) {
            match command {
                Command::Load { device, load, segments, .. } => {
                    loads += 1;
                    agenda.push(Reverse((now + LOAD, Due::Load(device, load, segments.end - 1))));
                }
                Command::Run { device, run, .. } => {
                    agenda.push(Reverse((now + RUN, Due::Run(device, run))));
                }
                _ => {}
            }
        }
    }
    (started.elapsed().as_secs_f64(), loads)
}

fn main() {
    let batching = Some(Batching { rows_max: 8, delay_max: Time::ZERO });
    let base =
        Case { name: "warm", devices: 4, models: 500, pages: 2000, load: 700, batching: None };
    let cases = [
        Case { ..base },
        Case { name: "warm, full", load: 990, ..base },
        Case { name: "warm, batching", batching, ..base },
        Case { name: "overloaded", load: 1200, ..base },
        Case { name: "swapping", pages: 300, load: 300, ..base },
        Case { name: "swapping, full", pages: 300, load: 900, ..base },
        Case { name: "1000 devices", devices: 1000, models: 10_000, pages: 100, load: 500, ..base },
    ];
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for preset in Preset::ALL {
        for case in &cases {
            let label = format!("{preset}: {}", case.name);
            if !wanted.is_empty() && !wanted.iter().all(|word| label.contains(word)) {
                continue;
            }
            let requests = 200_000;
            let (seconds, loads) = play(case, preset, requests);
            println!(
                "{label}: {:.0} requests/s, {:.0} ns each, {loads} loads",
                requests as f64 / seconds,
                seconds * 1e9 / requests as f64,
            );
        }
    }
}
