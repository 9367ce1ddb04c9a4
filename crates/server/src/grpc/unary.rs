//! Inference requests that come as one message: read without copying them, where a client's frames allow it. The generated
//! service joins the frames of every message in a buffer of its own, and answers what is compressed.

use super::codec::decode_infer;
use super::pb::ModelInferResponse;
use super::pb::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use super::service::InferenceService;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, http::request::Parts};
use prost::Message;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tower::ServiceExt;

/// Before a message: whether it is compressed, and its length in 4 bytes.
const PREFIX_BYTES: usize = 5;

/// Room that is made for a message at once; more as its bytes arrive.
const ROOM_BYTES: usize = 16 << 20;

/// Answers `ModelInfer`; `generated` answers what is compressed, or is no call at all.
pub(super) async fn infer(
    service: Arc<InferenceService>,
    generated: GrpcInferenceServiceServer<InferenceService>,
    request: Request,
) -> Response {
    let encoding = request.headers().get("grpc-encoding");
    let is_plain = encoding.is_none_or(|encoding| encoding == "identity");
    if !is_plain || request.method() != Method::POST {
        return match generated.oneshot(request).await {
            Ok(response) => response.into_response(),
            Err(never) => match never {},
        };
    }
    let (parts, body) = request.into_parts();
    match answer(&service, parts, body).await {
        Ok(message) => respond(&message),
        Err(status) => status.into_http(),
    }
}

async fn answer(
    service: &InferenceService,
    parts: Parts,
    body: Body,
) -> Result<ModelInferResponse, Status> {
    let message = read(body, service.app.limits.body_bytes_max).await?;
    let message = decode_infer(message)?;
    let metadata = MetadataMap::from_headers(parts.headers);
    let request = tonic::Request::from_parts(metadata, parts.extensions, message);
    service.model_infer(request).await.map(tonic::Response::into_inner)
}

/// The one message of a body: a slice of the frame that it came in, or joined from several.
///
/// # Errors
/// As gRPC has them: a longer message than `bytes_max`, none, a part of one, or more than one.
async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Status> {
    let mut body = pin!(body);
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    let mut length = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(Box::new(error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.is_empty() && joined.is_empty() {
            whole = data;
        } else {
            if joined.is_empty() {
                joined.reserve(length.unwrap_or(0).min(ROOM_BYTES) + PREFIX_BYTES);
                joined.put(std::mem::take(&mut whole));
            }
            joined.put(data);
        }
        let so_far = if joined.is_empty() { &whole[..] } else { &joined[..] };
        if length.is_none() {
            length = expected(so_far, bytes_max)?;
        }
        if length.is_some_and(|length| so_far.len() > PREFIX_BYTES + length) {
            return Err(Status::internal("there is more than one message in the request"));
        }
    }
    let whole = if joined.is_empty() { whole } else { joined.freeze() };
    match length {
        None if whole.is_empty() => Err(Status::internal("there is no message in the request")),
        Some(length) if whole.len() == PREFIX_BYTES + length => Ok(whole.slice(PREFIX_BYTES..)),
        _ => Err(Status::internal("the request ends within its message")),
    }
}

/// The length that a message's prefix tells, once it is there.
fn expected(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Status> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Status::internal(
            "the message is marked as compressed, but the call names no compression",
        ));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > bytes_max {
        return Err(Status::out_of_range(format!(
            "the message has {length} bytes; at most {bytes_max} are allowed"
        )));
    }
    Ok(Some(length))
}

fn respond(message: &ModelInferResponse) -> Response {
    let length = message.encoded_len();
    let Ok(prefix) = u32::try_from(length) else {
        return Status::out_of_range("the answer has more than 4 GiB").into_http();
    };
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(prefix);
    message.encode(&mut bytes).expect("there is room for the whole answer");
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(bytes.freeze())
        .with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tonic::Code;

    /// A body that comes in the given frames.
    fn body(frames: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>) -> Body {
        let frames = frames.into_iter().map(|data| Ok::<_, Infallible>(Frame::data(data)));
        Body::new(StreamBody::new(tokio_stream::iter(frames)))
    }

    fn read_frames(bytes: &[u8], frame: usize, bytes_max: usize) -> Result<Bytes, Status> {
        let frames: Vec<_> = bytes.chunks(frame.max(1)).map(Bytes::copy_from_slice).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(read(body(frames), bytes_max))
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
        bytes
    }

    #[test]
    fn joins_a_message_however_it_is_cut() {
        for message in [&b""[..], b"x", b"a longer message"] {
            let bytes = framed(message);
            for frame in 1..=bytes.len() {
                assert_eq!(read_frames(&bytes, frame, 16).expect("a message"), message);
            }
        }
    }

    #[test]
    fn one_frame_is_not_copied() {
        let frame = Bytes::from(framed(b"a message"));
        let body = body([frame.clone()]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let message = runtime.block_on(read(body, 100)).expect("a message");
        assert_eq!(message.as_ptr(), frame[PREFIX_BYTES..].as_ptr());
    }

    #[test]
    fn refuses_what_is_not_one_message() {
        let two = [framed(b"one"), framed(b"two")].concat();
        let mut zipped = framed(b"one");
        zipped[0] = 1;
        let whole = framed(b"a message");
        for frame in [1, 3, 100] {
            for (bytes, code, text) in [
                (&two[..], Code::Internal, "more than one"),
                (&zipped, Code::Internal, "compressed"),
                (&whole[..8], Code::Internal, "ends within"),
                (&whole[..3], Code::Internal, "ends within"),
                (&[], Code::Internal, "no message"),
                (&framed(&[7; 17]), Code::OutOfRange, "at most 16"),
            ] {
                let status = read_frames(bytes, frame, 16).expect_err("no single message");
                assert_eq!(status.code(), code, "{status}");
                assert!(status.message().contains(text), "{status}");
            }
        }
    }
}
