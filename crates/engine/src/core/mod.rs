//! The core: the scheduler's state machine, driven by arrivals and completions on the threads that bring them.
//!
//! Everything that decides lies in one [`State`] behind one lock. A thread that brings an event steps the scheduler
//! and carries out its commands at once: no method of a device blocks or calls back, so that is quick. What can wait
//! until the lock is given back goes into an [`Outbox`]: answers, events for listeners, freeing memory.

mod answer;
mod completion;
mod counters;
mod outbox;
mod request;
mod state;
mod submit;

pub(crate) use submit::Submission;

use crate::lifecycle::Registry;
use crate::served::Served;
use crate::{EngineError, EngineEvent, ErrorKind, ModelStatistics};
use outbox::Outbox;
use state::State;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};
use sublet_device::{Clock, Completion, Device, Sink};
use sublet_sched::{Batching, Event, ModelSpec, Scheduler};
use sublet_units::{DeviceId, ModelId, Time};

type Listener = Arc<dyn Fn(&EngineEvent) + Send + Sync>;

pub(crate) struct Core {
    state: Mutex<State>,
    /// The scheduler wants to be woken earlier than before, or the engine stops.
    alarm: Condvar,
    /// A model has left, or the last request was answered.
    settled: Condvar,
    clock: Arc<dyn Clock>,
    pub devices: Vec<Arc<dyn Device>>,
    pub registry: Registry,
    listeners: RwLock<Vec<Listener>>,
    /// Deadline of requests that state none.
    slo: Option<Time>,
}

impl Core {
    /// Starts the devices.
    pub fn start(
        scheduler: Scheduler,
        devices: Vec<Arc<dyn Device>>,
        clock: Arc<dyn Clock>,
        slo: Option<Time>,
    ) -> Arc<Core> {
        let core = Arc::new(Core {
            state: Mutex::new(State::new(scheduler, &devices)),
            alarm: Condvar::new(),
            settled: Condvar::new(),
            clock: clock.clone(),
            devices,
            registry: Registry::default(),
            listeners: RwLock::default(),
            slo,
        });
        for (id, device) in core.device_ids() {
            // Weak, because the device, which the core holds, holds the sink.
            let weak = Arc::downgrade(&core);
            let sink: Sink = Arc::new(move |device, completion| {
                if let Some(core) = weak.upgrade() {
                    core.complete(device, completion);
                }
            });
            device.start(id, clock.clone(), sink);
        }
        core.drive(|state, now, outbox| state.add_devices(now, outbox));
        core
    }

    /// Wakes the scheduler when it asked for that; returns when the engine stops. For a thread of its own.
    pub fn keep_time(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let now = self.clock.now();
            state.alarm_at = state.scheduler.next_wakeup();
            match state.alarm_at {
                Some(time) if time <= now => {
                    drop(state);
                    self.drive(|state, now, outbox| state.step(now, Event::Wake, outbox));
                    state = self.lock();
                }
                Some(time) => {
                    let wait = Duration::from(time - now);
                    state = self.alarm.wait_timeout(state, wait).expect("unpoisoned").0;
                }
                None => state = self.alarm.wait(state).expect("unpoisoned"),
            }
        }
    }

    fn complete(&self, device: DeviceId, completion: Completion) {
        self.drive(|state, now, outbox| state.complete(now, device, completion, outbox));
    }

    /// Attaches a model to the devices and lets the scheduler have it.
    ///
    /// # Errors
    /// `Unsupported` when no device takes it, or none could ever hold it; `Unavailable` when the engine is stopping.
    pub fn add_model(&self, served: &Arc<Served>, load_ns: u64) -> Result<(), EngineError> {
        let mut attached = Vec::new();
        let mut refused = String::new();
        for (id, device) in self.device_ids() {
            let result = match lacking_pages(device, &served.program.packed.image.layout) {
                None => device
                    .attach(served.id, served.program.packed.image.clone())
                    .map_err(|error| error.to_string()),
                Some(lacking) => Err(lacking),
            };
            match result {
                Ok(()) => attached.push(id),
                Err(error) => {
                    let name = &device.info().name;
                    tracing::debug!(model = served.name, device = name, error, "not attached");
                    refused = format!("{name}: {error}");
                }
            }
        }
        if attached.is_empty() {
            let message = format!("no device can hold the model: {refused}");
            return Err(EngineError::new(ErrorKind::Unsupported, message));
        }
        let spec = self.model_spec(served);
        let added = self.drive(|state, now, outbox| {
            state.add_model(now, served, &attached, spec, load_ns, outbox)
        });
        if !added {
            for id in attached {
                self.devices[id.0 as usize].detach(served.id);
            }
            return Err(stopping());
        }
        Ok(())
    }

    fn model_spec(&self, served: &Served) -> ModelSpec {
        let config = &served.config;
        let layout = &served.program.packed.image.layout;
        let devices = self.devices.len() as u32;
        ModelSpec {
            segments: layout.extents(),
            batching: config.dynamic_batching.as_ref().map(|batching| Batching {
                rows_max: config.max_batch_size,
                delay_max: Time::from_micros(batching.max_queue_delay_us),
            }),
            instances: config.instance_count.map(|count| count.saturating_mul(devices)),
            pinned: config.parameters.get("pinned").is_some_and(|value| value == "true"),
            queue_max: config
                .dynamic_batching
                .as_ref()
                .map(|batching| batching.max_queue_size)
                .filter(|&most| most > 0),
            ..ModelSpec::default()
        }
    }

    pub fn serves(&self, model: ModelId) -> bool {
        self.lock().takes_requests(model)
    }

    /// Lets a model finish what it has and go; new requests for it are turned away from now on.
    pub fn retire(&self, model: ModelId) {
        self.drive(|state, now, outbox| state.retire(now, model, outbox));
    }

    /// Waits until a retired model has left every device, or the engine has stopped.
    pub fn wait_gone(&self, model: ModelId) {
        let mut state = self.lock();
        while state.has_model(model) && !state.stopped {
            state = self.settled.wait(state).expect("unpoisoned");
        }
    }

    /// Turns new requests away, waits for the others at most `grace`, then ends all that is left and the devices.
    pub fn stop(&self, grace: Duration) {
        let asked = Instant::now();
        let mut state = self.lock();
        state.stopping = true;
        while !state.is_drained() {
            let left = grace.saturating_sub(asked.elapsed());
            if left.is_zero() {
                break;
            }
            state = self.settled.wait_timeout(state, left).expect("unpoisoned").0;
        }
        let mut outbox = Outbox::default();
        state.fail_all(self.clock.now(), &mut outbox);
        state.stopped = true;
        drop(state);
        self.alarm.notify_all();
        self.settled.notify_all();
        self.deliver(outbox);
        for device in &self.devices {
            device.shutdown();
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    pub fn are_devices_alive(&self) -> bool {
        self.lock().are_devices_alive()
    }

    /// Whether the device works, and its free pages.
    pub fn device_state(&self, device: DeviceId) -> (bool, u32) {
        let state = self.lock();
        (state.is_device_alive(device), state.scheduler.free_pages(device).unwrap_or(0))
    }

    pub fn statistics(&self, served: &Served) -> ModelStatistics {
        self.lock().statistics(served)
    }

    pub fn subscribe(&self, listener: Listener) {
        self.listeners.write().expect("unpoisoned").push(listener);
    }

    /// Tells the listeners.
    pub fn emit(&self, event: &EngineEvent) {
        let listeners = self.listeners.read().expect("unpoisoned").clone();
        for listener in listeners {
            listener(event);
        }
    }

    /// Changes the state and carries out what follows.
    fn drive<T>(&self, change: impl FnOnce(&mut State, Time, &mut Outbox) -> T) -> T {
        let mut outbox = Outbox::default();
        let mut state = self.lock();
        let result = change(&mut state, self.clock.now(), &mut outbox);
        let wakeup = state.scheduler.next_wakeup();
        let earlier = match (wakeup, state.alarm_at) {
            (Some(wakeup), Some(alarm)) => wakeup < alarm,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let settled = !outbox.gone.is_empty() || (state.stopping && state.is_drained());
        drop(state);
        if earlier {
            self.alarm.notify_one();
        }
        if settled {
            self.settled.notify_all();
        }
        self.deliver(outbox);
        result
    }

    fn deliver(&self, outbox: Outbox) {
        for (to, answer) in outbox.answers {
            // Who gave up waiting does not mind.
            let _ = to.send(answer);
        }
        for event in &outbox.events {
            self.emit(event);
        }
        for served in &outbox.gone {
            self.model_gone(served);
        }
    }

    /// A retired model has left every device.
    pub fn model_gone(&self, served: &Served) {
        if self.registry.gone(served) {
            self.emit(&EngineEvent::Changed {
                model: served.name.clone(),
                version: served.version,
                state: crate::ModelState::Unavailable,
            });
        }
    }

    fn device_ids(&self) -> impl Iterator<Item = (DeviceId, &Arc<dyn Device>)> {
        self.devices.iter().enumerate().map(|(id, device)| (DeviceId(id as u32), device))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the core")
    }
}

pub(crate) fn stopping() -> EngineError {
    EngineError::new(ErrorKind::Unavailable, "the server is shutting down")
}

/// Why a device could never hold a model, if so.
fn lacking_pages(device: &Arc<dyn Device>, layout: &sublet_plan::Layout) -> Option<String> {
    let info = device.info();
    let wanted = layout.bytes.div_ceil(info.page_bytes);
    (wanted > u64::from(info.pages)).then(|| {
        format!(
            "{} of weights need {wanted} pages of {}, and it has {}",
            layout.bytes, info.page_bytes, info.pages
        )
    })
}
