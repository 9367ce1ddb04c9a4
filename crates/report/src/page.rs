//! The HTML page: everything inline, no script, nothing fetched.

use crate::report::{Report, Row};
use crate::style;
use crate::sweep::{plots, varying};
use crate::text::{count, escape, number, percent};
use crate::{chart, timeline};
use std::fmt::Write;

impl Report {
    /// The report as one self-contained HTML page that follows the reader's light or dark scheme.
    pub fn page(&self) -> String {
        let mut html = format!(
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>\
             <meta name='viewport' content='width=device-width, initial-scale=1'>\
             <title>{title}</title><style>{}</style></head><body>\n<h1>{title}</h1>\n",
            style::SHEET,
            title = escape(&self.title)
        );
        html.push_str("<dl>");
        for (name, value) in &self.about {
            let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
        for (name, value) in &self.figures {
            let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), number(*value));
        }
        html.push_str("</dl>\n");
        for note in &self.notes {
            let _ = writeln!(html, "<p class='note'>{}</p>", escape(note));
        }
        let whole: Vec<&Row> = self.whole().collect();
        let _ = writeln!(html, "<h2>Results</h2>\n{}", self.html_table(&whole, false));
        let parts: Vec<&Row> = self.rows.iter().filter(|row| row.part.is_some()).collect();
        if !parts.is_empty() {
            let _ = writeln!(
                html,
                "<details><summary>By model ({} rows)</summary>{}</details>",
                parts.len(),
                self.html_table(&parts, true)
            );
        }
        let drawn: Vec<_> = plots(self)
            .iter()
            .filter_map(|plot| chart::draw(plot).map(|svg| (plot.title.clone(), svg)))
            .collect();
        if !drawn.is_empty() {
            html.push_str("<h2>Plots</h2>\n<div class='plots'>\n");
            for (title, svg) in drawn {
                let _ = writeln!(
                    html,
                    "<figure><figcaption>{}</figcaption>{svg}</figure>",
                    escape(&title)
                );
            }
            html.push_str("</div>\n");
        }
        for lanes in &self.timelines {
            let _ = writeln!(
                html,
                "<h2>{}</h2>\n<figure>{}</figure>",
                escape(&lanes.title),
                timeline::draw(lanes)
            );
        }
        html.push_str("</body></html>\n");
        html
    }

    fn html_table(&self, rows: &[&Row], parts: bool) -> String {
        let mut coordinates = varying(self);
        if self.rows.iter().any(|row| row.at.contains_key("seed")) {
            coordinates.push("seed".to_owned());
        }
        let shown = Shown {
            slo: rows.iter().any(|row| row.outcome.in_time.is_some()),
            cold: rows.iter().any(|row| row.outcome.cold.is_some()),
            sent: rows.iter().any(|row| row.outcome.service.is_some()),
        };
        let mut html = "<div class='scroll'><table><tr><th></th>".to_owned();
        if parts {
            html.push_str("<th class='name'>model</th>");
        }
        for coordinate in &coordinates {
            let _ = write!(html, "<th>{}</th>", escape(coordinate));
        }
        let headings = ["mean", "p50", "p90", "p98", "p99", "p99.9", "max"];
        let sending = ["p50 from sending", "p99 from sending", "sent late, p99"];
        for heading in ["requests", "rate (1/s)"]
            .into_iter()
            .chain(shown.slo.then_some("in time (%)"))
            .chain(["goodput (1/s)"])
            .chain(shown.cold.then_some("cold (%)"))
            .chain(headings)
            .chain(sending.into_iter().filter(|_| shown.sent))
        {
            let _ = write!(html, "<th>{heading}</th>");
        }
        html.push_str("<th class='name'>errors</th></tr>\n");
        for row in rows {
            let _ = write!(html, "<tr><td class='name'>{}</td>", escape(&row.name));
            if let (true, Some(part)) = (parts, &row.part) {
                let _ = write!(html, "<td class='name'>{}</td>", escape(part));
            }
            for coordinate in &coordinates {
                let value = row.at.get(coordinate).map(|value| number(*value));
                let _ = write!(html, "<td>{}</td>", value.unwrap_or_default());
            }
            html.push_str(&outcome_cells(row, &shown));
            html.push_str("</tr>\n");
        }
        html.push_str("</table></div>");
        html
    }
}

/// Which columns some row has something for.
struct Shown {
    slo: bool,
    cold: bool,
    sent: bool,
}

fn outcome_cells(row: &Row, shown_columns: &Shown) -> String {
    let outcome = &row.outcome;
    let mut cells = vec![count(outcome.requests), number(outcome.offered())];
    if shown_columns.slo {
        cells.push(outcome.attainment().map(percent).unwrap_or_default());
    }
    cells.push(number(outcome.goodput()));
    if shown_columns.cold {
        cells.push(outcome.cold_share().map(percent).unwrap_or_default());
    }
    let latency = &outcome.latency;
    let known = latency.count() > 0;
    let shown = |time: sublet_units::Time| if known { time.to_string() } else { String::new() };
    cells.push(shown(latency.mean()));
    cells.extend([0.5, 0.9, 0.98, 0.99, 0.999].map(|quantile| shown(latency.quantile(quantile))));
    cells.push(shown(latency.max()));
    if shown_columns.sent {
        let service = outcome.service.as_ref().filter(|latency| latency.count() > 0);
        for quantile in [0.5, 0.99] {
            cells.push(service.map(|l| l.quantile(quantile).to_string()).unwrap_or_default());
        }
        let delay = outcome.send_delay.as_ref().filter(|latency| latency.count() > 0);
        cells.push(delay.map(|l| l.quantile(0.99).to_string()).unwrap_or_default());
    }
    let errors: Vec<_> = outcome
        .errors
        .iter()
        .map(|(reason, n)| format!("{} {}", count(*n), escape(reason)))
        .collect();
    let mut html: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    let _ = write!(html, "<td class='name'>{}</td>", errors.join(", "));
    html
}
