//! Spans of copies and runs on the device's own clock, for a timeline.

use crate::driver::{CudaError, Event, Stream};
use std::sync::{Mutex, PoisonError};
use sublet_units::Time;

/// Spans kept until they are taken; later ones are dropped.
const SPANS_MAX: usize = 1 << 20;

/// Something that took time on the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What it ran on: `link`, `lane 0`.
    pub track: String,
    pub name: String,
    /// Since the trace began.
    pub start: Time,
    pub end: Time,
}

pub struct Trace {
    stream: Stream,
    state: Mutex<State>,
}

struct State {
    /// Spans are counted from here. The driver tells time between events with 24 bits, so that a near origin is exact.
    origin: Event,
    spans: Vec<Span>,
}

impl Trace {
    /// Begins now; the current context is the device's.
    pub fn new() -> Result<Trace, CudaError> {
        let stream = Stream::new(false)?;
        let origin = now(&stream)?;
        Ok(Trace { stream, state: Mutex::new(State { origin, spans: Vec::new() }) })
    }

    /// Notes what happened between two timed events, which have both happened. What cannot be timed is left out.
    pub fn note(&self, track: &str, name: String, start: &Event, end: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |event: &Event| event.since_ns(&state.origin);
        let (Ok(start), Ok(end)) = (since(start), since(end)) else { return };
        if state.spans.len() < SPANS_MAX {
            let (start, end) = (Time(start), Time(end));
            state.spans.push(Span { track: track.into(), name, start, end });
        }
    }

    /// All spans so far, which are forgotten here. Later ones are counted from now.
    pub fn take(&self) -> Result<Vec<Span>, CudaError> {
        let origin = now(&self.stream)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.origin = origin;
        Ok(std::mem::take(&mut state.spans))
    }
}

fn now(stream: &Stream) -> Result<Event, CudaError> {
    let event = Event::new(true)?;
    event.record(stream)?;
    event.synchronize()?;
    Ok(event)
}
