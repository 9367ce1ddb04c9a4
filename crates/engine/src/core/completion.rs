//! What devices report.

use super::outbox::{Garbage, Outbox};
use super::request::{Request, Run};
use super::state::State;
use super::submit::lone_key;
use crate::{EngineError, EngineEvent, ErrorKind};
use std::sync::atomic::Ordering;
use sublet_device::{Completion, DeviceError, RunOutput};
use sublet_sched::Event;
use sublet_units::{Bytes, DeviceId, LoadId, RequestId, RunId, Time};

impl State {
    pub fn complete(
        &mut self,
        now: Time,
        device: DeviceId,
        completion: Completion,
        outbox: &mut Outbox,
    ) {
        match completion {
            Completion::Loaded { load, segment } => {
                if self.arrived(now, load, segment, outbox) {
                    self.step(now, Event::Loaded { device, load, segment }, outbox);
                }
            }
            Completion::LoadFailed { load, error } => {
                if let Some(arriving) = self.loads.remove(&load) {
                    let fatal = matches!(error, DeviceError::Unsupported { .. });
                    tracing::warn!(model = %arriving.model, %device, %error, "swap-in failed");
                    if let Some(model) = self.models.get_mut(&arriving.model) {
                        model.load_error = error.to_string();
                        model.residency[device.0 as usize].swap = None;
                    }
                    self.step(now, Event::LoadFailed { device, load, fatal }, outbox);
                }
            }
            Completion::Ran { run, result } => self.ran(now, run, result, outbox),
            Completion::Lost { error } => self.lost(now, device, &error, outbox),
        }
    }

    /// Returns whether the load is known: it may have ended with its device.
    fn arrived(&mut self, now: Time, load: LoadId, segment: u32, outbox: &mut Outbox) -> bool {
        let Some(arriving) = self.loads.get(&load) else { return false };
        let device = arriving.device;
        let Some(model) = self.models.get_mut(&arriving.model) else { return false };
        if segment + 1 == arriving.end {
            self.loads.remove(&load);
        }
        let served = model.served.clone();
        let segments = &served.program.packed.image.layout.segments;
        let residency = &mut model.residency[device.0 as usize];
        residency.segments = segment + 1;
        let (since, mut bytes) = residency.swap.unwrap_or((now, Bytes::ZERO));
        bytes += Bytes::from(segments[segment as usize].len);
        if (segment as usize) + 1 < segments.len() {
            residency.swap = Some((since, bytes));
            return true;
        }
        residency.swap = None;
        let took = now - since;
        self.counters.at(model.counters).swapped_in(bytes, took);
        tracing::debug!(model = served.name, version = served.version, %device, %bytes, %took, "swapped in");
        outbox.events.push(EngineEvent::SwappedIn {
            device,
            model: served.name.clone(),
            version: served.version,
            bytes,
            took,
        });
        true
    }

    fn ran(
        &mut self,
        now: Time,
        id: RunId,
        result: Result<RunOutput, DeviceError>,
        outbox: &mut Outbox,
    ) {
        let Some(run) = self.runs.remove(&id) else {
            // It was failed with its device.
            outbox.garbage.extend(result.ok().map(|_output| Garbage::Output { _output }));
            return;
        };
        let ok = result.is_ok();
        match result {
            Ok(output) => self.succeed(now, &run, output, outbox),
            Err(error) => self.fail_run(now, &run, &error, outbox),
        }
        self.step(now, Event::Finished { device: run.device, run: id, ok }, outbox);
    }

    fn succeed(&mut self, now: Time, run: &Run, output: RunOutput, outbox: &mut Outbox) {
        let mut counted = false;
        for (id, outputs) in run.requests.iter().zip(output.parts) {
            let Some(request) = self.requests.remove(id) else { continue };
            if !counted {
                counted = true;
                self.counters.at(request.counters).ran(run.rows, run.cold, &output.timing);
            }
            self.answer_outputs(now, request, run, outputs, &output.timing, outbox);
        }
    }

    /// One bad request must not fail those that it shares a batch with, so each is run again by itself; where that is
    /// too late, they may be asked again.
    fn fail_run(&mut self, now: Time, run: &Run, error: &DeviceError, outbox: &mut Outbox) {
        let alone = run.requests.len() == 1;
        let lost = matches!(error, DeviceError::Lost(_));
        let again = !alone && !lost && !self.stopping && self.takes_requests(run.model);
        tracing::debug!(model = %run.model, requests = run.requests.len(), %error, again, "run failed");
        for id in &run.requests {
            let Some(request) = self.requests.remove(id) else { continue };
            if again && !request.answer.is_closed() {
                self.queue_alone(request);
            } else {
                let own = alone || lost;
                let error = if own { run_error(&request, error) } else { batch_error(&request) };
                self.answer_error(now, request, error, outbox);
            }
        }
    }

    fn queue_alone(&mut self, mut request: Request) {
        let id = self.next_request();
        request.ticket.store(id.0, Ordering::Relaxed);
        request.started = None;
        self.follow(Event::Arrived(sublet_sched::Request {
            id,
            model: request.served.id,
            key: lone_key(id),
            rows: request.admitted.rows,
            deadline: request.deadline,
            expires: None,
            priority: request.priority,
        }));
        self.requests.insert(id, request);
    }

    fn lost(&mut self, now: Time, device: DeviceId, error: &DeviceError, outbox: &mut Outbox) {
        let state = &mut self.devices[device.0 as usize];
        if !std::mem::replace(&mut state.alive, false) {
            return;
        }
        let message = format!("{}: {error}", state.device.info().name);
        tracing::error!(%device, message, "device lost");
        let runs: Vec<_> =
            self.runs.iter().filter(|(_, run)| run.device == device).map(|(&id, _)| id).collect();
        for id in runs {
            if let Some(run) = self.runs.remove(&id) {
                self.fail_run(now, &run, &DeviceError::Lost(message.clone()), outbox);
            }
        }
        self.loads.retain(|_, arriving| arriving.device != device);
        for model in self.models.values_mut() {
            model.residency[device.0 as usize] = Default::default();
        }
        self.step(now, Event::DeviceLost { device }, outbox);
        outbox.events.push(EngineEvent::DeviceLost { device, message });
    }

    /// Ends every request because the engine stops.
    pub fn fail_all(&mut self, now: Time, outbox: &mut Outbox) {
        self.runs.clear();
        let requests: Vec<RequestId> = self.requests.keys().copied().collect();
        for id in requests {
            if let Some(request) = self.requests.remove(&id) {
                self.answer_error(now, request, super::stopping(), outbox);
            }
        }
    }
}

/// A batch failed, perhaps through another request, when the model takes none any more.
fn batch_error(request: &Request) -> EngineError {
    let (name, version) = (&request.served.name, request.served.version);
    let message = format!("model `{name}`: version {version} was unloaded when its batch failed");
    EngineError::new(ErrorKind::Unavailable, message)
}

fn run_error(request: &Request, error: &DeviceError) -> EngineError {
    let kind = match error {
        DeviceError::Invalid { .. } => ErrorKind::Invalid,
        DeviceError::Unsupported { .. } => ErrorKind::Unsupported,
        DeviceError::OutOfMemory { .. } | DeviceError::Lost(_) => ErrorKind::Internal,
    };
    EngineError::new(kind, format!("model `{}`: {error}", request.served.name))
}
