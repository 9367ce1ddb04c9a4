//! Draws what happened on the links and lanes for a while.

use crate::machine::Ended;
use crate::observe::{Checked, Observe};
use std::collections::BTreeMap;
use sublet_report::{Block, Lane, Timeline};
use sublet_sched::{Command, Event, Source};
use sublet_units::{DeviceId, LoadId, Time};

#[derive(Debug)]
pub(super) struct Tracer {
    begin: Time,
    end: Time,
    /// Kind of each model.
    kinds: Vec<String>,
    lanes: BTreeMap<(DeviceId, Row), Vec<Block>>,
    loads: BTreeMap<LoadId, Loading>,
}

/// Rows of a device in the order in which they are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Link,
    Peers,
    Lane(u32),
}

#[derive(Debug)]
struct Loading {
    device: DeviceId,
    row: Row,
    /// When it came to its turn; loads of one link are carried out in order.
    begin: Time,
    last: u32,
    label: String,
}

impl Tracer {
    pub fn new(begin: Time, end: Time, kinds: Vec<String>) -> Self {
        Tracer { begin, end, kinds, lanes: BTreeMap::new(), loads: BTreeMap::new() }
    }

    pub fn timeline(self, title: String) -> Timeline {
        let name = |device: DeviceId, row: Row| match row {
            Row::Link => format!("{device} link"),
            Row::Peers => format!("{device} peers"),
            Row::Lane(lane) => format!("{device} lane {lane}"),
        };
        let lanes = self.lanes.into_iter();
        Timeline {
            title,
            begin: self.begin,
            end: self.end,
            lanes: lanes
                .map(|((device, row), blocks)| Lane { name: name(device, row), blocks })
                .collect(),
        }
    }

    fn draw(&mut self, device: DeviceId, row: Row, block: Block) {
        if block.end > self.begin && block.begin < self.end {
            let (begin, end) = (block.begin.max(self.begin), block.end.min(self.end));
            self.lanes.entry((device, row)).or_default().push(Block { begin, end, ..block });
        }
    }
}

impl Observe for Tracer {
    const WATCHES: bool = true;

    fn event(&mut self, now: Time, event: &Event) -> Checked {
        let (device, load, segment) = match event {
            Event::Loaded { device, load, segment } => (*device, *load, *segment),
            Event::LoadFailed { device, load, .. } => (*device, *load, u32::MAX),
            _ => return Ok(()),
        };
        let is_over = self.loads.get(&load).is_some_and(|loading| segment >= loading.last);
        if is_over && let Some(loading) = self.loads.remove(&load) {
            // Whatever waited behind it begins now.
            let way = (device, loading.row);
            for other in self.loads.values_mut().filter(|other| (other.device, other.row) == way) {
                other.begin = other.begin.max(now);
            }
            let Loading { row, begin, label, .. } = loading;
            self.draw(device, row, Block { begin, end: now, kind: "load".into(), label });
        }
        Ok(())
    }

    fn commanded(&mut self, now: Time, command: &Command) {
        if let Command::Load { device, load, model, segments, source, .. } = command
            && now < self.end
        {
            let row = if *source == Source::Host { Row::Link } else { Row::Peers };
            let label = format!("{} {model}", self.kinds[model.0 as usize]);
            let last = segments.end - 1;
            let device = *device;
            self.loads.insert(*load, Loading { device, row, begin: now, last, label });
        }
    }

    fn ended(&mut self, now: Time, ended: &Ended) {
        let kind = match (ended.ok, ended.cold) {
            (false, _) => "failed run",
            (true, true) => "cold run",
            (true, false) => "run",
        };
        let label = format!(
            "{} {} × {}",
            self.kinds[ended.model.0 as usize],
            ended.model,
            ended.requests.len()
        );
        let block = Block { begin: ended.started, end: now, kind: kind.into(), label };
        self.draw(ended.device, Row::Lane(ended.lane.0), block);
    }
}
