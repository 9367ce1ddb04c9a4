//! The HTTP side: addresses, JSON bodies and raw tensors.

mod address;
mod answer;
mod body;
mod health;
mod infer;
mod infer_request;
mod infer_response;
mod json;
mod json_data;
mod metadata;
mod repository;
mod settings;
mod shared_memory;

pub use infer_request::decode_infer;

use crate::app::App;
use crate::listen::Peer;
use crate::{Cause, Failure};
use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::routing::{get, post};
use std::sync::Arc;

/// Every address of the HTTP port.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v2", get(metadata::server))
        .route("/v2/", get(metadata::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/v2/models/stats", get(metadata::all_statistics))
        .merge(model("/v2/models/{model}"))
        .merge(model("/v2/models/{model}/versions/{version}"))
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::load))
        .route("/v2/repository/models/{model}/unload", post(repository::unload))
        .merge(regions())
        .route("/v2/trace/setting", get(settings::trace).post(settings::set_trace))
        .route(
            "/v2/models/{model}/trace/setting",
            get(settings::model_trace).post(settings::set_model_trace),
        )
        .route("/v2/logging", get(settings::logging).post(settings::set_logging))
        .fallback(async || Failure::new(Cause::UnknownPath, "no such address"))
        .method_not_allowed_fallback(async || {
            Failure::new(Cause::WrongMethod, "this address does not take this method")
        })
        .with_state(app)
}

/// What one model answers, with and without a version in the address.
fn model(base: &str) -> Router<Arc<App>> {
    let at = |tail: &str| format!("{base}{tail}");
    Router::new()
        .route(base, get(metadata::model))
        .route(&at("/ready"), get(health::model_ready))
        .route(&at("/config"), get(metadata::config))
        .route(&at("/stats"), get(metadata::statistics))
        .route(&at("/infer"), post(infer::infer))
        .route(&at("/generate"), post(infer::generate))
        .route(&at("/generate_stream"), post(infer::generate))
}

fn regions() -> Router<Arc<App>> {
    use shared_memory as shm;
    Router::new()
        .route("/v2/systemsharedmemory/status", get(shm::all))
        .route("/v2/systemsharedmemory/region/{region}/status", get(shm::one))
        .route("/v2/systemsharedmemory/region/{region}/register", post(shm::register))
        .route("/v2/systemsharedmemory/region/{region}/unregister", post(shm::unregister))
        .route("/v2/systemsharedmemory/unregister", post(shm::unregister_all))
        .route("/v2/cudasharedmemory/status", get(shm::cuda_all))
        .route("/v2/cudasharedmemory/region/{region}/status", get(shm::cuda_one))
        .route("/v2/cudasharedmemory/region/{region}/register", post(shm::cuda_register))
        .route("/v2/cudasharedmemory/region/{region}/unregister", post(shm::cuda_unregister))
        .route("/v2/cudasharedmemory/unregister", post(shm::cuda_unregister))
}

/// Refuses clients that may not change the server.
fn check_admin(app: &App, headers: &HeaderMap, peer: Option<Peer>) -> Result<(), Failure> {
    app.admin.check(headers.get(AUTHORIZATION).map(|value| value.as_bytes()), peer)
}
