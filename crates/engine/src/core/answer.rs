//! Answers requests and counts them.

use super::outbox::{Garbage, Outbox};
use super::request::{Request, Run};
use super::state::State;
use crate::{EngineError, ErrorKind, InferResponse, Timing};
use sublet_device::RunTiming;
use sublet_graph::Literal;
use sublet_sched::RejectReason;
use sublet_units::{RequestId, Time};

impl State {
    /// `outputs` is all outputs of the plan, in order.
    pub(super) fn answer_outputs(
        &mut self,
        now: Time,
        request: Request,
        run: &Run,
        outputs: Vec<Literal>,
        timing: &RunTiming,
        outbox: &mut Outbox,
    ) {
        let queue = request.started.unwrap_or(now).saturating_sub(request.arrived);
        let whole = now.saturating_sub(request.arrived);
        let counters = self.counters.at(request.counters);
        counters.succeeded(request.admitted.rows, queue, whole, timing);
        if let Some(deadline) = request.deadline {
            counters.with_deadline(now <= deadline);
        }
        let named = |&index: &usize| request.served.output(index, &outputs);
        let response = InferResponse {
            model: request.served.name.clone(),
            version: request.served.version,
            outputs: request.admitted.outputs.iter().map(named).collect(),
            timing: Timing {
                queue: queue.into(),
                input: timing.input.into(),
                compute: timing.compute.into(),
                stalled: timing.stalled.into(),
                output: timing.output.into(),
                cold: run.cold,
                batch_rows: run.rows,
            },
        };
        finish(request, Ok(response), outbox);
    }

    pub(super) fn answer_error(
        &mut self,
        now: Time,
        request: Request,
        error: EngineError,
        outbox: &mut Outbox,
    ) {
        let counters = self.counters.at(request.counters);
        match error.kind() {
            ErrorKind::Cancelled => counters.cancelled(),
            _ => {
                counters.failed(now.saturating_sub(request.arrived));
                if request.started.is_none() {
                    counters.rejected();
                }
                if request.deadline.is_some() {
                    counters.with_deadline(false);
                }
            }
        }
        finish(request, Err(error), outbox);
    }

    pub(super) fn reject(
        &mut self,
        now: Time,
        id: RequestId,
        reason: RejectReason,
        outbox: &mut Outbox,
    ) {
        let Some(request) = self.requests.remove(&id) else { return };
        let error = self.reject_error(&request, reason);
        tracing::debug!(model = request.served.name, request = %id, ?reason, "rejected");
        self.answer_error(now, request, error, outbox);
    }

    fn reject_error(&self, request: &Request, reason: RejectReason) -> EngineError {
        let served = &request.served;
        let (kind, what) = match reason {
            RejectReason::NoModel => {
                (ErrorKind::Unavailable, format!("version {} is being unloaded", served.version))
            }
            RejectReason::NeverFits => (
                ErrorKind::Unsupported,
                format!("its {} of weights fit on no device", served.program.weight_bytes()),
            ),
            RejectReason::QueueFull => (ErrorKind::Overloaded, "the queue is full".to_owned()),
            RejectReason::Expired => (
                ErrorKind::Expired,
                "the request's timeout passed before it could start".to_owned(),
            ),
            RejectReason::Cancelled => {
                (ErrorKind::Cancelled, "the request was cancelled".to_owned())
            }
            RejectReason::LoadFailed => {
                let error = self.models.get(&served.id).map_or("", |model| &model.load_error);
                (ErrorKind::Internal, format!("bringing its weights to a device failed: {error}"))
            }
            RejectReason::TooLate => (
                ErrorKind::Overloaded,
                "the request could not be answered by its deadline".to_owned(),
            ),
            RejectReason::NoDevice => (ErrorKind::Unavailable, "no device is left".to_owned()),
        };
        EngineError::new(kind, format!("model `{}`: {what}", served.name))
    }
}

fn finish(request: Request, answer: Result<InferResponse, EngineError>, outbox: &mut Outbox) {
    let Request { served, admitted, plan, answer: to, .. } = request;
    outbox.answers.push((to, answer));
    outbox.garbage.push(Garbage::Request { _admitted: admitted, _plan: plan, _served: served });
}
