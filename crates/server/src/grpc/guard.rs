//! Counts the bytes of gRPC requests while they arrive, and ends those that arrive too slowly.

use crate::app::App;
use crate::budget::{MeteredBody, Reservation};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use std::sync::Arc;
use tower::util::MapRequestLayer;

pub(crate) const INFER_PATH: &str = "/inference.GRPCInferenceService/ModelInfer";
pub(crate) const LOAD_PATH: &str = "/inference.GRPCInferenceService/RepositoryModelLoad";
pub(crate) const STREAM_PATH: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
const SERVICE_PATH: &str = "/inference.GRPCInferenceService/";

/// The bytes of a request; an extension of every request, to be held until it is answered.
#[derive(Clone)]
pub(crate) struct Held(#[expect(dead_code, reason = "held for its drop")] Arc<Reservation>);

pub(crate) fn guarded(router: Router, app: Arc<App>) -> Router {
    router.layer(MapRequestLayer::new(move |request: Request| {
        let reservation = Arc::new(app.bytes.open());
        let path = request.uri().path();
        // Streams may be idle for as long as they like.
        let unary = path.starts_with(SERVICE_PATH) && path != STREAM_PATH;
        let reserve_max = if unary { usize::MAX } else { app.limits.body_bytes_max };
        let timeout = unary.then_some(app.limits.body_timeout);
        let held = Held(reservation.clone());
        let metered =
            |body: Body| Body::new(MeteredBody::new(body, reservation, reserve_max, timeout));
        let mut request = request.map(metered);
        request.extensions_mut().insert(held);
        request
    }))
}
