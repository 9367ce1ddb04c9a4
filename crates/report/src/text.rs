//! Numbers and names as a person reads them, and text that is safe inside HTML.

/// `1234567` → `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits, no exponent where it can be avoided: `0.00123`, `12.5`, `480`, `1.2e9`.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if size >= 1e7 || (size > 0.0 && size < 1e-4) {
        let text = format!("{value:.2e}");
        return text.replacen(".00e", "e", 1);
    }
    let decimals = match size {
        s if s >= 100.0 || s == 0.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s if s >= 0.1 => 3,
        s if s >= 0.01 => 4,
        _ => 6,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A share as a percentage that does not claim 100 % where something is missing.
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    match (text.as_str(), share < 1.0) {
        ("100.00", true) => "99.99+".to_owned(),
        _ => text,
    }
}

/// The label of a coordinate's axis, with its unit.
pub(crate) fn axis(coordinate: &str) -> String {
    match coordinate {
        "rate" => "offered rate (requests/s)".to_owned(),
        "models" => "models (count)".to_owned(),
        other => other.replace('_', " "),
    }
}

/// Text inside HTML or an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_true() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        let shown = [0.0, 0.5, 12.0, 12.34, 480.0, 0.00123, 1.2e9, 1e-9].map(number);
        assert_eq!(shown, ["0", "0.5", "12", "12.3", "480", "0.00123", "1.20e9", "1e-9"]);
        assert_eq!((percent(1.0), percent(0.999_999)), ("100.00".into(), "99.99+".into()));
        assert_eq!(escape("<a href='x'>&\u{7}"), "&lt;a href=&#39;x&#39;&gt;&amp;\u{fffd}");
    }
}
