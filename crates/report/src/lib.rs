//! Reports: one format for live loads and for simulations.
//!
//! A [`Report`] holds what was run and a [`Row`] per policy or target and per part of it; each row's [`Outcome`] counts
//! requests and keeps their latencies as a histogram, so that reports can be added up and drawn again later. It is shown
//! as a table in the terminal ([`Report::table`]), kept as JSON ([`Report::to_json`]), and drawn as one HTML page without
//! outside resources ([`Report::page`]).

mod chart;
mod latency;
mod outcome;
mod page;
mod plot;
mod report;
mod style;
mod sweep;
mod table;
mod text;
mod timeline;

pub use latency::Latency;
pub use outcome::Outcome;
pub use plot::{Axis, Plot, Point, Scale, Series};
pub use report::{Report, ReportError, Row};
pub use timeline::{Block, Lane, Timeline};
