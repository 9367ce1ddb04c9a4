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
    /// Messages quote names from requests and model files, and end up in log lines: control characters are escaped,
    /// so that none begins a line of its own, and what is overlong is cut.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        EngineError { kind, message: plain(message.into()) }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

const MESSAGE_BYTES_MAX: usize = 4096;

fn plain(message: String) -> String {
    if message.len() <= MESSAGE_BYTES_MAX && !message.contains(char::is_control) {
        return message;
    }
    let mut plain = String::new();
    for c in message.chars() {
        if plain.len() >= MESSAGE_BYTES_MAX {
            plain.push('…');
            break;
        }
        if c.is_control() { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_of_bounded_length() {
        let shown = |message: &str| EngineError::new(ErrorKind::Invalid, message).to_string();
        assert_eq!(shown("größe `x`"), "größe `x`");
        assert_eq!(shown("a\nERROR \x1b[31m\0\u{85}"), r"a\nERROR \u{1b}[31m\u{0}\u{85}");
        let long = shown(&"ö".repeat(10_000));
        assert!(long.len() < 4200 && long.ends_with("ö…"));
    }
}
