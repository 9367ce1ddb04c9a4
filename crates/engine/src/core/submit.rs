//! Puts an admitted request into the core.

use super::counters::CountersIndex;
use super::request::{Answer, Request};
use super::state::State;
use super::{Core, stopping};
use crate::served::{Admitted, CachedPlan, Served};
use crate::{EngineError, InferRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sublet_sched::Event;
use sublet_units::{BatchKey, RequestId, Time};
use tokio::sync::oneshot;

/// Urgency of requests whose model and client state none: behind all that state one up to 99.
const PRIORITY_DEFAULT: u32 = 100;

pub(crate) enum Submission {
    Queued {
        answer: oneshot::Receiver<Answer>,
        /// For [`Core::cancel`].
        ticket: Arc<AtomicU64>,
    },
    /// The model version was replaced or removed meanwhile: look it up again.
    Retired,
}

impl Core {
    /// # Errors
    /// `Unavailable` when the engine is stopping.
    pub fn submit(
        &self,
        served: &Arc<Served>,
        admitted: Admitted,
        plan: Arc<CachedPlan>,
        asked: &InferRequest,
    ) -> Result<Submission, EngineError> {
        let (sender, answer) = oneshot::channel();
        let ticket = Arc::new(AtomicU64::new(0));
        let queued = self.drive(|state, now, outbox| {
            let Some(counters) = state.check_submittable(served)? else { return Ok(None) };
            let id = state.next_request();
            ticket.store(id.0, Ordering::Relaxed);
            let deadline = asked.slo.map(Time::from).or(self.slo);
            let request = Request {
                served: served.clone(),
                admitted,
                plan,
                answer: sender,
                counters,
                ticket: ticket.clone(),
                arrived: now,
                started: None,
                deadline: deadline.map(|span| now.saturating_add(span)),
                priority: priority(served, asked.priority),
            };
            let arrived = Event::Arrived(sublet_sched::Request {
                id,
                model: served.id,
                key: if request.admitted.alone { lone_key(id) } else { request.admitted.key },
                rows: request.admitted.rows,
                deadline: request.deadline,
                expires: timeout(served, asked).map(|span| now.saturating_add(span)),
                priority: request.priority,
            });
            state.requests.insert(id, request);
            state.step(now, arrived, outbox);
            Ok(Some(()))
        })?;
        Ok(match queued {
            Some(()) => Submission::Queued { answer, ticket },
            None => Submission::Retired,
        })
    }

    /// The client gave up.
    pub fn cancel(&self, ticket: &AtomicU64) {
        self.drive(|state, now, outbox| {
            // Read under the lock: a request that is queued anew gets another id.
            let request = RequestId(ticket.load(Ordering::Relaxed));
            if state.requests.contains_key(&request) {
                state.step(now, Event::Cancelled { request }, outbox);
            }
        });
    }
}

impl State {
    /// Where the model version counts; `None` when it takes no more requests.
    fn check_submittable(&self, served: &Served) -> Result<Option<CountersIndex>, EngineError> {
        if self.stopping {
            return Err(stopping());
        }
        let Some(model) = self.models.get(&served.id).filter(|model| model.takes_requests) else {
            return Ok(None);
        };
        Ok(Some(model.counters))
    }
}

/// A key that no other request has, so that nothing joins it.
pub(super) fn lone_key(id: RequestId) -> BatchKey {
    BatchKey(!id.0)
}

fn priority(served: &Served, asked: u32) -> u32 {
    let (levels, default) = match &served.config.dynamic_batching {
        Some(batching) => (batching.priority_levels, batching.default_priority),
        None => (0, 0),
    };
    let asked = if levels > 0 && asked > levels { 0 } else { asked };
    [asked, default].into_iter().find(|&level| level > 0).unwrap_or(PRIORITY_DEFAULT)
}

fn timeout(served: &Served, asked: &InferRequest) -> Option<Time> {
    let default = served.config.dynamic_batching.as_ref().map_or(0, |it| it.default_timeout_us);
    let default = (default > 0).then_some(Time::from_micros(default));
    asked.timeout.map(Time::from).or(default)
}
