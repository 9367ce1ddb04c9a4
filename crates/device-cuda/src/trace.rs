//! Spans of copies and runs on the device's own clock, for a timeline.

use crate::driver::{CudaError, Event, Stream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use sublet_device::Clock;
use sublet_units::Time;

/// Spans kept until they are taken; later ones are dropped.
const SPANS_MAX: usize = 1 << 20;

/// Something that took time on the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What it ran on: `link`, `lane 0`; `lane 0 host` for what the lane's thread did.
    pub track: String,
    pub name: String,
    /// Since the trace began.
    pub start: Time,
    pub end: Time,
}

pub struct Trace {
    stream: Stream,
    state: Mutex<State>,
    /// How often spans were taken.
    takes: AtomicU64,
}

struct State {
    /// Spans are counted from here. The driver tells time between events with 24 bits, so that a near origin is exact.
    origin: Event,
    /// The origin on the host's clock, once that runs.
    origin_host: Option<Time>,
    spans: Vec<Span>,
}

impl Trace {
    /// Begins now; the current context is the device's.
    pub fn new() -> Result<Trace, CudaError> {
        let stream = Stream::new(false)?;
        let origin = now(&stream)?;
        let state = Mutex::new(State { origin, origin_host: None, spans: Vec::new() });
        Ok(Trace { stream, state, takes: AtomicU64::new(0) })
    }

    /// Notes what happened between two timed events, which have both happened. What cannot be timed is left out.
    pub fn note(&self, track: &str, name: String, start: &Event, end: &Event) {
        let mut state = self.lock();
        let since = |event: &Event| event.since_ns(&state.origin);
        let (Ok(start), Ok(end)) = (since(start), since(end)) else { return };
        state.push(Span { track: track.into(), name, start: Time(start), end: Time(end) });
    }

    /// Notes what a thread did, by the host's clock: exact to the few microseconds in which the two clocks are compared.
    pub fn note_host(&self, track: &str, name: String, start: Time, end: Time) {
        let mut state = self.lock();
        let Some(origin) = state.origin_host else { return };
        let (start, end) = (start.saturating_sub(origin), end.saturating_sub(origin));
        state.push(Span { track: track.into(), name, start, end });
    }

    /// All spans so far, which are forgotten here. Later ones are counted from now.
    pub fn take(&self, clock: &dyn Clock) -> Result<Vec<Span>, CudaError> {
        let origin = now(&self.stream)?;
        let mut state = self.lock();
        state.origin = origin;
        state.origin_host = Some(clock.now());
        self.takes.fetch_add(1, Ordering::Relaxed);
        Ok(std::mem::take(&mut state.spans))
    }

    /// How often spans were taken.
    pub fn takes(&self) -> u64 {
        self.takes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, span: Span) {
        if self.spans.len() < SPANS_MAX {
            self.spans.push(span);
        }
    }
}

fn now(stream: &Stream) -> Result<Event, CudaError> {
    let event = Event::new(true)?;
    event.record(stream)?;
    event.synchronize()?;
    Ok(event)
}
