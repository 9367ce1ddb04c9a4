//! What a client is told when something fails: one table from causes to HTTP and gRPC codes.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use std::fmt;
use sublet_engine::{EngineError, ErrorKind};
use tonic::Code;

/// Why a call failed, for a program; [`Failure`] adds the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Engine(ErrorKind),
    /// No such address.
    UnknownPath,
    /// The address does not take this HTTP method.
    WrongMethod,
    /// A limit on the request's size.
    TooLarge,
    /// The client took too long to send its request.
    TooSlow,
    /// The admin token is missing.
    NoToken,
    /// The admin token is wrong, or the client is not on this machine.
    Forbidden,
}

impl Cause {
    /// The HTTP status and the gRPC code. As Triton answers, but that a full queue is 429 rather than 503, and
    /// a passed deadline 504.
    pub fn codes(self) -> (StatusCode, Code) {
        match self {
            Cause::Engine(ErrorKind::NotFound) => (StatusCode::NOT_FOUND, Code::NotFound),
            Cause::Engine(ErrorKind::Invalid) => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Cause::Engine(ErrorKind::Unsupported) => {
                (StatusCode::NOT_IMPLEMENTED, Code::Unimplemented)
            }
            Cause::Engine(ErrorKind::Overloaded) => {
                (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted)
            }
            Cause::Engine(ErrorKind::Unavailable) => {
                (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable)
            }
            Cause::Engine(ErrorKind::Expired) => {
                (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded)
            }
            Cause::Engine(ErrorKind::Cancelled) => (client_closed_request(), Code::Cancelled),
            Cause::Engine(ErrorKind::Internal) => {
                (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal)
            }
            Cause::UnknownPath => (StatusCode::NOT_FOUND, Code::Unimplemented),
            Cause::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Cause::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidArgument),
            Cause::TooSlow => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            Cause::NoToken => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
            Cause::Forbidden => (StatusCode::FORBIDDEN, Code::PermissionDenied),
        }
    }
}

/// A failed call: what the client is told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    cause: Cause,
    message: String,
}

impl Failure {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Failure { cause, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Cause::Engine(ErrorKind::Invalid), message)
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Cause::Engine(ErrorKind::Unsupported), message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Cause::Engine(ErrorKind::NotFound), message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(Cause::TooLarge, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Cause::Engine(ErrorKind::Internal), message)
    }

    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new(Cause::Engine(ErrorKind::Overloaded), message)
    }

    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Failure::new(Cause::Engine(error.kind()), error.to_string())
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        tonic::Status::new(failure.cause.codes().1, failure.message)
    }
}

/// `{"error": "…"}`.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.message }).to_string();
        let json = HeaderValue::from_static("application/json");
        (self.cause.codes().0, [(CONTENT_TYPE, json)], body).into_response()
    }
}

/// 499, which nginx introduced and no standard names.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("499 is a status code")
}

/// A client's text inside a message or a log line: control characters escaped, cut after 100 characters.
pub(crate) struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARS_MAX: usize = 100;
        f.write_str("'")?;
        for char in self.0.chars().take(CHARS_MAX) {
            match char {
                '\'' => f.write_str("\\'")?,
                char if char.is_control() => write!(f, "{}", char.escape_default())?,
                char => write!(f, "{char}")?,
            }
        }
        f.write_str(if self.0.chars().nth(CHARS_MAX).is_some() { "…'" } else { "'" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_hostile_text_on_one_short_line() {
        assert_eq!(Shown("resnet").to_string(), "'resnet'");
        assert_eq!(Shown("a\nERROR b\x1b[0m\0").to_string(), r"'a\nERROR b\u{1b}[0m\u{0}'");
        assert!(Shown(&"x".repeat(10_000)).to_string().len() < 120);
        assert_eq!(Shown("it's").to_string(), r"'it\'s'");
    }

    #[test]
    fn every_engine_error_has_an_answer() {
        let codes = |kind| Cause::Engine(kind).codes().0.as_u16();
        assert_eq!(codes(ErrorKind::NotFound), 404);
        assert_eq!(codes(ErrorKind::Invalid), 400);
        assert_eq!(codes(ErrorKind::Unsupported), 501);
        assert_eq!(codes(ErrorKind::Overloaded), 429);
        assert_eq!(codes(ErrorKind::Unavailable), 503);
        assert_eq!(codes(ErrorKind::Expired), 504);
        assert_eq!(codes(ErrorKind::Cancelled), 499);
        assert_eq!(codes(ErrorKind::Internal), 500);
    }
}
