//! What the server and its models are, and what they have done.

use super::address::ModelAddress;
use super::answer;
use crate::Failure;
use crate::app::App;
use crate::grpc::describe;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

pub(crate) async fn server(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    answer::json(&describe::server(&app))
}

pub(crate) async fn model(
    State(app): State<Arc<App>>,
    ModelAddress { model, version }: ModelAddress,
) -> Result<Response, Failure> {
    answer::json(&describe::metadata(&*app.engine.metadata(&model, version)?))
}

pub(crate) async fn config(
    State(app): State<Arc<App>>,
    ModelAddress { model, version }: ModelAddress,
) -> Result<Response, Failure> {
    answer::json(&describe::config(&*app.engine.config(&model, version)?))
}

pub(crate) async fn statistics(
    State(app): State<Arc<App>>,
    ModelAddress { model, version }: ModelAddress,
) -> Result<Response, Failure> {
    answer::json(&describe::statistics(&app.engine, Some(&model), version)?)
}

pub(crate) async fn all_statistics(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    answer::json(&describe::statistics(&app.engine, None, None)?)
}
