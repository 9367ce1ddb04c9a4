//! Shared memory regions: which there are, register, forget. CUDA shared memory is not supported.

use super::address::{MaybePeer, RegionAddress};
use super::body::receive;
use super::{answer, check_admin, json};
use crate::Failure;
use crate::app::App;
use crate::error_table::Shown;
use crate::grpc::describe;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Deserialize)]
struct Register<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default)]
    offset: u64,
    byte_size: u64,
}

pub(crate) async fn all(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    answer::json(&describe::regions(&app.regions, None)?)
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    RegionAddress(region): RegionAddress,
) -> Result<Response, Failure> {
    answer::json(&describe::regions(&app.regions, Some(&region))?)
}

pub(crate) async fn register(
    State(app): State<Arc<App>>,
    RegionAddress(region): RegionAddress,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    check_admin(&app, &headers, peer)?;
    let received = receive(&app, &headers, body, app.limits.json_bytes_max).await?;
    let Register { key, offset, byte_size } = json::parse(&received.bytes, &app.limits)?;
    app.regions.register(&region, &key, offset, byte_size, &app.limits)?;
    Ok(answer::empty())
}

pub(crate) async fn unregister(
    State(app): State<Arc<App>>,
    RegionAddress(region): RegionAddress,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    check_admin(&app, &headers, peer)?;
    app.regions.unregister(Some(&region))?;
    Ok(answer::empty())
}

pub(crate) async fn unregister_all(
    State(app): State<Arc<App>>,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    check_admin(&app, &headers, peer)?;
    app.regions.unregister(None)?;
    Ok(answer::empty())
}

/// There never is a region.
pub(crate) async fn cuda_all() -> Result<Response, Failure> {
    answer::json(&[(); 0])
}

pub(crate) async fn cuda_one(RegionAddress(region): RegionAddress) -> Failure {
    Failure::not_found(format!("no CUDA shared memory region {} is registered", Shown(&region)))
}

pub(crate) async fn cuda_register(RegionAddress(_): RegionAddress) -> Failure {
    Failure::unsupported("CUDA shared memory is not supported")
}

/// Forgetting what is not there succeeds, as clients do when they start.
pub(crate) async fn cuda_unregister() -> Response {
    answer::empty()
}
