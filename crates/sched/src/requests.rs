//! Requests that come, wait, expire and give up.

use crate::command::{Command, RejectReason};
use crate::event::Request;
use crate::queue::{Entry, Ticket};
use crate::scheduler::Scheduler;
use sublet_units::{ModelId, RequestId, Time};

/// Where a waiting request is to be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub model: ModelId,
    pub ticket: Ticket,
    pub expires: Option<Time>,
}

impl Scheduler {
    pub(crate) fn arrive(&mut self, request: Request, out: &mut Vec<Command>) {
        if let Some(reason) = self.refusal(&request) {
            out.push(Command::Reject { request: request.id, reason });
            return;
        }
        let now = self.now;
        self.arrivals += 1;
        let urgency = self.config.policy.order.request(&request, now);
        let ticket = Ticket { urgency, sequence: self.arrivals };
        let model = self.models.get_mut(&request.model).expect("a model that takes requests");
        model.uses.bump(now, self.config.use_half_life);
        let Request { id, key, rows, .. } = request;
        model.queue.push(ticket, Entry { id, key, rows, arrived: now });

        let waiting = Waiting { model: request.model, ticket, expires: request.expires };
        let before = self.requests.insert(id, waiting);
        assert!(before.is_none(), "{id} arrives once");
        if let Some(expires) = request.expires {
            self.expiries.insert((expires, id));
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
        while let Some(&(time, request)) = self.expiries.first()
            && time <= self.now
        {
            self.reject(request, RejectReason::Expired, out);
        }
        while let Some(&(time, model)) = self.timers.first()
            && time <= self.now
        {
            self.replan = true;
            self.refresh(model);
        }
    }

    /// Ends every waiting request of a model.
    pub(crate) fn reject_all(
        &mut self,
        model: ModelId,
        reason: RejectReason,
        out: &mut Vec<Command>,
    ) {
        let requests: Vec<RequestId> = self.models[&model].queue.requests().collect();
        for request in requests {
            self.forget(request);
            out.push(Command::Reject { request, reason });
        }
        self.refresh(model);
    }

    /// Forgets a waiting request that ends or starts. The model's queue still has it.
    pub(crate) fn unlist(&mut self, request: RequestId) -> Waiting {
        let waiting = self.requests.remove(&request).expect("a waiting request");
        if let Some(expires) = waiting.expires {
            self.expiries.remove(&(expires, request));
        }
        waiting
    }

    fn reject(&mut self, request: RequestId, reason: RejectReason, out: &mut Vec<Command>) {
        let model = self.forget(request);
        out.push(Command::Reject { request, reason });
        self.replan = true;
        self.refresh(model);
        self.settle(model, out);
    }

    fn forget(&mut self, request: RequestId) -> ModelId {
        let Waiting { model, ticket, .. } = self.unlist(request);
        self.models.get_mut(&model).expect("the model of a waiting request").queue.remove(ticket);
        model
    }

    /// Why a request is not even queued.
    fn refusal(&self, request: &Request) -> Option<RejectReason> {
        let Some(model) = self.models.get(&request.model) else {
            return Some(RejectReason::NoModel);
        };
        if model.removed {
            Some(RejectReason::NoModel)
        } else if model.hopeless.is_some() {
            model.hopeless
        } else if self.requests.len() >= self.config.queue_max
            || model.queue.len() >= self.config.model_queue_max
            || model.spec.queue_max.is_some_and(|most| model.queue.len() >= most as usize)
        {
            Some(RejectReason::QueueFull)
        } else {
            None
        }
    }
}
