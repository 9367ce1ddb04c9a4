//! What became of the requests of one row.

use crate::latency::Latency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use sublet_units::Time;

/// Counts and latencies of the requests of one policy, target or model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Length of the run.
    pub span: Time,
    /// Requests that the workload asked for; each of them is answered, or counted in `errors`.
    pub requests: u64,
    pub answered: u64,
    /// Answered within the objective, where there was one.
    pub in_time: Option<u64>,
    /// Answered after a swap-in, where that is known.
    pub cold: Option<u64>,
    /// What was not answered, by reason: `rejected`, `expired`, `http 503`, `dropped`, …
    pub errors: BTreeMap<String, u64>,
    /// Of what was answered, from the moment when the request should have been sent.
    pub latency: Latency,
    /// Of what was answered, from the moment when the request really was sent: what a client that waits for its turn
    /// would have seen. Only where the two differ.
    pub service: Option<Latency>,
    /// How much later than planned requests were sent.
    pub send_delay: Option<Latency>,
}

impl Outcome {
    /// An outcome without requests; `coarse` as [`Latency::coarse`].
    pub fn new(span: Time) -> Self {
        Outcome { span, ..Outcome::default() }
    }

    /// Share of all requests that were answered within the objective: what was refused or failed was not.
    pub fn attainment(&self) -> Option<f64> {
        let in_time = self.in_time?;
        (self.requests > 0).then(|| in_time as f64 / self.requests as f64)
    }

    /// Requests per second answered within the objective; without one, answered at all.
    pub fn goodput(&self) -> f64 {
        self.per_second(self.in_time.unwrap_or(self.answered))
    }

    /// Requests per second asked for.
    pub fn offered(&self) -> f64 {
        self.per_second(self.requests)
    }

    /// Share of answers that needed a swap-in.
    pub fn cold_share(&self) -> Option<f64> {
        let cold = self.cold?;
        (self.answered > 0).then(|| cold as f64 / self.answered as f64)
    }

    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Adds another run, or another part of this one: counts and latencies add up; the spans too if `after` one another.
    pub fn add(&mut self, other: &Outcome, after: bool) {
        self.span = if after { self.span + other.span } else { self.span.max(other.span) };
        let first = self.requests == 0;
        self.requests += other.requests;
        self.answered += other.answered;
        self.in_time = sum(self.in_time, other.in_time, first);
        self.cold = sum(self.cold, other.cold, first);
        for (reason, count) in &other.errors {
            *self.errors.entry(reason.clone()).or_default() += count;
        }
        self.latency.add(&other.latency);
        for (mine, theirs) in
            [(&mut self.service, &other.service), (&mut self.send_delay, &other.send_delay)]
        {
            match (mine, theirs) {
                (Some(mine), Some(theirs)) => mine.add(theirs),
                (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
                (_, None) => {}
            }
        }
    }

    fn per_second(&self, count: u64) -> f64 {
        match self.span {
            Time::ZERO => 0.0,
            span => count as f64 / span.as_secs_f64(),
        }
    }
}

/// A sum of what is known of both; what begins empty knows what the other knows.
fn sum(mine: Option<u64>, other: Option<u64>, first: bool) -> Option<u64> {
    match (mine, other) {
        (Some(mine), Some(other)) => Some(mine + other),
        (None, other) if first => other,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_counts_against_attainment() {
        let mut outcome = Outcome::new(Time::from_secs(10));
        (outcome.requests, outcome.answered, outcome.in_time) = (100, 90, Some(80));
        outcome.errors.insert("rejected".into(), 10);
        assert_eq!((outcome.attainment(), outcome.goodput()), (Some(0.8), 8.0));
        assert_eq!((outcome.offered(), outcome.failed(), outcome.cold_share()), (10.0, 10, None));
        let mut sum = Outcome::default();
        sum.add(&outcome, true);
        sum.add(&outcome, true);
        assert_eq!((sum.span, sum.requests, sum.in_time), (Time::from_secs(20), 200, Some(160)));
        assert_eq!(sum.errors["rejected"], 20);
        assert_eq!(Outcome::default().attainment(), None);
    }
}
