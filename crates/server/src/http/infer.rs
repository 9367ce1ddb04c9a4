//! The inference call.

use super::address::ModelAddress;
use super::answer::{self, HEADER_LENGTH};
use super::body::{Received, receive};
use super::decode_infer;
use super::infer_response::encode;
use crate::app::App;
use crate::error_table::Shown;
use crate::infer::begin;
use crate::{Call, Failure};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use std::sync::Arc;

/// JSON longer than this is parsed on a thread of its own: it takes milliseconds.
const QUICK_JSON_BYTES_MAX: usize = 128 << 10;

pub(crate) async fn infer(
    State(app): State<Arc<App>>,
    address: ModelAddress,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let header_len = header_length(&headers)?;
    let received = receive(&app, &headers, body, app.limits.body_bytes_max).await?;
    let Received { bytes, reservation } = received;
    let call = if header_len.unwrap_or(bytes.len()) <= QUICK_JSON_BYTES_MAX {
        let ModelAddress { model, version } = &address;
        decode_infer(model, *version, header_len, &bytes, &app.limits, &app.regions)?
    } else {
        decode_aside(app.clone(), address, header_len, bytes).await?
    };
    let answer = begin(&app, call).await?.finish(&app).await?;
    drop(reservation);
    answer::inference(encode(&answer)?, &headers)
}

async fn decode_aside(
    app: Arc<App>,
    address: ModelAddress,
    header_len: Option<usize>,
    bytes: bytes::Bytes,
) -> Result<Call, Failure> {
    let decode = move || {
        let ModelAddress { model, version } = &address;
        decode_infer(model, *version, header_len, &bytes, &app.limits, &app.regions)
    };
    let decoded = tokio::task::spawn_blocking(decode).await;
    decoded.map_err(|error| Failure::internal(format!("decoding: {error}")))?
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let Some(value) = headers.get(&HEADER_LENGTH) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = text.and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| {
        Failure::invalid(format!(
            "Inference-Header-Content-Length is {}, which is not a length",
            Shown(&String::from_utf8_lossy(value.as_bytes()))
        ))
    })
}

/// Text generation, which no model here does.
pub(crate) async fn generate(
    State(app): State<Arc<App>>,
    ModelAddress { model, version }: ModelAddress,
) -> Result<Response, Failure> {
    app.engine.metadata(&model, version)?;
    Err(Failure::unsupported(format!("the model {} does not generate text", Shown(&model))))
}
