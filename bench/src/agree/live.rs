//! A schedule on the live engine: each request is submitted when it is due, and what became of it is written down.

use super::fleet::Fleet;
use anyhow::{Context, Result};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sublet_engine::{EngineEvent, Timing};
use sublet_report::{Latency, Outcome};
use sublet_units::{Bytes, Time};
use sublet_workload::Schedule;

/// How long a run may go on after its last request was due.
const GRACE: Duration = Duration::from_secs(20);
/// Before the first request of a schedule.
const HEAD_START: Duration = Duration::from_millis(20);

/// What a run asks of the engine beside its schedule.
#[derive(Clone, Copy)]
pub struct Terms {
    /// Device memory for weights.
    pub memory: Bytes,
    pub slo: Time,
    /// Requests that have not started after this are refused.
    pub patience: Option<Time>,
}

/// One run: what was asked in order of asking, and the swap-ins.
pub struct Session {
    pub asked: Vec<Asked>,
    pub swaps: Vec<Swap>,
    /// The device's unit of memory.
    pub page: Bytes,
    pub span: Time,
}

pub struct Asked {
    pub model: u32,
    /// From the beginning of the run. Not when it was due: the sender may be late, which is no fault of the engine's.
    pub sent: Time,
    pub ended: Time,
    /// Where the time went, or why there was no answer.
    pub answer: Result<Timing, String>,
}

/// A model that came to the device, as the scheduler saw it.
pub struct Swap {
    pub begun: Time,
    pub ended: Time,
    pub bytes: Bytes,
}

/// Runs the schedule on a fresh engine, after one request to each model.
pub fn run(fleet: &Fleet, terms: Terms, schedule: &Schedule) -> Result<Session> {
    let served = fleet.serve(terms.memory)?;
    let begun = Instant::now();
    let swaps = Arc::new(Mutex::new(Vec::new()));
    let seen = swaps.clone();
    served.engine.subscribe(Box::new(move |event| {
        if let EngineEvent::SwappedIn { bytes, took, .. } = event {
            let ended = Time::from(begun.elapsed());
            let swap = Swap { begun: ended.saturating_sub(*took), ended, bytes: *bytes };
            seen.lock().expect("no panic").push(swap);
        }
    }));
    for index in 0..fleet.models.len() {
        served.engine.infer(fleet.request(index, terms.slo, None))?.wait()?;
    }
    // One thread to await answers: it only notes when they came.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let (answers, answered) = channel();
    let mut sent = Vec::with_capacity(schedule.arrivals.len());
    let start = Instant::now() + HEAD_START;
    for (number, arrival) in schedule.arrivals.iter().enumerate() {
        let due = start + Duration::from(arrival.at);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let request = fleet.request(arrival.model as usize, terms.slo, terms.patience);
        sent.push(Time::from(start.elapsed()));
        let submitted = served.engine.infer(request);
        let answers = answers.clone();
        runtime.spawn(async move {
            let answer = match submitted {
                Ok(pending) => pending.await,
                Err(error) => Err(error),
            };
            let ended = Time::from(start.elapsed());
            let answer = answer.map(|it| it.timing).map_err(|error| format!("{:?}", error.kind()));
            // Nobody listens only when the run has failed.
            let _ = answers.send((number, ended, answer));
        });
    }
    drop(answers);
    let mut asked: Vec<Option<Asked>> = sent.iter().map(|_| None).collect();
    for _ in &sent {
        let (number, ended, answer) =
            answered.recv_timeout(GRACE).context("requests are left over")?;
        let model = schedule.arrivals[number].model;
        asked[number] = Some(Asked { model, sent: sent[number], ended, answer });
    }
    let page = served.engine.devices().first().context("there is a device")?.page_bytes;
    served.engine.shutdown(GRACE);
    let swaps = std::mem::take(&mut *swaps.lock().expect("no panic"));
    let asked = asked.into_iter().flatten().collect();
    Ok(Session { asked, swaps, page, span: schedule.span })
}

impl Session {
    pub fn outcome(&self, slo: Time) -> Outcome {
        let mut outcome = Outcome { in_time: Some(0), cold: Some(0), ..Outcome::new(self.span) };
        let mut latency = Latency::new();
        let (mut in_time, mut cold) = (0, 0);
        for asked in &self.asked {
            outcome.requests += 1;
            let took = asked.ended.saturating_sub(asked.sent);
            match &asked.answer {
                Ok(timing) => {
                    outcome.answered += 1;
                    latency.record(took);
                    in_time += u64::from(took <= slo);
                    cold += u64::from(timing.cold);
                }
                Err(kind) => *outcome.errors.entry(kind.clone()).or_default() += 1,
            }
        }
        Outcome { in_time: Some(in_time), cold: Some(cold), latency, ..outcome }
    }
}

impl Asked {
    /// How long the lane computed for it, weights being there.
    pub fn run(&self) -> Option<Time> {
        let timing = self.answer.as_ref().ok()?;
        Some(Time::from(timing.input + timing.compute + timing.output))
    }

    /// What went neither into waiting for the lane nor into the run: starting it, and handing over the answer.
    pub fn added(&self) -> Option<Time> {
        let timing = self.answer.as_ref().ok()?;
        let known = Time::from(timing.queue + timing.stalled) + self.run()?;
        Some(self.ended.saturating_sub(self.sent).saturating_sub(known))
    }
}
