//! What can be wrong with a description or with a trace.

/// Why a description of a workload cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// A field has a value that means nothing: `rate must be positive, not -3`.
    #[error("workload: {field}: {reason}")]
    Field { field: &'static str, reason: String },
    /// The text is neither a short form nor a field of one.
    #[error("workload `{text}`: {reason}")]
    Text { text: String, reason: String },
    /// The bytes of a trace could not be had.
    #[error("trace `{file}`: {reason}")]
    Missing { file: String, reason: String },
    /// A trace is malformed.
    #[error("trace `{file}`: {source}")]
    Trace { file: String, source: TraceError },
}

/// What is malformed in a trace, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TraceError {
    /// A text trace; lines count from 1.
    #[error("line {line}: {reason}")]
    Line { line: usize, reason: String },
    /// A binary trace.
    #[error("byte {offset}: {reason}")]
    Byte { offset: usize, reason: String },
    /// The trace has no arrival in the part that was asked for.
    #[error("no arrivals in the part that was asked for")]
    Empty,
}

impl WorkloadError {
    pub(crate) fn field(field: &'static str, reason: impl Into<String>) -> Self {
        WorkloadError::Field { field, reason: reason.into() }
    }
}

impl TraceError {
    pub(crate) fn line(line: usize, reason: impl Into<String>) -> Self {
        TraceError::Line { line, reason: reason.into() }
    }

    pub(crate) fn byte(offset: usize, reason: impl Into<String>) -> Self {
        TraceError::Byte { offset, reason: reason.into() }
    }
}
