//! Whether the server, and each model, can serve.

use super::address::ModelAddress;
use super::answer;
use crate::app::App;
use crate::{Cause, Failure};
use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use sublet_engine::ErrorKind;

pub(crate) async fn live() -> Result<Response, Failure> {
    answer::json(&json!({"live": true}))
}

pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    // Triton's clients look at the status, KServe's also at the body.
    if app.is_ready() {
        answer::json(&json!({"ready": true}))
    } else {
        Err(unready("the server is not ready"))
    }
}

pub(crate) async fn model_ready(
    State(app): State<Arc<App>>,
    ModelAddress { model, version }: ModelAddress,
) -> Result<Response, Failure> {
    if app.engine.is_model_ready(&model, version) {
        return Ok(answer::empty());
    }
    // Tells an unknown model from one that is not ready.
    app.engine.metadata(&model, version)?;
    Err(unready("the model is not ready"))
}

fn unready(message: &str) -> Failure {
    Failure::new(Cause::Engine(ErrorKind::Unavailable), message)
}
