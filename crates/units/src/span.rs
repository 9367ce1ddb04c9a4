//! Times as people write them (`"20s"`, `"100ms"`) in serialised files: `#[serde(with = "sublet_units::span")]`.

use crate::Time;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes the whole unit that loses nothing: `20s`, `1500ms`, `7ns`.
pub fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    let text = match time.0 {
        ns if ns % 1_000_000_000 == 0 => format!("{}s", ns / 1_000_000_000),
        ns if ns % 1_000_000 == 0 => format!("{}ms", ns / 1_000_000),
        ns if ns % 1_000 == 0 => format!("{}us", ns / 1_000),
        ns => format!("{ns}ns"),
    };
    serializer.serialize_str(&text)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}
