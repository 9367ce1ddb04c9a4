//! Why a model file was refused, with the place as data.

use std::fmt;

/// Why a model could not be imported.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not of its format: truncated, garbage, or of another kind.
    #[error("malformed file: {reason} at byte {offset}")]
    Malformed { offset: u64, reason: String },
    /// The file breaks a rule of its format.
    #[error("{place}: {reason}")]
    Invalid { place: Place, reason: String },
    /// The file is legal and uses something that Sublet does not have.
    #[error("{place}: {what} is not supported")]
    Unsupported { place: Place, what: String },
    /// The file has more of something than [`crate::Limits`] allow.
    #[error("{place}: more {what} than the limit of {limit}")]
    Limit { place: Place, what: &'static str, limit: u64 },
    /// A tensor's data lies in another file, which could not be read.
    #[error("tensor {}: external data {}: {reason}", Name(tensor), Name(location))]
    External { tensor: String, location: String, reason: String },
}

/// Where in a model something is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Model,
    /// A graph, by its own name or that of the node that holds it.
    Graph(String),
    Node {
        name: String,
        op: String,
    },
    /// An input of a graph.
    Input(String),
    /// An output of a graph.
    Output(String),
    /// A constant.
    Tensor(String),
    /// A key of `config.json`.
    Config(String),
}

impl Place {
    pub(crate) fn invalid(self, reason: impl Into<String>) -> ImportError {
        ImportError::Invalid { place: self, reason: reason.into() }
    }

    pub(crate) fn unsupported(self, what: impl Into<String>) -> ImportError {
        ImportError::Unsupported { place: self, what: what.into() }
    }

    pub(crate) fn limit(self, what: &'static str, limit: u64) -> ImportError {
        ImportError::Limit { place: self, what, limit }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Model => f.write_str("model"),
            Place::Graph(name) => write!(f, "graph {}", Name(name)),
            Place::Node { name, op } => write!(f, "node {} ({})", Name(name), Plain(op)),
            Place::Input(name) => write!(f, "input {}", Name(name)),
            Place::Output(name) => write!(f, "output {}", Name(name)),
            Place::Tensor(name) => write!(f, "tensor {}", Name(name)),
            Place::Config(key) => write!(f, "config.json, key {}", Name(key)),
        }
    }
}

/// A name from a file, quoted: control characters escaped and the length bounded, as it ends up in logs.
pub(crate) struct Name<'a>(pub &'a str);

/// The same without quotes.
struct Plain<'a>(&'a str);

const NAME_CHARS_MAX: usize = 200;

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", Plain(self.0))
    }
}

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(NAME_CHARS_MAX) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        if chars.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_forge_log_lines() {
        let place = Place::Node { name: "a\nERROR b".into(), op: "Add".into() };
        assert_eq!(place.to_string(), "node `a\\nERROR b` (Add)");
        let long = Place::Tensor("x".repeat(10_000)).to_string();
        assert!(long.chars().count() < 250 && long.ends_with("…`"));
    }
}
