//! Timelines as Chrome traces, for `chrome://tracing` and Perfetto.
//!
//! Format: Trace Event Format, JSON array of complete events (`ph: X`) with times in microseconds, and metadata events
//! (`ph: M`) that name the rows.

use serde_json::{Value, json};
use std::io::{self, Write};
use sublet_device_cuda::Span;

/// Writes the spans of devices, one process a device and one row a track.
pub fn write(devices: &[(String, Vec<Span>)], to: &mut impl Write) -> io::Result<()> {
    let mut events: Vec<Value> = Vec::new();
    for (process, (device, spans)) in devices.iter().enumerate() {
        events.push(
            json!({"ph": "M", "name": "process_name", "pid": process, "args": {"name": device}}),
        );
        let mut tracks: Vec<&str> = spans.iter().map(|span| span.track.as_str()).collect();
        tracks.sort_unstable();
        tracks.dedup();
        for (row, track) in tracks.iter().enumerate() {
            let args = json!({"name": track});
            events.push(
                json!({"ph": "M", "name": "thread_name", "pid": process, "tid": row, "args": args}),
            );
        }
        for span in spans {
            let row = tracks.binary_search(&span.track.as_str()).expect("collected from the spans");
            events.push(json!({
                "ph": "X", "name": span.name, "pid": process, "tid": row,
                "ts": span.start.0 as f64 / 1e3,
                "dur": (span.end.saturating_sub(span.start)).0 as f64 / 1e3,
            }));
        }
    }
    // An event a line: such files are also read by people.
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    write!(to, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{}\n]}}\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sublet_units::Time;

    #[test]
    fn spans_become_events_of_their_row() {
        let span = |track: &str, name: &str, start, end| Span {
            track: track.into(),
            name: name.into(),
            start: Time(start),
            end: Time(end),
        };
        let spans = vec![span("link", "segment \"0\"", 0, 1500), span("lane 0", "run", 2000, 4500)];
        let mut text = Vec::new();
        write(&[("cuda:0".into(), spans), ("cuda:1".into(), Vec::new())], &mut text).unwrap();
        let trace: Value = serde_json::from_slice(&text).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let complete: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(complete.len(), 2);
        assert_eq!(
            (&complete[0]["name"], &complete[0]["dur"]),
            (&json!("segment \"0\""), &json!(1.5))
        );
        assert_ne!(complete[0]["tid"], complete[1]["tid"]);
        assert_eq!(events.iter().filter(|event| event["name"] == "process_name").count(), 2);
    }
}
