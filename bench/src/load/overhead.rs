//! The generator against the echo, at a rate of 5,000 requests per second.

use super::{Programs, load};
use crate::busy::Busy;
use crate::echo;
use crate::server::{HttpClient, WIDTH};
use anyhow::{Result, bail};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use sublet_report::{Latency, Report};
use sublet_units::Time;
use tokio::runtime::Runtime;

const RATE: u64 = 5_000;
/// What the generator may fall short of the rate, and take of the machine: processor time of its process over wall time
/// and cores.
const OVERHEAD_MAX: f64 = 0.05;

pub fn run(programs: &Programs, seconds: u64) -> Result<()> {
    let runtime = Runtime::new()?;
    let address = runtime.block_on(echo::serve())?;
    let bare = bare(address, Duration::from_secs(seconds))?;
    let mut missed = 0;
    for protocol in ["http", "grpc"] {
        let scratch = tempfile::tempdir()?;
        let args = [
            format!("--url=echo={protocol}://{address}"),
            "--model=relu".to_owned(),
            format!("--workload=constant:rate={RATE}"),
            format!("--duration={seconds}s"),
            format!("--input=x=FP32:1x{WIDTH}"),
            "--encoding=binary".to_owned(),
            "--warmup=1000".to_owned(),
        ];
        let busy = Busy::watch();
        let report = load(programs, &args, scratch.path())?;
        missed += u32::from(!show(protocol, &report, &bare, busy.others()));
    }
    if missed > 0 {
        bail!("a bar was missed: at most {} % overhead", OVERHEAD_MAX * 100.0);
    }
    Ok(())
}

/// Prints one protocol's figures; false when a bar is missed.
fn show(protocol: &str, report: &Report, bare: &Latency, others: f64) -> bool {
    let outcome = &report.rows[0].outcome;
    let figure = |name: &str| {
        let found = report.figures.iter().find(|(key, _)| key.contains(name));
        found.map_or(f64::NAN, |(_, value)| *value)
    };
    let (each_us, share) = (figure("us per request"), figure("share of"));
    let late = outcome.send_delay.clone().unwrap_or_default();
    // The last request may be as late as any: what was sent, over the time that it may have taken.
    let took = outcome.span + late.max();
    let achieved = outcome.answered as f64 / took.as_secs_f64();
    let service = outcome.service.as_ref().unwrap_or(&outcome.latency);
    let micros = |time: Time| time.0 as f64 / 1e3;
    println!(
        "bench load {protocol}: rate {RATE}/s achieved {achieved:.0}/s failed {}; processor {each_us:.1} us per request \
         = {:.2} % of the machine; sent late p50 {:.1} us p99 {:.1} us; p50 {:.1} us, from due {:.1} us, \
         bare http client at that rate {:.1} us; others took {:.0} % of the machine",
        outcome.failed(),
        share * 100.0,
        micros(late.quantile(0.5)),
        micros(late.quantile(0.99)),
        micros(service.quantile(0.5)),
        micros(outcome.latency.quantile(0.5)),
        micros(bare.quantile(0.5)),
        others * 100.0,
    );
    let kept = achieved >= (1.0 - OVERHEAD_MAX) * RATE as f64;
    outcome.failed() == 0 && kept && share <= OVERHEAD_MAX
}

/// Latencies that a thread sees that spins until each request is due, writes it and waits for the answer.
fn bare(address: SocketAddr, length: Duration) -> Result<Latency> {
    let mut client = HttpClient::connect(address)?;
    let mut latency = Latency::new();
    let gap = Duration::from_secs(1) / RATE as u32;
    let start = Instant::now();
    let mut due = start;
    while due - start < length {
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let sent = Instant::now();
        client.ask()?;
        latency.record(sent.elapsed().into());
        due += gap;
    }
    Ok(latency)
}
