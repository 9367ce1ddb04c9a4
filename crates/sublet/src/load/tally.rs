//! What one thread saw, model by model.

use super::failure::Failure;
use std::borrow::Cow;
use std::collections::BTreeMap;
use sublet_report::{Latency, Outcome};
use sublet_units::Time;

/// Counts and latencies of every model, and what was said about failures.
pub struct Tally {
    models: Vec<Seen>,
    /// The first words of each kind of failure.
    pub words: BTreeMap<Cow<'static, str>, String>,
}

#[derive(Default, Clone)]
struct Seen {
    requests: u64,
    in_time: u64,
    latency: Latency,
    service: Latency,
    send_delay: Latency,
    errors: BTreeMap<String, u64>,
}

/// When a request was due, was sent, and was answered, from the beginning of the run.
#[derive(Clone, Copy)]
pub struct Moments {
    pub due: Time,
    pub sent: Time,
    pub done: Time,
}

impl Tally {
    pub fn new(models: usize) -> Self {
        Tally { models: vec![Seen::default(); models], words: BTreeMap::new() }
    }

    /// An answer. Its latency counts from when it was due, so that waiting for a slow server's other answers does not
    /// hide what a client would have felt.
    pub fn answered(&mut self, model: u32, moments: Moments, slo: Option<Time>) {
        let seen = &mut self.models[model as usize];
        let latency = moments.done.saturating_sub(moments.due);
        seen.requests += 1;
        seen.latency.record(latency);
        seen.service.record(moments.done.saturating_sub(moments.sent));
        seen.send_delay.record(moments.sent.saturating_sub(moments.due));
        seen.in_time += u64::from(slo.is_some_and(|slo| latency <= slo));
    }

    pub fn failed(&mut self, model: u32, failure: Failure) {
        let seen = &mut self.models[model as usize];
        seen.requests += 1;
        *seen.errors.entry(failure.kind.to_string()).or_default() += 1;
        self.words.entry(failure.kind).or_insert(failure.message);
    }

    pub fn add(&mut self, other: Tally) {
        for (mine, theirs) in self.models.iter_mut().zip(other.models) {
            mine.requests += theirs.requests;
            mine.in_time += theirs.in_time;
            mine.latency.add(&theirs.latency);
            mine.service.add(&theirs.service);
            mine.send_delay.add(&theirs.send_delay);
            for (kind, count) in theirs.errors {
                *mine.errors.entry(kind).or_default() += count;
            }
        }
        for (kind, words) in other.words {
            self.words.entry(kind).or_insert(words);
        }
    }

    /// Each model's outcome over a run of `span`.
    pub fn outcomes(self, span: Time, slo: Option<Time>) -> Vec<Outcome> {
        let outcome = |seen: Seen| Outcome {
            span,
            requests: seen.requests,
            answered: seen.latency.count(),
            in_time: slo.map(|_| seen.in_time),
            cold: None,
            errors: seen.errors,
            latency: seen.latency,
            service: Some(seen.service),
            send_delay: Some(seen.send_delay),
        };
        self.models.into_iter().map(outcome).collect()
    }
}
