//! The closing table: what each model cost, cold and warm.

use super::record::Latencies;
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::Duration;
use sublet_engine::Engine;
use sublet_units::Bytes;

pub fn print(
    engine: &Engine,
    models: &[(String, u64)],
    latencies: &BTreeMap<String, Latencies>,
) -> Result<()> {
    println!(
        "\n{:<20} {:>10} {:>8} {:>9} {:>6} {:>9} {:>6} {:>9}",
        "model", "size", "requests", "swap-ins", "cold", "median", "warm", "median"
    );
    for (model, bytes) in models {
        let statistics = engine.statistics(Some(model), None)?;
        let (requests, swaps) = statistics.iter().fold((0, 0), |(requests, swaps), version| {
            (requests + version.success.count, swaps + version.swap_ins)
        });
        let none = Latencies::default();
        let seen = latencies.get(model).unwrap_or(&none);
        println!(
            "{model:<20} {:>10} {requests:>8} {swaps:>9} {:>6} {:>9} {:>6} {:>9}",
            Bytes(*bytes).to_string(),
            seen.cold.len(),
            median(&seen.cold),
            seen.warm.len(),
            median(&seen.warm)
        );
    }
    Ok(())
}

fn median(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    times
        .get(times.len() / 2)
        .map_or("–".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}
