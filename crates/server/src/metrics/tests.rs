//! The page is parsed back by a reader of the text format.

use super::*;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use sublet_engine::DurationStat;
use sublet_units::{Bytes, DeviceId};

/// `name{labels}` → value, checking the format on the way.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = HashSet::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a text");
            assert!(helped.insert(name) && !text.is_empty(), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(types.insert(name, kind).is_none(), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let base = base.filter(|base| types.get(base) == Some(&"histogram")).unwrap_or(name);
            assert!(types.contains_key(base), "{line} comes before its type");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let value: f64 = value.parse().expect("a number");
            assert!(values.insert(series.to_owned(), value).is_none(), "{line} is given twice");
        }
    }
    values
}

fn model(name: &str) -> ModelStatistics {
    ModelStatistics {
        name: name.to_owned(),
        version: 2,
        success: DurationStat { count: 5, ns: 7_000_000 },
        fail: DurationStat { count: 3, ns: 1 },
        rejected: 2,
        cancelled: 4,
        load_ns: 1_500_000_000,
        resident: vec![(DeviceId(0), Bytes(4096))],
        ..ModelStatistics::default()
    }
}

fn device() -> DeviceStatus {
    DeviceStatus {
        device: DeviceId(0),
        name: "cpu:0".to_owned(),
        alive: true,
        memory_bytes: Bytes(1 << 20),
        page_bytes: Bytes(1 << 16),
        pages_free: 15,
        usage: Default::default(),
    }
}

#[test]
fn shows_the_counts() {
    let latencies = Latencies::default();
    let values = parse(&render(&[model("m")], &[device()], &latencies).finish());
    let check =
        |series: &str, expected: f64| assert_eq!(values.get(series), Some(&expected), "{series}");
    let m = r#"{model="m",version="2"}"#;
    check(&format!("nv_inference_request_success{m}"), 5.0);
    check(&format!("nv_inference_request_duration_us{m}"), 7000.0);
    check(r#"nv_inference_request_failure{model="m",version="2",reason="REJECTED"}"#, 2.0);
    check(r#"nv_inference_request_failure{model="m",version="2",reason="CANCELED"}"#, 4.0);
    check(r#"nv_inference_request_failure{model="m",version="2",reason="BACKEND"}"#, 1.0);
    check(&format!("nv_model_load_time{m}"), 1.5);
    check(r#"nv_gpu_memory_used_bytes{gpu_uuid="cpu:0"}"#, 65536.0);
    check(r#"sublet_resident_bytes{model="m",version="2",device="cpu:0"}"#, 4096.0);
}

#[test]
fn histograms_add_up() {
    let latencies = Latencies::default();
    for micros in [50, 100, 101, 20_000_000] {
        latencies.record("m", false, Duration::from_micros(micros));
    }
    latencies.record("gone", true, Duration::ZERO);
    latencies.keep(|name| name == "m");
    let values = parse(&render(&[], &[], &latencies).finish());
    let bucket = |le: &str| {
        values[&format!(
            r#"sublet_request_duration_seconds_bucket{{model="m",start="warm",le="{le}"}}"#
        )]
    };
    assert_eq!(
        (bucket("0.0001"), bucket("0.00025"), bucket("10"), bucket("+Inf")),
        (2.0, 3.0, 3.0, 4.0)
    );
    assert_eq!(values[r#"sublet_request_duration_seconds_count{model="m",start="warm"}"#], 4.0);
    assert!(values.keys().all(|series| !series.contains("gone")));
}

#[test]
fn escapes_names() {
    let latencies = Latencies::default();
    let page = render(&[model("a\"b\\c\nd")], &[], &latencies).finish();
    assert!(parse(&page).contains_key(r#"nv_inference_count{model="a\"b\\c\nd",version="2"}"#));
}
