//! Writes the Prometheus text format.

use std::fmt::Write;

#[derive(Default)]
pub(crate) struct Page {
    text: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The lines of one metric.
pub(crate) struct Lines<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Page {
    /// A metric's head, and the lines that `write` adds.
    pub fn metric(&mut self, name: &str, kind: Kind, help: &str, write: impl FnOnce(&mut Lines)) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        write(&mut Lines { text: &mut self.text, name });
    }

    pub fn finish(self) -> String {
        self.text
    }
}

impl Lines<'_> {
    pub fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        self.suffixed("", labels, value);
    }

    /// A line of a histogram: `_bucket`, `_sum`, `_count`.
    pub fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"");
            escape(self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(text: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            char => text.push(char),
        }
    }
}
