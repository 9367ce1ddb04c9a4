//! Plays a scheduler from a script and compares what it commands.
//!
//! Each line is `TIME EVENT` or `TIME EVENT => COMMAND; COMMAND`, with times in milliseconds. A page is 1000 bytes and a
//! link copies one page per millisecond, unless the device says otherwise:
//!
//! ```text
//! config patience=2000 queue=100 admit
//! 0 device d0 pages=4 lanes=1 rate=1 switch=0 peers=d1:4 partitions
//! 0 model m0 pages=1,2 batch=4 delay=5 instances=1 pinned slo=50 profile=1x5,4x9,1x12@50
//! 0 ask q1 m0 key=1 rows=2 deadline=50 expires=90 priority=1 => load s1 d0 m0 0..2
//! 1 loaded s1 0
//! 3 loaded s1 1 => run r1 d0.l0 m0 q1 cold
//! 4 finished r1
//! ```
//!
//! A peer's rate is in pages per millisecond; a profile says `ROWSxMILLISECONDS`, with `@PERCENT` on a share of the device.

use std::collections::BTreeMap;
use std::fmt::Write;
use sublet_sched::{
    Batching, Command, Config, DeviceSpec, Event, ModelSpec, Peer, Preset, ProfilePoint, Request,
    Scheduler, Source,
};
use sublet_units::{BatchKey, Bytes, DeviceId, LoadId, ModelId, RequestId, RunId, Time};

const PAGE: u64 = 1000;

/// Plays `script` and panics, showing what was commanded, where that differs from what the script says.
pub fn check(preset: Preset, script: &str) {
    let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    let mut config = Config::new(preset, Time::from_secs(1));
    if let Some(line) = lines.next_if(|line| line.starts_with("config")) {
        let words = Words(line);
        config.patience = words.time("patience").unwrap_or(config.patience);
        config.queue_max = words.number("queue").map_or(config.queue_max, |max| max as usize);
        config.model_queue_max =
            words.number("model_queue").map_or(config.model_queue_max, |max| max as usize);
        config.admit = words.has("admit");
        config.fair = words.has("fair");
    }
    let mut player = Player { scheduler: Scheduler::new(config), places: BTreeMap::new() };
    let (mut expected, mut actual) = (String::new(), String::new());
    for line in lines {
        let (event, commands) = line.split_once("=>").unwrap_or((line, ""));
        let said = player.play(event.trim());
        writeln!(actual, "{} => {said}", event.trim()).unwrap();
        writeln!(expected, "{} => {}", event.trim(), commands.trim()).unwrap();
    }
    assert!(actual == expected, "expected:\n{expected}\ncommanded:\n{actual}");
}

struct Player {
    scheduler: Scheduler,
    /// Device of each load and run, by its name.
    places: BTreeMap<String, DeviceId>,
}

impl Player {
    /// Plays one event and says what is commanded.
    fn play(&mut self, line: &str) -> String {
        let words = Words(line);
        let millis: f64 = words.at(0).parse().expect("a line starts with a time");
        let now = Time((millis * 1e6).round() as u64);
        let wakeup = self.scheduler.next_wakeup().unwrap_or(Time::MAX);
        assert!(now <= wakeup, "a `wake` is missing at {wakeup}, before `{line}`");
        let event = self.event(words);
        let mut commands = Vec::new();
        self.scheduler.step(now, event, &mut commands);
        let said: Vec<String> = commands.iter().map(|command| self.say(command)).collect();
        said.join("; ")
    }

    fn event(&self, words: Words) -> Event {
        match words.at(1) {
            "device" => {
                let spec = DeviceSpec {
                    page_bytes: Bytes(PAGE),
                    pages: words.number("pages").expect("pages") as u32,
                    lanes: words.number("lanes").unwrap_or(1) as u32,
                    link_rate: words.number("rate").unwrap_or(1) * PAGE * 1000,
                    switch: words.number("switch").map(|switch| switch as u32),
                    peers: words.list("peers").map(peer).collect(),
                    partitions: words.has("partitions"),
                };
                Event::DeviceAdded { device: DeviceId(words.id(2)), spec }
            }
            "lost" => Event::DeviceLost { device: DeviceId(words.id(2)) },
            "model" => {
                let pages = words.value("pages").unwrap_or("");
                let segments = pages.split(',').filter(|pages| !pages.is_empty());
                let spec = ModelSpec {
                    segments: segments.map(|n| Bytes(n.parse::<u64>().unwrap() * PAGE)).collect(),
                    batching: words.number("batch").map(|rows_max| Batching {
                        rows_max: rows_max as u32,
                        delay_max: words.time("delay").unwrap_or(Time::ZERO),
                    }),
                    instances: words.number("instances").map(|max| max as u32),
                    pinned: words.has("pinned"),
                    queue_max: words.number("queue").map(|max| max as u32),
                    slo: words.time("slo"),
                    profile: words.list("profile").map(point).collect(),
                    tenant: words.number("tenant").unwrap_or(0) as u32,
                    weight: words.number("weight").unwrap_or(0) as u32,
                };
                Event::ModelAdded { model: ModelId(words.id(2)), spec }
            }
            "unload" => Event::ModelRemoved { model: ModelId(words.id(2)) },
            "ask" => Event::Arrived(Request {
                id: RequestId(words.id(2).into()),
                model: ModelId(words.id(3)),
                key: BatchKey(words.number("key").unwrap_or(0)),
                rows: words.number("rows").unwrap_or(1) as u32,
                deadline: words.time("deadline"),
                expires: words.time("expires"),
                priority: words.number("priority").unwrap_or(0) as u32,
            }),
            "cancel" => Event::Cancelled { request: RequestId(words.id(2).into()) },
            "loaded" => Event::Loaded {
                device: self.places[words.at(2)],
                load: LoadId(words.id(2).into()),
                segment: words.at(3).parse().expect("a segment"),
            },
            "failed" => Event::LoadFailed {
                device: self.places[words.at(2)],
                load: LoadId(words.id(2).into()),
                fatal: words.has("fatal"),
            },
            "finished" => Event::Finished {
                device: self.places[words.at(2)],
                run: RunId(words.id(2).into()),
                ok: !words.has("failed"),
            },
            "wake" => Event::Wake,
            other => panic!("`{other}` is not an event"),
        }
    }

    fn say(&mut self, command: &Command) -> String {
        match command {
            Command::Load { device, load, model, segments, source, .. } => {
                self.places.insert(load.to_string(), *device);
                let from = match source {
                    Source::Host => String::new(),
                    Source::Peer(peer) => format!(" from {peer}"),
                };
                format!("load {load} {device} {model} {segments:?}{from}")
            }
            Command::Run { device, lane, run, model, requests, cold } => {
                self.places.insert(run.to_string(), *device);
                let requests: Vec<String> = requests.iter().map(ToString::to_string).collect();
                let cold = if *cold { " cold" } else { "" };
                format!("run {run} {device}.{lane} {model} {}{cold}", requests.join("+"))
            }
            Command::Evict { device, model, segments, cause } => {
                format!("evict {device} {model} {segments:?} {cause:?}")
            }
            Command::Reject { request, reason } => format!("reject {request} {reason:?}"),
            Command::ModelGone { model } => format!("gone {model}"),
            Command::Repartition { device, shares } => format!("repartition {device} {shares:?}"),
        }
    }
}

/// `d1:4`
fn peer(text: &str) -> Peer {
    let (device, rate) = text.split_once(':').expect("DEVICE:RATE");
    let device = DeviceId(device[1..].parse().expect("a device"));
    Peer { device, rate: rate.parse::<u64>().expect("a rate") * PAGE * 1000 }
}

/// `4x9` or `1x12@50`
fn point(text: &str) -> ProfilePoint {
    let (run, share) = text.split_once('@').unwrap_or((text, "100"));
    let (rows, time) = run.split_once('x').expect("ROWSxMILLISECONDS");
    ProfilePoint {
        rows: rows.parse().expect("rows"),
        share: share.parse().expect("a share"),
        time: Time::from_millis(time.parse().expect("milliseconds")),
    }
}

/// A line of a script.
#[derive(Clone, Copy)]
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn at(self, index: usize) -> &'a str {
        self.0.split_whitespace().nth(index).unwrap_or("")
    }

    /// The number in `m7` or `d0`.
    fn id(self, index: usize) -> u32 {
        let word = self.at(index);
        word.get(1..)
            .and_then(|id| id.parse().ok())
            .unwrap_or_else(|| panic!("`{word}`: {}", self.0))
    }

    fn has(self, word: &str) -> bool {
        self.0.split_whitespace().any(|other| other == word)
    }

    fn value(self, name: &str) -> Option<&'a str> {
        let mut pairs = self.0.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The words of `name=a,b,c`.
    fn list(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.value(name).unwrap_or("").split(',').filter(|word| !word.is_empty())
    }

    fn number(self, name: &str) -> Option<u64> {
        self.value(name).map(|value| value.parse().expect("a number"))
    }

    fn time(self, name: &str) -> Option<Time> {
        self.number(name).map(Time::from_millis)
    }
}
