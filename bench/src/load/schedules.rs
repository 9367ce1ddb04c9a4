//! How fast arrivals are made: a simulation of many devices must not wait for its workload.

use crate::busy::own_seconds;
use anyhow::Result;
use sublet_workload::{Workload, WorkloadSpec};

const ARRIVALS: usize = 5_000_000;

/// Prints arrivals per second of processor time, of a process that is drawn and of one that is merged from many.
pub fn run() -> Result<()> {
    for (form, models) in
        [("poisson:rate=1e6", 500), ("gamma:rate=1e6,cv=4", 500), ("gamma:rate=1e6,cv=4", 10_000)]
    {
        let spec = WorkloadSpec::new(form.parse()?);
        let workload = Workload::new(&spec, models, 1, &mut |file| Err(format!("no {file}")))?;
        let begin = own_seconds();
        let last = workload.arrivals().take(ARRIVALS).last();
        let seconds = (own_seconds() - begin).max(0.01);
        let simulated = last.map_or(0.0, |arrival| arrival.at.as_secs_f64());
        println!(
            "bench load arrivals: {form} over {models} models: {:.1} M/s ({simulated:.2} s of load in {seconds:.2} s of processor time)",
            ARRIVALS as f64 / seconds / 1e6
        );
    }
    Ok(())
}
