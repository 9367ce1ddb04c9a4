//! JSON bodies, checked for depth before they are parsed.

use crate::{Failure, ServerLimits};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Parses a JSON text, refusing one that is nested too deeply.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    limits: &ServerLimits,
) -> Result<T, Failure> {
    check_depth(bytes, limits.json_depth_max)?;
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::invalid(format!("the request's JSON is wrong: {error}")))
}

/// A list that is refused while it is read, rather than stored first, once it is longer than any limit allows.
#[derive(Debug)]
pub(crate) struct Capped<T>(pub Vec<T>);

const CAP: usize = 4096;

impl<T> Default for Capped<T> {
    fn default() -> Self {
        Capped(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Capped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Capped<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() == CAP {
                        return Err(A::Error::custom(format!("more than {CAP} items")));
                    }
                    items.push(item);
                }
                Ok(Capped(items))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// One pass over the bytes; brackets within strings do not count. Wrong JSON passes: the parser refuses it.
fn check_depth(bytes: &[u8], depth_max: usize) -> Result<(), Failure> {
    let mut depth = 0usize;
    let mut text = false;
    let mut escaped = false;
    for &byte in bytes {
        if text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => text = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > depth_max {
                    return Err(Failure::invalid(format!(
                        "the request's JSON is nested more than {depth_max} deep"
                    )));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn counts_brackets_outside_strings() {
        let limits = ServerLimits::default();
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse::<Value>(nested(100).as_bytes(), &limits).is_ok());
        assert!(parse::<Value>(nested(101).as_bytes(), &limits).is_err());
        assert!(parse::<Value>(nested(1_000_000).as_bytes(), &limits).is_err());
        let text = format!("\"{}\\\"{}\"", "[".repeat(500), "{".repeat(500));
        assert!(parse::<Value>(text.as_bytes(), &limits).is_ok());
        assert!(parse::<Value>(b"", &limits).is_err());
        assert!(parse::<Value>(b"\xff", &limits).is_err());
    }

    #[test]
    fn refuses_long_lists() {
        let list = format!("[{}1]", "1,".repeat(CAP));
        assert!(serde_json::from_str::<Capped<u8>>(&list).is_err());
        assert!(serde_json::from_str::<Capped<u8>>("[1, 2]").is_ok());
    }
}
