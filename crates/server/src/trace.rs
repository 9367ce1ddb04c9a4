//! Request tracing that clients switch on and off: which requests, how many, into which file.
//!
//! The settings are the server's, and per model those that differ. Traces go only into files of one configured
//! folder; without a folder, tracing stays off.

use crate::Failure;
use crate::error_table::Shown;
use crate::trace_file::TraceFile;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use sublet_engine::Timing;

/// Changed settings: `None` or nothing takes the setting back to its default, or for a model to the server's.
pub(crate) type TraceUpdate = BTreeMap<String, Option<Vec<String>>>;

pub(crate) struct Tracer {
    folder: Option<PathBuf>,
    models_max: usize,
    /// Some request may be traced; looked at before anything is locked.
    on: AtomicBool,
    scopes: Mutex<Scopes>,
    ids: AtomicU64,
}

/// One request that is to be traced.
pub(crate) struct Sample {
    id: u64,
    file: Arc<Mutex<TraceFile>>,
}

/// What a trace tells.
pub(crate) struct Traced {
    pub request_id: String,
    pub model: String,
    pub version: u64,
    pub started: SystemTime,
    pub took: Duration,
    pub timing: Timing,
}

#[derive(Default)]
struct Scopes {
    server: Scope,
    models: HashMap<String, Scope>,
    files: HashMap<(String, u64), Arc<Mutex<TraceFile>>>,
}

/// Settings that were made, and what they have counted since.
#[derive(Clone, Default)]
struct Scope {
    level: Option<Level>,
    rate: Option<u64>,
    /// −1: no end.
    count: Option<i64>,
    frequency: Option<u64>,
    file: Option<String>,
    seen: u64,
    traced: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Off,
    Timestamps,
}

/// Settings in force: a model's, where it has none the server's, where that has none the default.
struct Settings<'a> {
    level: Level,
    rate: u64,
    count: i64,
    frequency: u64,
    file: &'a str,
}

const FILE: &str = "trace.json";

impl Tracer {
    pub fn new(folder: Option<PathBuf>, models_max: usize) -> Self {
        Tracer {
            folder,
            models_max,
            on: AtomicBool::new(false),
            scopes: Mutex::default(),
            ids: AtomicU64::new(0),
        }
    }

    /// Whether this request is to be traced.
    pub fn sample(&self, model: &str) -> Option<Sample> {
        if !self.on.load(Ordering::Relaxed) {
            return None;
        }
        let folder = self.folder.as_ref()?;
        let mut scopes = self.scopes.lock().expect("no panic while locked");
        let settings = scopes.settings(model);
        let (rate, count, frequency) = (settings.rate, settings.count, settings.frequency);
        let (on, file) = (settings.level != Level::Off, settings.file.to_owned());
        let scope = match scopes.models.get_mut(model) {
            Some(scope) => scope,
            None => &mut scopes.server,
        };
        let due = on && scope.seen.is_multiple_of(rate);
        scope.seen += 1;
        if !due || u64::try_from(count).is_ok_and(|count| scope.traced >= count) {
            return None;
        }
        scope.traced += 1;
        let open = || Arc::new(Mutex::new(TraceFile::new(folder.clone(), file.clone(), frequency)));
        let file = scopes.files.entry((file.clone(), frequency)).or_insert_with(open).clone();
        Some(Sample { id: self.ids.fetch_add(1, Ordering::Relaxed) + 1, file })
    }

    /// The settings in force for a model, or for the server.
    pub fn get(&self, model: Option<&str>) -> BTreeMap<&'static str, Vec<String>> {
        let scopes = self.scopes.lock().expect("no panic while locked");
        scopes.settings(model.unwrap_or_default()).wire(self.folder.is_some())
    }

    /// Changes all the settings named, or none when one is wrong.
    pub fn update(&self, model: Option<&str>, update: &TraceUpdate) -> Result<(), Failure> {
        let mut scopes = self.scopes.lock().expect("no panic while locked");
        let scopes = &mut *scopes;
        let full = scopes.models.len() >= self.models_max;
        let before = match model {
            Some(model) if full && !scopes.models.contains_key(model) => {
                return Err(Failure::overloaded(
                    "too many models have trace settings of their own",
                ));
            }
            Some(model) => scopes.models.get(model).cloned().unwrap_or_default(),
            None => scopes.server.clone(),
        };
        let changed = before.updated(update, self.folder.is_some())?;
        match model {
            Some(model) if changed.is_default() => drop(scopes.models.remove(model)),
            Some(model) => drop(scopes.models.insert(model.to_owned(), changed)),
            None => scopes.server = changed,
        }
        // A file goes on being written by the samples that hold it, and is begun anew after a change.
        scopes.files.clear();
        let mut all = scopes.models.values().chain([&scopes.server]);
        self.on.store(all.any(|scope| scope.level == Some(Level::Timestamps)), Ordering::Relaxed);
        Ok(())
    }
}

impl Scopes {
    fn settings(&self, model: &str) -> Settings<'_> {
        let none = Scope::default();
        let own = self.models.get(model).unwrap_or(&none);
        let server = &self.server;
        let file = self.models.get(model).and_then(|own| own.file.as_deref());
        Settings {
            level: own.level.or(server.level).unwrap_or(Level::Off),
            rate: own.rate.or(server.rate).unwrap_or(1000),
            count: own.count.or(server.count).unwrap_or(-1),
            frequency: own.frequency.or(server.frequency).unwrap_or(0),
            file: file.or(server.file.as_deref()).unwrap_or(FILE),
        }
    }
}

impl Settings<'_> {
    fn wire(&self, possible: bool) -> BTreeMap<&'static str, Vec<String>> {
        let level = match self.level {
            Level::Off => "OFF",
            Level::Timestamps => "TIMESTAMPS",
        };
        let file = if possible { self.file } else { "" };
        BTreeMap::from([
            ("trace_level", vec![level.to_owned()]),
            ("trace_rate", vec![self.rate.to_string()]),
            ("trace_count", vec![self.count.to_string()]),
            ("log_frequency", vec![self.frequency.to_string()]),
            ("trace_file", vec![file.to_owned()]),
            ("trace_mode", vec!["triton".to_owned()]),
        ])
    }
}

impl Scope {
    fn is_default(&self) -> bool {
        let made = (self.level, self.rate, self.count, self.frequency, &self.file);
        made == (None, None, None, None, &None)
    }

    /// Counting starts anew.
    fn updated(self, update: &TraceUpdate, possible: bool) -> Result<Scope, Failure> {
        let mut scope = Scope { seen: 0, traced: 0, ..self };
        for (name, values) in update {
            let values = values.as_deref().unwrap_or_default();
            match name.as_str() {
                "trace_level" => scope.level = level(values, possible)?,
                "trace_rate" => {
                    scope.rate = number(name, values, 1..=i64::MAX)?.map(i64::cast_unsigned)
                }
                "trace_count" => scope.count = number(name, values, -1..=i64::MAX)?,
                "log_frequency" => {
                    scope.frequency = number(name, values, 0..=i64::MAX)?.map(i64::cast_unsigned);
                }
                "trace_file" => scope.file = file(values)?,
                "trace_mode" if values.iter().all(|mode| mode == "triton") => {}
                "trace_mode" => {
                    return Err(Failure::unsupported("the only trace mode is `triton`"));
                }
                other => {
                    return Err(Failure::invalid(format!("{} is no trace setting", Shown(other))));
                }
            }
        }
        Ok(scope)
    }
}

fn level(values: &[String], possible: bool) -> Result<Option<Level>, Failure> {
    let mut found = None;
    for value in values {
        match value.as_str() {
            "OFF" if values.len() == 1 => found = Some(Level::Off),
            "TIMESTAMPS" if !possible => {
                return Err(Failure::unsupported(
                    "tracing is not possible: the server was started without a folder for traces",
                ));
            }
            "TIMESTAMPS" => found = Some(Level::Timestamps),
            "TENSORS" | "MIN" | "MAX" => {
                return Err(Failure::unsupported(format!(
                    "the trace level {value} is not supported"
                )));
            }
            other => {
                return Err(Failure::invalid(format!("{} is no trace level", Shown(other))));
            }
        }
    }
    Ok(found)
}

fn number(
    name: &str,
    values: &[String],
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>, Failure> {
    let [value] = values else {
        return if values.is_empty() { Ok(None) } else { Err(single(name)) };
    };
    let number = value.parse().ok().filter(|number| range.contains(number));
    number
        .map(Some)
        .ok_or_else(|| Failure::invalid(format!("the setting {name} cannot be {}", Shown(value))))
}

fn file(values: &[String]) -> Result<Option<String>, Failure> {
    match values {
        [] => Ok(None),
        [name] if name.is_empty() => Ok(None),
        [name] => plain_file_name("trace_file", name).map(|()| Some(name.clone())),
        _ => Err(single("trace_file")),
    }
}

fn single(name: &str) -> Failure {
    Failure::invalid(format!("the setting {name} takes one value"))
}

/// A file directly within the configured folder: no path, nothing hidden, nothing that is special to a terminal.
pub(crate) fn plain_file_name(setting: &str, name: &str) -> Result<(), Failure> {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Failure::invalid(format!(
            "{setting} must be a plain file name of letters, digits, `.`, `-` and `_`: it lies in the configured folder"
        )));
    }
    Ok(())
}

impl Sample {
    /// Appends the trace to its file; blocks.
    pub fn write(&self, traced: &Traced) {
        let timing = &traced.timing;
        let spans = [
            ("REQUEST_START", Duration::ZERO),
            ("QUEUE_START", Duration::ZERO),
            ("COMPUTE_START", timing.queue),
            ("COMPUTE_INPUT_END", timing.input),
            ("COMPUTE_OUTPUT_START", timing.stalled + timing.compute),
            ("COMPUTE_END", timing.output),
        ];
        let start = traced.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut at = start;
        let mut timestamps = Vec::with_capacity(spans.len() + 1);
        for (name, span) in spans {
            at += span;
            timestamps.push(json!({ "name": name, "ns": nanoseconds(at) }));
        }
        let end = (start + traced.took).max(at);
        timestamps.push(json!({ "name": "REQUEST_END", "ns": nanoseconds(end) }));
        let entry = json!({
            "id": self.id,
            "model_name": traced.model,
            "model_version": traced.version,
            "request_id": traced.request_id,
            "timestamps": timestamps,
        });
        let mut file = self.file.lock().expect("no panic while locked");
        if let Err(error) = file.append(&entry.to_string()) {
            tracing::warn!(%error, "cannot write a trace");
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(settings: &[(&str, &[&str])]) -> TraceUpdate {
        let values = |values: &[&str]| Some(values.iter().map(|&value| value.to_owned()).collect());
        settings.iter().map(|(name, given)| ((*name).to_owned(), values(given))).collect()
    }

    #[test]
    fn models_inherit_what_they_do_not_set() {
        let folder = tempfile::tempdir().expect("a folder");
        let tracer = Tracer::new(Some(folder.path().to_owned()), 2);
        tracer.update(None, &update(&[("trace_rate", &["7"])])).expect("valid");
        tracer.update(Some("m"), &update(&[("trace_count", &["3"])])).expect("valid");
        let get = |model, name| tracer.get(model)[name].join(",");
        assert_eq!(
            (get(Some("m"), "trace_rate"), get(Some("m"), "trace_count")),
            ("7".into(), "3".into())
        );
        assert_eq!(get(None, "trace_count"), "-1");
        tracer
            .update(Some("m"), &TraceUpdate::from([("trace_count".into(), None)]))
            .expect("valid");
        assert_eq!(get(Some("m"), "trace_count"), "-1");
    }

    #[test]
    fn samples_by_rate_and_count_into_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let tracer = Tracer::new(Some(folder.path().to_owned()), 2);
        let settings: [(&str, &[&str]); 4] = [
            ("trace_level", &["TIMESTAMPS"]),
            ("trace_rate", &["3"]),
            ("trace_count", &["2"]),
            ("trace_file", &["t.json"]),
        ];
        tracer.update(None, &update(&settings)).expect("valid");
        let samples: Vec<_> = (0..12).map(|_| tracer.sample("m")).collect();
        let taken: Vec<_> = (0..12).filter(|&index| samples[index].is_some()).collect();
        assert_eq!(taken, [0, 3]);
        for sample in samples.iter().flatten() {
            sample.write(&Traced {
                request_id: "r\"\n".into(),
                model: "m".into(),
                version: 1,
                started: SystemTime::now(),
                took: Duration::from_millis(1),
                timing: Timing::default(),
            });
        }
        let text = std::fs::read_to_string(folder.path().join("t.json")).expect("written");
        let traces: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(traces.len(), 2);
        assert_eq!(traces[1]["request_id"], "r\"\n");
        assert_eq!(traces[1]["timestamps"].as_array().map(Vec::len), Some(7));
    }

    #[test]
    fn refuses_wrong_settings_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let tracer = Tracer::new(Some(folder.path().to_owned()), 1);
        let before = tracer.get(None);
        for (name, values) in [
            ("trace_level", &["LOUD"][..]),
            ("trace_level", &["TENSORS"]),
            ("trace_level", &["OFF", "TIMESTAMPS"]),
            ("trace_rate", &["0"]),
            ("trace_rate", &["-1"]),
            ("trace_rate", &["1", "2"]),
            ("trace_count", &["-2"]),
            ("trace_file", &["../x"]),
            ("trace_file", &["/etc/x"]),
            ("trace_file", &["a/b"]),
            ("trace_file", &[".."]),
            ("trace_file", &["a\0b"]),
            ("trace_mode", &["opentelemetry"]),
            ("colour", &["red"]),
        ] {
            let both = update(&[("log_frequency", &["5"]), (name, values)]);
            assert!(tracer.update(None, &both).is_err(), "{name} {values:?}");
            assert_eq!(tracer.get(None), before);
        }
        tracer.update(Some("a"), &update(&[("trace_rate", &["2"])])).expect("the first model");
        assert!(tracer.update(Some("b"), &update(&[("trace_rate", &["2"])])).is_err(), "too many");
    }

    #[test]
    fn is_off_without_a_folder() {
        let tracer = Tracer::new(None, 1);
        assert!(tracer.update(None, &update(&[("trace_level", &["TIMESTAMPS"])])).is_err());
        tracer.update(None, &update(&[("trace_level", &["OFF"])])).expect("off is fine");
        assert!(tracer.sample("m").is_none());
    }
}
