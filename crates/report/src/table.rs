//! The table for the terminal.

use crate::report::{Report, Row};
use crate::sweep::varying;
use crate::text;

/// Rows of parts shown; JSON and the page have them all.
const PARTS_MAX: usize = 24;

/// A column: its heading, and its cell where the row has one.
struct Column {
    heading: String,
    cell: Box<dyn Fn(&Row) -> Option<String>>,
}

impl Report {
    /// The report as aligned text, one line per row, with the columns that some row has.
    pub fn table(&self) -> String {
        let mut out = format!("{}\n", self.title);
        let width = self.about.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in &self.about {
            out.push_str(&format!("  {name:<width$}  {value}\n"));
        }
        out.push('\n');
        let (whole, parts): (Vec<&Row>, Vec<&Row>) =
            self.rows.iter().partition(|row| row.part.is_none());
        out.push_str(&self.rows_as_text(&whole, false));
        if !parts.is_empty() {
            out.push('\n');
            out.push_str(&self.rows_as_text(&parts[..parts.len().min(PARTS_MAX)], true));
            if parts.len() > PARTS_MAX {
                out.push_str(&format!("… and {} more\n", parts.len() - PARTS_MAX));
            }
        }
        if !self.figures.is_empty() {
            out.push('\n');
        }
        for (name, value) in &self.figures {
            out.push_str(&format!("{name}: {}\n", text::number(*value)));
        }
        for note in &self.notes {
            out.push_str(&format!("\nnote: {note}\n"));
        }
        out
    }

    fn rows_as_text(&self, rows: &[&Row], parts: bool) -> String {
        let columns = self.columns(parts);
        let mut cells: Vec<Vec<String>> =
            vec![columns.iter().map(|column| column.heading.clone()).collect()];
        for row in rows {
            let cell = |column: &Column| (column.cell)(row).unwrap_or_default();
            cells.push(columns.iter().map(cell).collect());
        }
        let used: Vec<usize> = (0..columns.len())
            .filter(|at| cells.iter().skip(1).any(|line| !line[*at].is_empty()))
            .collect();
        let widths: Vec<usize> = used
            .iter()
            .map(|at| cells.iter().map(|line| line[*at].chars().count()).max().unwrap_or(0))
            .collect();
        let names = 1 + usize::from(parts);
        let mut out = String::new();
        for line in cells {
            let mut text = String::new();
            for (&at, &width) in used.iter().zip(&widths) {
                let gap = if text.is_empty() { "" } else { "  " };
                // Names to the left, numbers to the right.
                match at < names || at + 1 == columns.len() {
                    true => text.push_str(&format!("{gap}{:<width$}", line[at])),
                    false => text.push_str(&format!("{gap}{:>width$}", line[at])),
                }
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out
    }

    fn columns(&self, parts: bool) -> Vec<Column> {
        let mut columns = vec![column("", |row| Some(row.name.clone()))];
        if parts {
            columns.push(column("model", |row| row.part.clone()));
        }
        let seeded = self.rows.iter().any(|row| row.at.contains_key("seed"));
        let coordinates = varying(self).into_iter().chain(seeded.then(|| "seed".to_owned()));
        for coordinate in coordinates {
            let heading = coordinate.clone();
            columns.push(column(&heading, move |row| {
                row.at.get(&coordinate).map(|value| text::number(*value))
            }));
        }
        columns.extend(outcome_columns());
        columns
    }
}

fn column(heading: &str, cell: impl Fn(&Row) -> Option<String> + 'static) -> Column {
    Column { heading: heading.to_owned(), cell: Box::new(cell) }
}

fn outcome_columns() -> Vec<Column> {
    let mut columns = vec![
        column("requests", |row| Some(text::count(row.outcome.requests))),
        column("rate/s", |row| Some(text::number(row.outcome.offered()))),
        column("in time %", |row| row.outcome.attainment().map(text::percent)),
        column("goodput/s", |row| Some(text::number(row.outcome.goodput()))),
        column("cold %", |row| row.outcome.cold_share().map(text::percent)),
    ];
    for (heading, quantile) in [("p50", 0.5), ("p90", 0.9), ("p98", 0.98), ("p99", 0.99)] {
        columns.push(column(heading, move |row| {
            let latency = &row.outcome.latency;
            (latency.count() > 0).then(|| latency.quantile(quantile).to_string())
        }));
    }
    columns.push(column("max", |row| {
        let latency = &row.outcome.latency;
        (latency.count() > 0).then(|| latency.max().to_string())
    }));
    for (heading, quantile) in [("sent p50", 0.5), ("sent p99", 0.99)] {
        columns.push(column(heading, move |row| {
            let service = row.outcome.service.as_ref().filter(|latency| latency.count() > 0);
            service.map(|latency| latency.quantile(quantile).to_string())
        }));
    }
    columns.push(column("late p99", |row| {
        let delay = row.outcome.send_delay.as_ref().filter(|latency| latency.count() > 0);
        delay.map(|latency| latency.quantile(0.99).to_string())
    }));
    columns.push(column("errors", |row| {
        let errors = &row.outcome.errors;
        let show = |(reason, count): (&String, &u64)| format!("{} {reason}", text::count(*count));
        (!errors.is_empty()).then(|| errors.iter().map(show).collect::<Vec<_>>().join(", "))
    }));
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use sublet_units::Time;

    #[test]
    fn columns_are_aligned_and_only_those_that_say_something() {
        let mut report = Report::new("load");
        report.about("seed", 7);
        let mut outcome = Outcome::new(Time::from_secs(2));
        (outcome.requests, outcome.answered, outcome.in_time) = (2_000, 1_990, Some(1_980));
        outcome.errors.insert("http 503".into(), 10);
        outcome.latency.record_n(Time::from_millis(3), 1_990);
        let row = Row::new("a server", outcome);
        report.rows = vec![row.clone(), row.of_part("resnet")];
        report.notes.push("look here".into());
        let table = report.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0..2], ["load", "  seed  7"]);
        assert!(lines[3].contains("in time %") && !lines[3].contains("cold"), "{table}");
        assert!(lines[4].starts_with("a server     2,000    1000      99.00"), "{table}");
        assert!(lines[4].ends_with("10 http 503"), "{table}");
        assert!(table.contains("a server  resnet") && table.ends_with("note: look here\n"));
        assert_eq!(lines[3].find("requests").unwrap() + 8, lines[4].find("2,000").unwrap() + 5);
    }
}
