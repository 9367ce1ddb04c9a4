//! The model repository: what is there, load, unload.

use super::address::{MaybePeer, ModelAddress};
use super::body::receive;
use super::{answer, check_admin, json};
use crate::app::App;
use crate::error_table::Shown;
use crate::grpc::describe;
use crate::parameters::{Parameter, Parameters};
use crate::repository::{LoadParameter, load_override};
use crate::{Failure, ServerLimits};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Deserialize, Default)]
struct Index {
    #[serde(default)]
    ready: bool,
}

#[derive(Deserialize, Default)]
struct Load {
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
}

#[derive(Deserialize, Default)]
struct Unload {
    #[serde(default)]
    parameters: Parameters,
}

pub(crate) async fn index(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let received = receive(&app, &headers, body, app.limits.json_bytes_max).await?;
    let Index { ready } = parse(&received.bytes, &app.limits)?;
    answer::json(&describe::index(&app.engine, ready))
}

pub(crate) async fn load(
    State(app): State<Arc<App>>,
    ModelAddress { model, .. }: ModelAddress,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    check_admin(&app, &headers, peer)?;
    let received = receive(&app, &headers, body, app.limits.load_bytes_max).await?;
    let limits = app.limits.clone();
    app.change_repository(move |engine| {
        let Load { parameters } = parse(&received.bytes, &limits)?;
        let parameters = parameters.into_iter().map(|(name, value)| {
            let value = load_parameter(&name, value)?;
            Ok((name, value))
        });
        let over = load_override(parameters.collect::<Result<Vec<_>, Failure>>()?)?;
        drop(received);
        Ok(engine.load(&model, over)?)
    })
    .await?;
    Ok(answer::empty())
}

pub(crate) async fn unload(
    State(app): State<Arc<App>>,
    ModelAddress { model, .. }: ModelAddress,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    check_admin(&app, &headers, peer)?;
    let received = receive(&app, &headers, body, app.limits.json_bytes_max).await?;
    let Unload { parameters } = parse(&received.bytes, &app.limits)?;
    // No model here depends on another, so either value does the same.
    parameters.bool("unload_dependents")?;
    app.change_repository(move |engine| Ok(engine.unload(&model)?)).await?;
    Ok(answer::empty())
}

/// An empty body is an empty request.
fn parse<'a, T: Deserialize<'a> + Default>(
    bytes: &'a [u8],
    limits: &ServerLimits,
) -> Result<T, Failure> {
    if bytes.trim_ascii().is_empty() { Ok(T::default()) } else { json::parse(bytes, limits) }
}

/// JSON cannot carry bytes: files are written in base64.
fn load_parameter(name: &str, value: Parameter) -> Result<LoadParameter, Failure> {
    let Parameter::Text(text) = value else {
        return Err(Failure::invalid(format!("the parameter {} must be a string", Shown(name))));
    };
    if !name.starts_with("file:") {
        return Ok(LoadParameter::Text(text));
    }
    let bytes = BASE64_STANDARD.decode(&text).map_err(|error| {
        Failure::invalid(format!("the parameter {} is not base64: {error}", Shown(name)))
    })?;
    Ok(LoadParameter::File(bytes.into()))
}
