//! One inference between decoding and encoding: into the engine, and back out.

use crate::app::App;
use crate::budget::Reservation;
use crate::call::{Answer, OutputSpec};
use crate::network::note_activity;
use crate::trace::{Sample, Traced};
use crate::{Call, Delivery, Failure};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use sublet_engine::{InferRequest, Pending};

/// An inference that the engine has. Dropping it cancels it.
pub(crate) struct Started {
    pending: Pending,
    id: String,
    outputs: Vec<OutputSpec>,
    delivery: Delivery,
    pub final_mark: bool,
    /// Dimension 0 of the outputs is the batch; asked only for classification.
    batched: bool,
    began: Instant,
    sample: Option<(Sample, SystemTime)>,
    _admitted: Reservation,
}

/// Hands a call to the engine.
pub(crate) async fn begin(app: &Arc<App>, call: Call) -> Result<Started, Failure> {
    note_activity();
    let admitted = app.admit()?;
    let began = Instant::now();
    let Call { request, id, outputs, delivery, final_mark } = call;
    let batched = outputs.iter().any(|output| output.classes > 0)
        && app.engine.config(&request.model, request.version)?.max_batch_size > 0;
    let sample = app.tracer.sample(&request.model).map(|sample| (sample, SystemTime::now()));
    let pending = submit(app, request).await?;
    Ok(Started {
        pending,
        id,
        outputs,
        delivery,
        final_mark,
        batched,
        began,
        sample,
        _admitted: admitted,
    })
}

/// A request whose shapes are new makes a plan first, which must not hold up this thread's other requests.
async fn submit(app: &App, request: InferRequest) -> Result<Pending, Failure> {
    if app.engine.is_planned(&request) {
        return Ok(app.engine.infer(request)?);
    }
    let engine = app.engine.clone();
    match tokio::task::spawn_blocking(move || engine.infer(request)).await {
        Ok(pending) => Ok(pending?),
        Err(error) => Err(Failure::internal(format!("making the plan ended early: {error}"))),
    }
}

impl Started {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits for the answer.
    pub async fn finish(self, app: &App) -> Result<Answer, Failure> {
        let response = self.pending.await;
        note_activity();
        let response = response?;
        let took = self.began.elapsed();
        app.latencies.record(&response.model, response.timing.cold, took);
        if let Some((sample, started)) = self.sample {
            let traced = Traced {
                request_id: self.id.clone(),
                model: response.model.clone(),
                version: response.version,
                started,
                took,
                timing: response.timing,
            };
            tokio::task::spawn_blocking(move || sample.write(&traced));
        }
        Answer::new(self.id, &self.outputs, &self.delivery, response, self.batched)
    }
}
