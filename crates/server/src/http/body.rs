//! Reads request bodies: bounded in bytes and time, decompressed within the same bound.

use crate::app::App;
use crate::budget::{Reservation, slow};
use crate::error_table::Shown;
use crate::{Cause, Failure};
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use hyper::body::{Body as _, Frame};
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use sublet_engine::ErrorKind;

/// A request's body. Its bytes count until the reservation is dropped.
pub(crate) struct Received {
    pub bytes: Bytes,
    pub reservation: Reservation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

/// Reads at most `bytes_max` bytes, counted after decompression.
pub(crate) async fn receive(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Received, Failure> {
    let coding = coding(headers)?;
    let expected = content_length(headers);
    if expected.is_some_and(|len| len > bytes_max as u64) {
        return Err(over(bytes_max));
    }
    let reservation = app.bytes.open();
    let timeout = app.limits.body_timeout;
    let reading = collect(body, expected, bytes_max, &reservation);
    let bytes = tokio::time::timeout(timeout, reading).await.map_err(|_| slow(timeout))??;
    if coding == Coding::Identity {
        return Ok(Received { bytes, reservation });
    }
    let expanded = tokio::task::spawn_blocking(move || {
        let bytes = match coding {
            Coding::Gzip => expand(MultiGzDecoder::new(&bytes[..]), bytes_max, &reservation),
            Coding::Deflate => expand(ZlibDecoder::new(&bytes[..]), bytes_max, &reservation),
            Coding::Identity => Ok(bytes),
        };
        bytes.map(|bytes| Received { bytes, reservation })
    });
    expanded.await.map_err(|error| Failure::internal(format!("decompressing: {error}")))?
}

/// A body that arrives as one piece is passed on as it is; several are copied together, however small they are.
async fn collect(
    mut body: Body,
    expected: Option<u64>,
    bytes_max: usize,
    reservation: &Reservation,
) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(piece) = next_piece(&mut body).await? {
        let len = first.len() + whole.len() + piece.len();
        if len > bytes_max {
            return Err(over(bytes_max));
        }
        reserve(reservation, piece.len())?;
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            // A client that announces much and sends little gets no memory for it.
            const CAPACITY_MAX: u64 = 8 << 20;
            let capacity = expected.unwrap_or(0).min(CAPACITY_MAX) as usize;
            whole.reserve(capacity.max(len));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The next piece of data that is not empty; `None` at the end.
async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame.map(|frame| frame.map(Frame::into_data)) {
            None => return Ok(None),
            Some(Ok(Ok(data))) if !data.is_empty() => return Ok(Some(data)),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                return Err(Failure::new(
                    Cause::Engine(ErrorKind::Cancelled),
                    format!("reading the request: {error}"),
                ));
            }
        }
    }
}

/// Decompresses piece by piece, so that a small body that would expand without end stops at the bound.
fn expand(
    mut decoder: impl Read,
    bytes_max: usize,
    reservation: &Reservation,
) -> Result<Bytes, Failure> {
    let mut whole = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let len = decoder.read(&mut piece).map_err(|error| {
            Failure::invalid(format!("the request's body cannot be decompressed: {error}"))
        })?;
        if len == 0 {
            return Ok(Bytes::from(whole));
        }
        if whole.len() + len > bytes_max {
            return Err(over(bytes_max));
        }
        reserve(reservation, len)?;
        whole.extend_from_slice(&piece[..len]);
    }
}

fn reserve(reservation: &Reservation, bytes: usize) -> Result<(), Failure> {
    if reservation.grow(bytes) {
        return Ok(());
    }
    Err(Failure::overloaded("too many bytes of requests are being handled; try again later"))
}

fn over(bytes_max: usize) -> Failure {
    Failure::too_large(format!("the request's body is larger than {bytes_max} bytes"))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn coding(headers: &HeaderMap) -> Result<Coding, Failure> {
    let Some(coding) = headers.get(CONTENT_ENCODING) else { return Ok(Coding::Identity) };
    match coding.as_bytes() {
        b"" | b"identity" => Ok(Coding::Identity),
        b"gzip" | b"x-gzip" => Ok(Coding::Gzip),
        b"deflate" => Ok(Coding::Deflate),
        other => Err(Failure::invalid(format!(
            "the content encoding {} is not supported: use gzip or deflate",
            Shown(&String::from_utf8_lossy(other))
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn stops_a_bomb_at_the_bound() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..64 {
            encoder.write_all(&[0; 1 << 20]).expect("written");
        }
        let bomb = encoder.finish().expect("finished");
        assert!(bomb.len() < 1 << 17);
        let budget = Budget::new(usize::MAX);
        let failure = expand(MultiGzDecoder::new(&bomb[..]), 1 << 20, &budget.open());
        assert_eq!(failure.expect_err("too large").cause(), Cause::TooLarge);
        let small = Budget::new(1 << 19);
        let failure = expand(MultiGzDecoder::new(&bomb[..]), 1 << 20, &small.open());
        assert_eq!(failure.expect_err("no room").cause(), Cause::Engine(ErrorKind::Overloaded));
        assert_eq!(small.used(), 0);
    }

    #[test]
    fn refuses_damaged_compression() {
        let budget = Budget::new(usize::MAX);
        assert!(expand(MultiGzDecoder::new(&b"not gzip"[..]), 100, &budget.open()).is_err());
        assert!(expand(ZlibDecoder::new(&[0x78, 0x9c, 1][..]), 100, &budget.open()).is_err());
    }
}
