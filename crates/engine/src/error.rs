//! Engine errors, by what a client can do about them. The server maps kinds to HTTP and gRPC codes.

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    kind: ErrorKind,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such model or version.
    NotFound,
    /// The request breaks a rule; sending it again will not help.
    Invalid,
    /// The model or an operation on it is not supported.
    Unsupported,
    /// The queue is full.
    Overloaded,
    /// Not ready yet, being unloaded, or shutting down.
    Unavailable,
    /// The deadline passed before the request started.
    Expired,
    Cancelled,
    /// Our fault: a lost device, a disk error.
    Internal,
}

impl EngineError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        EngineError { kind, message: message.into() }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
