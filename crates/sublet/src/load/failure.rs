//! What can become of a request other than an answer.

use std::borrow::Cow;

/// Why a request was not answered.
#[derive(Debug)]
pub struct Failure {
    /// Counted by this: `http 503`, `grpc Unavailable`, `connection`, `timeout`, `not sent`.
    pub kind: Cow<'static, str>,
    /// What the server or the system said.
    pub message: String,
    /// The connection cannot be used again.
    pub broken: bool,
}

impl Failure {
    pub fn connection(error: impl std::fmt::Display) -> Self {
        Failure { kind: "connection".into(), message: error.to_string(), broken: true }
    }

    /// The server's own refusal; the connection is as good as before.
    pub fn answered(kind: String, message: String) -> Self {
        Failure { kind: kind.into(), message, broken: false }
    }

    pub fn timeout() -> Self {
        Failure { kind: "timeout".into(), message: "no answer in time".to_owned(), broken: true }
    }

    pub fn not_sent() -> Self {
        let message = "every connection was taken for too long".to_owned();
        Failure { kind: "not sent".into(), message, broken: false }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}
