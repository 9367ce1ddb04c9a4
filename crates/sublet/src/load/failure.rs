//! What can become of a request other than an answer.

use std::borrow::Cow;

/// Why a request was not answered.
#[derive(Debug)]
pub struct Failure {
    /// Counted by this: `http 503`, `grpc Unavailable`, `connection`, `timeout`, `not sent`.
    pub kind: Cow<'static, str>,
    /// What the server or the system said.
    pub message: String,
    /// The connection ended before any of the answer came: as a server may do with one that was idle. Worth another try.
    pub stale: bool,
}

impl Failure {
    pub fn connection(error: impl std::fmt::Display) -> Self {
        let message = error.to_string();
        Failure { kind: "connection".into(), message, stale: false }
    }

    pub fn stale(error: impl std::fmt::Display) -> Self {
        Failure { stale: true, ..Failure::connection(error) }
    }

    /// The server's own refusal; the connection is as good as before.
    pub fn answered(kind: String, message: String) -> Self {
        Failure { kind: kind.into(), message, stale: false }
    }

    pub fn timeout() -> Self {
        let message = "no answer in time".to_owned();
        Failure { kind: "timeout".into(), message, stale: false }
    }

    pub fn not_sent() -> Self {
        let message = "every connection was taken for too long".to_owned();
        Failure { kind: "not sent".into(), message, stale: false }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}
