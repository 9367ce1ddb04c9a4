//! A schedule on the live engine: each request is submitted when it is due.

use super::fleet::Fleet;
use anyhow::{Result, ensure};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sublet_report::{Latency, Outcome};
use sublet_units::{Bytes, Time};
use sublet_workload::Schedule;

/// Runs the schedule after one request to each model; latencies count from when a request was due.
pub fn run(fleet: &Fleet, memory: Bytes, schedule: &Schedule, slo: Time) -> Result<Outcome> {
    let served = fleet.serve(memory)?;
    for index in 0..fleet.models.len() {
        served.engine.infer(fleet.request(index, Some(slo.into())))?.wait()?;
    }
    let outcome = Arc::new(Mutex::new(Outcome {
        in_time: Some(0),
        cold: Some(0),
        send_delay: Some(Latency::new()),
        ..Outcome::new(schedule.span)
    }));
    // One thread to await answers: it only notes when they came.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let start = Instant::now() + Duration::from_millis(20);
    for arrival in &schedule.arrivals {
        let due = start + Duration::from(arrival.at);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let late = Time::from(due.elapsed());
        let submitted =
            served.engine.infer(fleet.request(arrival.model as usize, Some(slo.into())));
        {
            let mut outcome = outcome.lock().expect("no panic");
            outcome.requests += 1;
            outcome.send_delay.as_mut().expect("set above").record(late);
        }
        let outcome = outcome.clone();
        runtime.spawn(async move {
            let answer = match submitted {
                Ok(pending) => pending.await,
                Err(error) => Err(error),
            };
            let latency = Time::from(due.elapsed());
            let mut outcome = outcome.lock().expect("no panic");
            match answer {
                Ok(answer) => {
                    outcome.answered += 1;
                    outcome.latency.record(latency);
                    let count =
                        |sum: &mut Option<u64>, is: bool| *sum = sum.map(|n| n + u64::from(is));
                    count(&mut outcome.in_time, latency <= slo);
                    count(&mut outcome.cold, answer.timing.cold);
                }
                Err(error) => {
                    *outcome.errors.entry(format!("{:?}", error.kind())).or_default() += 1
                }
            }
        });
    }
    let end = Instant::now();
    let ended = || {
        let outcome = outcome.lock().expect("no panic");
        outcome.answered + outcome.failed() == outcome.requests
    };
    while !ended() {
        ensure!(end.elapsed() < super::GRACE, "requests are left over");
        std::thread::sleep(Duration::from_millis(5));
    }
    served.engine.shutdown(super::GRACE);
    let outcome = outcome.lock().expect("no panic").clone();
    Ok(outcome)
}
