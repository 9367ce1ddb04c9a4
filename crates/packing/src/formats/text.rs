//! Lines, fields and numbers of the text formats, with errors that name their place.

use std::fmt::Display;
use sublet_units::Time;
use thiserror::Error;

/// What is wrong in a file.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{file}, line {line}: expected {want}, found {found}")]
pub struct FormatError {
    pub file: String,
    /// Counted from 1; 0 when the file as a whole is meant.
    pub line: usize,
    pub want: String,
    pub found: String,
}

/// One line of comma-separated fields.
pub(crate) struct Row<'a> {
    pub file: &'a str,
    pub line: usize,
    pub fields: Vec<&'a str>,
}

const FIELD_SHOWN_MAX: usize = 60;

impl Row<'_> {
    pub fn error(&self, want: impl Display, found: impl Display) -> FormatError {
        let found: String = found.to_string();
        let shown: String = found.chars().take(FIELD_SHOWN_MAX).collect();
        FormatError {
            file: self.file.to_owned(),
            line: self.line,
            want: want.to_string(),
            found: if shown.is_empty() { "nothing".into() } else { format!("`{shown}`") },
        }
    }

    /// The field at a place.
    pub fn text(&self, place: usize, want: &str) -> Result<&str, FormatError> {
        match self.fields.get(place) {
            Some(field) if !field.is_empty() => Ok(field),
            _ => Err(self.error(want, "")),
        }
    }

    /// A finite number within bounds.
    pub fn number(
        &self,
        place: usize,
        want: &str,
        low: f64,
        high: f64,
    ) -> Result<f64, FormatError> {
        let text = self.text(place, want)?;
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && (low..=high).contains(&value) => Ok(value),
            _ => Err(self.error(want, text)),
        }
    }

    /// A whole number from 1 on, or 0 where allowed.
    pub fn whole(&self, place: usize, want: &str, low: u32, high: u32) -> Result<u32, FormatError> {
        let text = self.text(place, want)?;
        match text.parse::<u32>() {
            Ok(value) if (low..=high).contains(&value) => Ok(value),
            _ => Err(self.error(want, text)),
        }
    }

    /// A span of so many `unit`s of nanoseconds, more than zero unless `zero` is allowed.
    pub fn time(
        &self,
        place: usize,
        want: &str,
        unit: f64,
        zero: bool,
    ) -> Result<Time, FormatError> {
        let value = self.number(place, want, 0.0, 86_400e9 / unit)?;
        let time = Time((value * unit).round() as u64);
        if time == Time::ZERO && !zero {
            return Err(self.error(want, self.fields[place]));
        }
        Ok(time)
    }

    /// Exactly so many fields; an empty one after a last comma is not counted.
    pub fn count(&self, count: usize, want: &str) -> Result<(), FormatError> {
        if self.fields.len() == count {
            return Ok(());
        }
        Err(self.error(want, format!("{} fields", self.fields.len())))
    }
}

pub(crate) const BATCH_MAX: u32 = 1 << 20;
pub(crate) const SIZE_MAX: u32 = 10_000;

/// The lines that are not empty, cut at commas and trimmed.
pub(crate) fn rows<'a>(file: &'a str, text: &'a str) -> impl Iterator<Item = Row<'a>> {
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(
        move |(index, line)| {
            let mut fields: Vec<&str> = line.split(',').map(str::trim).collect();
            if fields.len() > 1 && fields.last().is_some_and(|last| last.is_empty()) {
                fields.pop();
            }
            Row { file, line: index + 1, fields }
        },
    )
}

/// Turns a JSON error into one that names file and line.
pub(crate) fn json_error(file: &str, want: &str, error: &serde_json::Error) -> FormatError {
    FormatError {
        file: file.to_owned(),
        line: error.line(),
        want: want.to_owned(),
        found: format!("`{error}`"),
    }
}
