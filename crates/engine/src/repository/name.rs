//! What a model may be called.

/// Longest name, in bytes: what file systems allow.
const NAME_BYTES_MAX: usize = 255;

/// A name becomes part of a path, of log lines and of metrics, so it must be one plain path component.
///
/// # Errors
/// What is wrong with it, fit to be shown (the name is quoted with escapes).
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let wrong = if name.trim().is_empty() {
        "is blank"
    } else if name == "." || name == ".." {
        "is not a name"
    } else if name.len() > NAME_BYTES_MAX {
        return Err(format!("a model name of {} bytes: at most 255 are allowed", name.len()));
    } else if name.contains(['/', '\\']) {
        "contains a slash"
    } else if name.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(format!("model name {name:?} {wrong}"))
}
