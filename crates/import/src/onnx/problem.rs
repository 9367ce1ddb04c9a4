//! An error before its place is known: lowering says what is wrong, the caller adds which node.

use crate::{ImportError, Place};

#[derive(Debug)]
pub enum Problem {
    Invalid(String),
    Unsupported(String),
    /// Already has its place: something inside a nested graph, or a tensor.
    Placed(ImportError),
}

impl Problem {
    pub fn at(self, place: impl FnOnce() -> Place) -> ImportError {
        match self {
            Problem::Invalid(reason) => place().invalid(reason),
            Problem::Unsupported(what) => place().unsupported(what),
            Problem::Placed(error) => error,
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        Problem::Placed(error)
    }
}

pub fn invalid<T>(reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Invalid(reason.into()))
}

pub fn unsupported<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Unsupported(what.into()))
}
