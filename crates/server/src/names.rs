//! Names and versions as clients write them.

use crate::error_table::Shown;
use crate::{Failure, ServerLimits};

/// Refuses model names that could not be a folder of a repository: `..` but not `...`, slashes, NULs.
pub(crate) fn check_model_name(name: &str, limits: &ServerLimits) -> Result<(), Failure> {
    check_name("model name", name, limits)?;
    if name.trim().is_empty() || name == "." || name == ".." || name.contains(['/', '\\']) {
        return Err(Failure::invalid(format!("{} is not a model name", Shown(name))));
    }
    Ok(())
}

/// Refuses names that are empty, overlong or hold control characters. `what` is for the message.
pub(crate) fn check_name(what: &str, name: &str, limits: &ServerLimits) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::invalid(format!("the {what} is empty")));
    }
    check_text(what, name, limits)?;
    if name.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "the {what} {} holds control characters",
            Shown(name)
        )));
    }
    Ok(())
}

/// Refuses overlong text, such as request ids.
pub(crate) fn check_text(what: &str, text: &str, limits: &ServerLimits) -> Result<(), Failure> {
    if text.len() > limits.name_bytes_max {
        return Err(Failure::invalid(format!(
            "the {what} has {} bytes; at most {} are allowed",
            text.len(),
            limits.name_bytes_max
        )));
    }
    Ok(())
}

/// A version in an address or message; empty means the newest ready one.
pub(crate) fn parse_version(version: &str) -> Result<Option<u64>, Failure> {
    if version.is_empty() {
        return Ok(None);
    }
    let digits = version.bytes().all(|byte| byte.is_ascii_digit());
    match version.parse() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(Failure::invalid(format!("the version {} is not a number", Shown(version)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_folders_from_paths() {
        let limits = ServerLimits::default();
        for name in ["resnet", "...", "model..1", "a b", "名前", &"x".repeat(255)] {
            assert_eq!(check_model_name(name, &limits), Ok(()), "{name}");
        }
        for name in
            ["", " ", ".", "..", "../x", "/etc", "a/b", "a\\b", "a\0b", "a\nb", &"x".repeat(256)]
        {
            assert!(check_model_name(name, &limits).is_err(), "{name:?}");
        }
    }

    #[test]
    fn versions_are_plain_numbers() {
        assert_eq!(parse_version(""), Ok(None));
        assert_eq!(parse_version("7"), Ok(Some(7)));
        for version in ["-1", "+1", "1.0", " 1", "one", "18446744073709551616"] {
            assert!(parse_version(version).is_err(), "{version}");
        }
    }
}
