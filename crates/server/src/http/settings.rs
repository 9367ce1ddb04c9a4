//! Trace and log settings.

use super::address::{MaybePeer, ModelAddress};
use super::body::receive;
use super::{answer, check_admin, json};
use crate::Failure;
use crate::app::App;
use crate::error_table::Shown;
use crate::logging::LogValue;
use crate::trace::TraceUpdate;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) async fn trace(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    shown(&app, None)
}

pub(crate) async fn set_trace(
    State(app): State<Arc<App>>,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    change(&app, None, &headers, peer, body).await
}

pub(crate) async fn model_trace(
    State(app): State<Arc<App>>,
    ModelAddress { model, .. }: ModelAddress,
) -> Result<Response, Failure> {
    app.engine.metadata(&model, None)?;
    shown(&app, Some(&model))
}

pub(crate) async fn set_model_trace(
    State(app): State<Arc<App>>,
    ModelAddress { model, .. }: ModelAddress,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.engine.metadata(&model, None)?;
    change(&app, Some(&model), &headers, peer, body).await
}

async fn change(
    app: &App,
    model: Option<&str>,
    headers: &HeaderMap,
    peer: Option<crate::listen::Peer>,
    body: Body,
) -> Result<Response, Failure> {
    check_admin(app, headers, peer)?;
    let received = receive(app, headers, body, app.limits.json_bytes_max).await?;
    let values: BTreeMap<String, Value> = json::parse(&received.bytes, &app.limits)?;
    let mut update = TraceUpdate::new();
    for (name, value) in values {
        let value = trace_values(&name, value)?;
        update.insert(name, value);
    }
    app.tracer.update(model, &update)?;
    shown(app, model)
}

/// A text, a number, a list of texts, or null to go back to the default.
fn trace_values(name: &str, value: Value) -> Result<Option<Vec<String>>, Failure> {
    let single = |value: Value| match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Failure::invalid(format!("the value of the setting {} is wrong", Shown(name)))),
    };
    match value {
        Value::Null => Ok(None),
        Value::Array(values) => values.into_iter().map(single).collect::<Result<_, _>>().map(Some),
        value => Ok(Some(vec![single(value)?])),
    }
}

/// The level is a list, every other setting a text.
fn shown(app: &App, model: Option<&str>) -> Result<Response, Failure> {
    let settings = app.tracer.get(model).into_iter();
    let settings = settings.map(|(name, mut values)| match name {
        "trace_level" => (name, Value::from(values)),
        _ => (name, Value::from(values.pop().unwrap_or_default())),
    });
    answer::json(&settings.collect::<BTreeMap<_, _>>())
}

pub(crate) async fn logging(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    answer::json(&app.logging.get())
}

pub(crate) async fn set_logging(
    State(app): State<Arc<App>>,
    MaybePeer(peer): MaybePeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    check_admin(&app, &headers, peer)?;
    let received = receive(&app, &headers, body, app.limits.json_bytes_max).await?;
    let update: BTreeMap<String, LogValue> = json::parse(&received.bytes, &app.limits)?;
    answer::json(&app.logging.update(update)?)
}
