//! gpulet's JSON files: scheduler, devices, memory, and the numbers of models.

use crate::formats::FormatError;
use crate::formats::text::json_error;
use serde::Deserialize;
use std::collections::BTreeMap;
use sublet_units::Bytes;

/// `sched-config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedConfig {
    /// Types of GPUs and how many of each.
    pub gpus: Vec<(String, usize)>,
    pub models_max: usize,
    /// Whether GPUs may be divided at all.
    pub partitions: bool,
    pub latency_ratio: f64,
    pub slo_ratio: f64,
    pub interference: bool,
    /// Ascending, each once.
    pub sizes: Vec<u32>,
    /// Settings of the original's search that mean nothing to an exact one.
    pub ignored: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchedFile {
    #[serde(rename = "GPUs")]
    gpus: Vec<GpuEntry>,
    #[serde(rename = "Max Model")]
    models_max: usize,
    #[serde(rename = "Part")]
    partitions: u8,
    #[serde(rename = "Latency Ratio", default = "one")]
    latency_ratio: f64,
    #[serde(rename = "SLO Ratio", default = "one")]
    slo_ratio: f64,
    #[serde(rename = "Interference")]
    interference: u8,
    #[serde(rename = "Avail_Parts")]
    sizes: Vec<u32>,
    #[serde(rename = "Incremental")]
    incremental: Option<u8>,
    #[serde(rename = "No Check")]
    no_check: Option<u8>,
    #[serde(rename = "Self Tuning")]
    self_tuning: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuEntry {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Num")]
    count: usize,
}

fn one() -> f64 {
    1.0
}

/// Reads the scheduler's settings.
///
/// # Errors
/// Text that is not this JSON, an unknown setting, or a switch that is neither 0 nor 1.
pub fn sched_config(file: &str, text: &str) -> Result<SchedConfig, FormatError> {
    let read: SchedFile = serde_json::from_str(text)
        .map_err(|error| json_error(file, "gpulet's scheduler settings", &error))?;
    let switch = |name: &str, value: u8| match value {
        0 | 1 => Ok(value == 1),
        other => Err(whole(file, &format!("0 or 1 for \"{name}\""), &other.to_string())),
    };
    let mut sizes = read.sizes;
    sizes.sort_unstable();
    sizes.dedup();
    let given = [
        ("Incremental", read.incremental),
        ("No Check", read.no_check),
        ("Self Tuning", read.self_tuning),
    ];
    Ok(SchedConfig {
        gpus: read.gpus.into_iter().map(|entry| (entry.kind, entry.count)).collect(),
        models_max: read.models_max,
        partitions: switch("Part", read.partitions)?,
        latency_ratio: read.latency_ratio,
        slo_ratio: read.slo_ratio,
        interference: switch("Interference", read.interference)?,
        sizes,
        ignored: given.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect(),
    })
}

/// One device of `device-config.json`. Files are relative to a folder that the original sets elsewhere.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSpec {
    #[serde(rename = "type")]
    pub kind: String,
    /// In MiB.
    #[serde(rename = "mem_mb")]
    pub memory_mib: u64,
    pub latency_prof_file: String,
    pub interference_const_file: String,
    pub interference_util_file: String,
}

impl DeviceSpec {
    pub fn memory(&self) -> Bytes {
        Bytes::from_mib(self.memory_mib)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFile {
    device_specs: Vec<DeviceSpec>,
}

/// Reads the devices.
///
/// # Errors
/// Text that is not this JSON, a type twice, or a memory that is no memory.
pub fn device_config(file: &str, text: &str) -> Result<Vec<DeviceSpec>, FormatError> {
    let read: DeviceFile = serde_json::from_str(text)
        .map_err(|error| json_error(file, "gpulet's device settings", &error))?;
    for (index, spec) in read.device_specs.iter().enumerate() {
        memory_of(file, &spec.kind, spec.memory_mib)?;
        if read.device_specs[..index].iter().any(|other| other.kind == spec.kind) {
            return Err(whole(file, "each type of device once", &spec.kind));
        }
    }
    Ok(read.device_specs)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemFile {
    models: Vec<MemEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemEntry {
    name: String,
    mem: u64,
}

/// Reads what each model takes on a GPU.
///
/// # Errors
/// Text that is not this JSON, a model twice, or a memory that is no memory.
pub fn mem_config(file: &str, text: &str) -> Result<BTreeMap<String, Bytes>, FormatError> {
    let read: MemFile = serde_json::from_str(text)
        .map_err(|error| json_error(file, "gpulet's memory settings", &error))?;
    let mut found = BTreeMap::new();
    for entry in read.models {
        let bytes = memory_of(file, &entry.name, entry.mem)?;
        if found.insert(entry.name.clone(), bytes).is_some() {
            return Err(whole(file, "each model once", &entry.name));
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct NamesFile {
    #[serde(rename = "Models")]
    models: Vec<NameEntry>,
}

#[derive(Deserialize)]
struct NameEntry {
    name: String,
    proxy_id: u32,
}

/// Reads `proxy_config.json`, for the models' numbers alone.
///
/// # Errors
/// Text that is not this JSON, or a number twice.
pub fn names(file: &str, text: &str) -> Result<BTreeMap<u32, String>, FormatError> {
    let read: NamesFile = serde_json::from_str(text)
        .map_err(|error| json_error(file, "gpulet's proxy settings", &error))?;
    let mut found = BTreeMap::new();
    for entry in read.models {
        if found.insert(entry.proxy_id, entry.name).is_some() {
            return Err(whole(file, "each number once", &entry.proxy_id.to_string()));
        }
    }
    Ok(found)
}

const MEMORY_MAX_MIB: u64 = 1 << 30;

fn memory_of(file: &str, name: &str, mib: u64) -> Result<Bytes, FormatError> {
    if mib > MEMORY_MAX_MIB {
        return Err(whole(
            file,
            &format!("at most {MEMORY_MAX_MIB} MiB for {name}"),
            &mib.to_string(),
        ));
    }
    Ok(Bytes::from_mib(mib))
}

fn whole(file: &str, want: &str, found: &str) -> FormatError {
    FormatError {
        file: file.to_owned(),
        line: 0,
        want: want.to_owned(),
        found: format!("`{found}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_settings_and_names_the_line_of_a_mistake() {
        let text = r#"{"GPUs":[{"Type":"a","Num":4}],"Max Model":3,"Part":1,"Latency Ratio":1.1,
            "Interference":1,"Avail_Parts":[40,20,100],"Incremental":1}"#;
        let read = sched_config("s.json", text).unwrap();
        assert_eq!(read.gpus, [("a".to_owned(), 4)]);
        assert_eq!((read.sizes.as_slice(), read.slo_ratio), ([20, 40, 100].as_slice(), 1.0));
        assert_eq!(read.ignored, ["Incremental"]);
        let error = sched_config("s.json", &text.replace("\"Incremental\"", "\"Incremental!\""))
            .unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.to_string().contains("Incremental!"), "{error}");
        assert!(sched_config("s.json", &text.replace("\"Part\":1", "\"Part\":2")).is_err());
        assert!(sched_config("s.json", &text.replace("\"Num\":4", "\"Num\":-4")).is_err());
        assert!(sched_config("s.json", &text.replace("1.1", "1e999")).is_err());
    }

    #[test]
    fn refuses_what_is_there_twice() {
        assert_eq!(
            mem_config("m", r#"{"models":[{"name":"a","mem":2}]}"#).unwrap()["a"],
            Bytes::from_mib(2)
        );
        assert!(
            mem_config("m", r#"{"models":[{"name":"a","mem":2},{"name":"a","mem":3}]}"#).is_err()
        );
        assert!(
            mem_config("m", r#"{"models":[{"name":"a","mem":18446744073709551615}]}"#).is_err()
        );
        assert!(mem_config("m", r#"{"models":[{"name":"a","mem":-1}]}"#).is_err());
        assert!(
            names("p", r#"{"Models":[{"name":"a","proxy_id":1},{"name":"b","proxy_id":1}]}"#)
                .is_err()
        );
    }
}
