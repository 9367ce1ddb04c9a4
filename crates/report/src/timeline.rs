//! What happened when, lane by lane: copies, runs, evictions.

use crate::style;
use crate::text;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use sublet_units::Time;

/// Blocks drawn at most; those that are left out are counted in the caption.
const BLOCKS_MAX: usize = 6_000;

/// Lanes over one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    pub title: String,
    pub begin: Time,
    pub end: Time,
    pub lanes: Vec<Lane>,
}

/// One row of a timeline, such as a device's link or one of its lanes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    pub name: String,
    /// In any order; they may not overlap if all are to be seen.
    pub blocks: Vec<Block>,
}

/// Something that took a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub begin: Time,
    pub end: Time,
    /// Decides the colour: `load`, `run`, `evict`, …
    pub kind: String,
    /// Shown on pointing at it, such as the model's name.
    pub label: String,
}

const WIDTH: f64 = 1080.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 16.0;
const LANE: f64 = 26.0;

/// Draws a timeline as an SVG.
pub(crate) fn draw(timeline: &Timeline) -> String {
    let span = timeline.end.saturating_sub(timeline.begin).0.max(1) as f64;
    let across = WIDTH - LEFT - RIGHT;
    let x = |at: Time| LEFT + across * (at.saturating_sub(timeline.begin).0 as f64 / span).min(1.0);
    let mut kinds: Vec<&str> = Vec::new();
    for block in timeline.lanes.iter().flat_map(|lane| &lane.blocks) {
        if !kinds.contains(&block.kind.as_str()) {
            kinds.push(&block.kind);
        }
    }
    let top = 30.0;
    let bottom = top + LANE * timeline.lanes.len() as f64;
    let mut svg = style::open(WIDTH, bottom + 46.0, &timeline.title);
    let mut at = LEFT;
    for (index, kind) in kinds.iter().enumerate() {
        let class = style::fill(index);
        let _ = write!(
            svg,
            "<rect class='{class}' x='{at:.1}' y='8' width='12' height='12'/><text x='{:.1}' y='18'>{}</text>",
            at + 16.0,
            text::escape(kind)
        );
        at += 34.0 + 7.0 * kind.chars().count() as f64;
    }
    let (mut drawn, mut left_out) = (0, 0);
    for (row, lane) in timeline.lanes.iter().enumerate() {
        let y = top + LANE * row as f64;
        let _ = write!(
            svg,
            "<line class='grid' x1='{LEFT}' x2='{:.1}' y1='{:.1}' y2='{:.1}'/>\
             <text class='end' x='{:.1}' y='{:.1}'>{}</text>",
            WIDTH - RIGHT,
            y + LANE,
            y + LANE,
            LEFT - 8.0,
            y + 18.0,
            text::escape(&lane.name)
        );
        for block in &lane.blocks {
            if block.end < timeline.begin || block.begin > timeline.end {
                continue;
            }
            if drawn == BLOCKS_MAX {
                left_out += 1;
                continue;
            }
            drawn += 1;
            let kind = kinds.iter().position(|kind| *kind == block.kind).unwrap_or(0);
            let (from, to) = (x(block.begin.max(timeline.begin)), x(block.end));
            let _ = write!(
                svg,
                "<rect class='{}' x='{from:.2}' y='{:.1}' width='{:.2}' height='{:.1}'><title>{} {}: {} to {}</title></rect>",
                style::fill(kind),
                y + 3.0,
                (to - from).max(0.5),
                LANE - 6.0,
                text::escape(&block.kind),
                text::escape(&block.label),
                block.begin,
                block.end
            );
        }
    }
    for tick in style::ticks(timeline.begin.as_millis_f64(), timeline.end.as_millis_f64(), 10) {
        let at = LEFT + across * (tick - timeline.begin.as_millis_f64()) * 1e6 / span;
        let _ = write!(
            svg,
            "<line class='axis' x1='{at:.1}' x2='{at:.1}' y1='{bottom:.1}' y2='{:.1}'/>\
             <text class='middle' x='{at:.1}' y='{:.1}'>{}</text>",
            bottom + 5.0,
            bottom + 18.0,
            text::number(tick)
        );
    }
    let mut caption = "time (ms)".to_owned();
    if left_out > 0 {
        caption = format!("{caption}; {} blocks left out", text::count(left_out));
    }
    let _ = write!(
        svg,
        "<text class='middle label' x='{:.1}' y='{:.1}'>{caption}</text></svg>",
        LEFT + across / 2.0,
        bottom + 38.0
    );
    svg
}
