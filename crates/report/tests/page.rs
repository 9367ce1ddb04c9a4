//! A whole report: it survives JSON, its page is well formed and needs nothing from outside, and hostile names stay text.
//! With `SUBLET_REPORT_PAGE` set to a path, the page is written there to be looked at.

use sublet_report::{Axis, Block, Lane, Outcome, Plot, Point, Report, Row, Series, Timeline};
use sublet_units::Time;

/// A sweep of two policies over four numbers of models and two seeds, with a timeline.
fn report() -> Report {
    let mut report = Report::new("Attainment of two policies");
    report.about("workload", "poisson:rate=100, uniform");
    report.about("devices", "4 × <V100>");
    for (name, slow) in [("sublet", 1.0), ("fifo-lru", 2.2)] {
        for models in [20u64, 60, 120, 200] {
            for seed in [1u64, 2] {
                let late = ((models as f64 / 20.0 * slow) as u64 * 12 + seed * 5).min(900);
                let mut outcome = Outcome::new(Time::from_secs(10));
                (outcome.requests, outcome.answered) = (1_000, 1_000);
                (outcome.in_time, outcome.cold) = (Some(1_000 - late), Some(late));
                for index in 0..1_000u64 {
                    let cold = if index < late { 60 * (1 + index % 3) } else { 0 };
                    let micros = 4_000 + (index * 7919 % 1_000) * 9 + cold * 1_000;
                    outcome.latency.record(Time::from_micros(micros));
                }
                let row = Row::new(name, outcome);
                report.rows.push(row.at("models", models as f64).at("seed", seed as f64));
            }
        }
    }
    report.rows.push(Row::new("sublet", Outcome::default()).of_part("<script>alert(1)</script>"));
    report.plots.push(Plot {
        title: "Resident weights".into(),
        x: Axis::linear("time (s)"),
        y: Axis::linear("resident (GiB)"),
        series: vec![Series {
            name: "device 0".into(),
            points: (0..20).map(|s| Point::new(f64::from(s), 3.0 + f64::from(s % 7))).collect(),
            steps: true,
        }],
    });
    let block = |begin: u64, end: u64, kind: &str| Block {
        begin: Time::from_millis(begin),
        end: Time::from_millis(end),
        kind: kind.into(),
        label: format!("model {}", begin % 5),
    };
    let runs = (0..20).map(|index| block(index * 50 + 12, index * 50 + 40, "run")).collect();
    let loads = (0..12).map(|index| block(index * 80, index * 80 + 30, "load")).collect();
    report.timelines.push(Timeline {
        title: "The first second".into(),
        begin: Time::ZERO,
        end: Time::from_secs(1),
        lanes: vec![
            Lane { name: "d0 link".into(), blocks: loads },
            Lane { name: "d0 lane 0".into(), blocks: runs },
        ],
    });
    report.notes.push("One bar was missed.".into());
    report
}

/// Checks that tags are closed in the order in which they were opened, and quotes inside them too.
fn well_formed(html: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(begin) = rest.find('<') {
        let tag = &rest[begin + 1..];
        let end = tag.find('>').ok_or("a tag without an end")?;
        let (inside, after) = (&tag[..end], &tag[end + 1..]);
        let name = inside.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if inside.matches('\'').count() % 2 == 1 {
            return Err(format!("an open quote in <{inside}>"));
        }
        let empty = inside.ends_with('/') || ["!doctype", "meta"].contains(&name);
        if inside.starts_with('/') {
            match open.pop() {
                Some(last) if last == name => {}
                last => return Err(format!("</{name}> after {last:?}")),
            }
        } else if !empty {
            open.push(name);
        }
        rest = after;
    }
    if open.is_empty() { Ok(()) } else { Err(format!("left open: {open:?}")) }
}

#[test]
fn a_page_is_well_formed_and_self_contained() {
    let page = report().page();
    if let Ok(path) = std::env::var("SUBLET_REPORT_PAGE") {
        std::fs::write(path, &page).unwrap();
    }
    well_formed(&page).unwrap();
    well_formed("<p><b></p></b>").unwrap_err();
    for outside in ["src=", "href=", "url(", "@import", "<script", "https:"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for wanted in [
        "Attainment against models",
        "Goodput against models",
        "98th percentile of latency against models",
        "Latency distribution",
        "Resident weights",
        "The first second",
        "time (ms)",
        "One bar was missed.",
        "4 × &lt;V100&gt;",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert!(!page.contains("NaN"));
}

#[test]
fn json_keeps_a_report() {
    let report = report();
    let again = Report::from_json(&report.to_json()).unwrap();
    assert_eq!(again.rows.len(), report.rows.len());
    for (row, before) in again.rows.iter().zip(&report.rows) {
        assert_eq!((&row.name, &row.part, &row.at), (&before.name, &before.part, &before.at));
        assert_eq!(row.outcome.latency.quantile(0.98), before.outcome.latency.quantile(0.98));
    }
    assert_eq!((&again.timelines, &again.plots), (&report.timelines, &report.plots));
    assert!(Report::from_json("[]").is_err());
}

#[test]
fn an_empty_report_is_shown_too() {
    let empty = Report::new("nothing");
    well_formed(&empty.page()).unwrap();
    assert!(empty.table().starts_with("nothing"));
}
