//! HTTP answers: JSON, and JSON followed by raw tensors.

use super::infer_response::Encoded;
use crate::Failure;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Where the JSON of an inference ends and raw tensors begin.
pub(crate) static HEADER_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Answers up to this size are sent as one piece; larger tensors are not copied together.
const ONE_PIECE_BYTES_MAX: usize = 32 << 10;

pub(crate) fn json(value: &impl Serialize) -> Result<Response, Failure> {
    let text = serde_json::to_vec(value).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(response(text.into(), JSON))
}

/// Success without a body.
pub(crate) fn empty() -> Response {
    Response::new(Body::empty())
}

/// An inference's answer, compressed if the client asks for exactly one coding that is known here. A list, such as
/// HTTP libraries send by default, does not ask: tensors hardly shrink, and compressing them costs more than sending.
pub(crate) fn inference(encoded: Encoded, request: &HeaderMap) -> Result<Response, Failure> {
    let Encoded { json, raw } = encoded;
    let header_len = raw.is_some().then_some(json.len());
    let mut pieces = vec![Bytes::from(json)];
    pieces.extend(raw.into_iter().flatten());
    let kind = if header_len.is_some() { OCTETS } else { JSON };
    let coding = request.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let mut response = match coding {
        Some("gzip") => {
            compressed(&pieces, "gzip", GzEncoder::new(Vec::new(), Compression::fast()))
        }
        Some("deflate") => {
            compressed(&pieces, "deflate", ZlibEncoder::new(Vec::new(), Compression::fast()))
        }
        _ => Ok(plain(pieces)),
    }?;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if let Some(header_len) = header_len {
        response.headers_mut().insert(&HEADER_LENGTH, HeaderValue::from(header_len));
    }
    Ok(response)
}

fn response(bytes: Bytes, kind: HeaderValue) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn plain(pieces: Vec<Bytes>) -> Response {
    let len: usize = pieces.iter().map(Bytes::len).sum();
    if pieces.len() > 1 && len > ONE_PIECE_BYTES_MAX {
        let mut response =
            Response::new(Body::new(Pieces { pieces: pieces.into(), len: len as u64 }));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
        return response;
    }
    let mut whole = pieces.into_iter();
    let first = whole.next().unwrap_or_default();
    if whole.len() == 0 {
        return Response::new(Body::from(first));
    }
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&first);
    whole.for_each(|piece| bytes.extend_from_slice(&piece));
    Response::new(Body::from(bytes))
}

/// What both encoders of the compression library have in common.
trait Encoder: Write {
    fn end(self) -> std::io::Result<Vec<u8>>;
}

impl Encoder for GzEncoder<Vec<u8>> {
    fn end(self) -> std::io::Result<Vec<u8>> {
        self.finish()
    }
}

impl Encoder for ZlibEncoder<Vec<u8>> {
    fn end(self) -> std::io::Result<Vec<u8>> {
        self.finish()
    }
}

fn compressed(
    pieces: &[Bytes],
    coding: &'static str,
    mut encoder: impl Encoder,
) -> Result<Response, Failure> {
    let written = pieces.iter().try_for_each(|piece| encoder.write_all(piece));
    let bytes = written.and_then(|()| encoder.end());
    let bytes = bytes.map_err(|error| Failure::internal(format!("compressing: {error}")))?;
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    Ok(response)
}

/// A body of several pieces of known length.
struct Pieces {
    pieces: VecDeque<Bytes>,
    len: u64,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.len -= piece.as_ref().map_or(0, Bytes::len) as u64;
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}
