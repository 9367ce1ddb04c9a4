//! Requests that come, wait, expire and give up.

use crate::command::{Command, RejectReason};
use crate::event::Request;
use crate::policy::Outcome;
use crate::queue::{Entry, Ticket};
use crate::scheduler::Scheduler;
use std::cmp::Reverse;
use sublet_units::{ModelId, RequestId, Time};

/// Where a waiting request is to be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub model: ModelId,
    pub ticket: Ticket,
}

impl Scheduler {
    pub(crate) fn arrive(&mut self, request: Request, out: &mut Vec<Command>) {
        if let Some(reason) = self.refusal(&request) {
            out.push(Command::Reject { request: request.id, reason });
            return;
        }
        let now = self.now;
        self.arrivals += 1;
        let model = &mut self.models[request.model];
        if model.queue.is_empty() {
            (model.failures, model.avoid) = (0, None);
        }
        let slo = model.spec.slo.unwrap_or(self.config.slo);
        let due = request.deadline.unwrap_or(now.saturating_add(slo));
        let urgency = self.config.policy.order.request(&request, now, due);
        let ticket = Ticket { urgency, sequence: self.arrivals };
        model.rhythm.beat(now);
        model.arrived += 1;
        if self.config.fair {
            self.tenants.waits(model.spec.tenant);
        }
        let Request { id, key, rows, expires, .. } = request;
        model.queue.push(Entry { ticket, id, key, rows, arrived: now, due });
        let before = self.requests.insert(id, Waiting { model: request.model, ticket });
        assert!(before.is_none(), "{id} arrives once");
        if let Some(expires) = expires {
            self.expiries.push(Reverse((expires, id)));
        }
        self.refresh(request.model);
    }

    pub(crate) fn cancel(&mut self, request: RequestId, out: &mut Vec<Command>) {
        if self.requests.contains_key(&request) {
            self.reject(request, RejectReason::Cancelled, out);
        }
    }

    /// Does what has become due: requests expire, and models are looked at again.
    pub(crate) fn ring(&mut self, out: &mut Vec<Command>) {
        while let Some(&Reverse((time, request))) = self.expiries.peek()
            && time <= self.now
        {
            self.expiries.pop();
            if self.requests.contains_key(&request) {
                self.reject(request, RejectReason::Expired, out);
            }
        }
        while let Some(model) = self.timers.pop_due(self.now) {
            if let Some(model) = self.models.get_mut(model) {
                model.indexed.tried = None;
            }
            self.replan = true;
            self.refresh(model);
        }
    }

    /// Forgets first expiries of requests that no longer wait.
    pub(crate) fn settle_expiries(&mut self) {
        while let Some(Reverse((_, request))) = self.expiries.peek()
            && !self.requests.contains_key(request)
        {
            self.expiries.pop();
        }
    }

    /// Ends every waiting request of a model.
    pub(crate) fn reject_all(
        &mut self,
        model: ModelId,
        reason: RejectReason,
        out: &mut Vec<Command>,
    ) {
        let requests: Vec<RequestId> = self.models[model].queue.requests().collect();
        for request in requests {
            self.forget(request, reason);
            out.push(Command::Reject { request, reason });
        }
        self.refresh(model);
    }

    fn reject(&mut self, request: RequestId, reason: RejectReason, out: &mut Vec<Command>) {
        let model = self.forget(request, reason);
        out.push(Command::Reject { request, reason });
        self.replan = true;
        self.refresh(model);
        self.settle(model, out);
    }

    fn forget(&mut self, request: RequestId, reason: RejectReason) -> ModelId {
        let Waiting { model, ticket } = self.requests.remove(&request).expect("a waiting request");
        let entry = self.models[model].queue.remove(ticket);
        if self.config.fair {
            self.tenants.waits_no_more(self.models[model].spec.tenant, 1);
        }
        if reason != RejectReason::Cancelled {
            self.end_requests(model, &[entry], None);
        }
        model
    }

    /// Counts how requests of a model ended. `took`: from their start to their answer, if they were answered.
    pub(crate) fn end_requests(&mut self, id: ModelId, ended: &[Entry], took: Option<Time>) {
        for entry in ended {
            let outcome = Outcome { model: id, at: self.now, due: entry.due, took };
            self.config.policy.order.ended(&outcome);
            if let Some(model) = self.models.get_mut(id) {
                model.ended += 1;
                model.late += u64::from(!outcome.in_time());
            }
        }
    }

    /// Why a request is not even queued.
    fn refusal(&self, request: &Request) -> Option<RejectReason> {
        let Some(model) = self.models.get(request.model) else {
            return Some(RejectReason::NoModel);
        };
        let waiting = model.queue.len();
        if model.removed {
            Some(RejectReason::NoModel)
        } else if model.hopeless.is_some() {
            model.hopeless
        } else if self.requests.len() >= self.config.queue_max
            || waiting >= self.config.model_queue_max
            || model.spec.queue_max.is_some_and(|most| waiting >= most as usize)
        {
            Some(RejectReason::QueueFull)
        } else if self.config.admit && self.is_too_late(request) {
            Some(RejectReason::TooLate)
        } else {
            None
        }
    }

    /// Whether a request cannot be answered by the deadline that it states, as far as can be predicted.
    fn is_too_late(&self, request: &Request) -> bool {
        let (Some(deadline), Some(run)) =
            (request.deadline, self.models[request.model].run_times.predict(request.rows))
        else {
            return false;
        };
        let start = self.stay(request.model).min(self.earliest_copy(request.model));
        self.now.saturating_add(start).saturating_add(run) > deadline
    }
}
