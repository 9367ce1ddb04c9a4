//! Counts what happens to the requests of one model version.

use crate::{BatchStatistics, DurationStat, ModelStatistics, SwapCause};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use sublet_device::RunTiming;
use sublet_units::{Bytes, Time};

/// The counters of every model version there ever was; they outlive reloads.
#[derive(Default)]
pub(super) struct AllCounters {
    all: Vec<Counters>,
    by_version: HashMap<(String, u64), CountersIndex>,
}

#[derive(Clone, Copy)]
pub(super) struct CountersIndex(usize);

#[derive(Default)]
pub(super) struct Counters {
    totals: ModelStatistics,
    batches: BTreeMap<u32, BatchStatistics>,
}

impl AllCounters {
    pub fn find(&mut self, name: &str, version: u64) -> CountersIndex {
        *self.by_version.entry((name.to_owned(), version)).or_insert_with(|| {
            self.all.push(Counters::new(name, version));
            CountersIndex(self.all.len() - 1)
        })
    }

    pub fn at(&mut self, index: CountersIndex) -> &mut Counters {
        &mut self.all[index.0]
    }

    /// `None` for a version that never was.
    pub fn get(&self, name: &str, version: u64) -> Option<&Counters> {
        self.by_version.get(&(name.to_owned(), version)).map(|index| &self.all[index.0])
    }
}

impl DurationStat {
    pub(super) fn add(&mut self, span: Time) {
        self.count += 1;
        self.ns += span.0;
    }
}

impl Counters {
    pub fn new(name: &str, version: u64) -> Self {
        let totals = ModelStatistics { name: name.to_owned(), version, ..Default::default() };
        Counters { totals, batches: BTreeMap::new() }
    }

    /// One run on a device of `rows` rows.
    pub fn ran(&mut self, rows: u32, cold: bool, timing: &RunTiming) {
        self.totals.execution_count += 1;
        if cold {
            self.totals.cold_starts += 1;
        } else {
            self.totals.warm_starts += 1;
        }
        let batch = self.batches.entry(rows).or_default();
        batch.batch_size = rows.into();
        batch.compute_input.add(timing.input);
        batch.compute_infer.add(timing.compute + timing.stalled);
        batch.compute_output.add(timing.output);
    }

    /// One request answered. `queue` and `whole` are from its arrival to its start and to its answer.
    pub fn succeeded(&mut self, rows: u32, queue: Time, whole: Time, timing: &RunTiming) {
        let totals = &mut self.totals;
        totals.inference_count += u64::from(rows);
        totals.last_inference_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since: Duration| since.as_millis() as u64);
        totals.success.add(whole);
        totals.queue.add(queue);
        totals.compute_input.add(timing.input);
        totals.compute_infer.add(timing.compute + timing.stalled);
        totals.compute_output.add(timing.output);
    }

    pub fn failed(&mut self, whole: Time) {
        self.totals.fail.add(whole);
    }

    pub fn rejected(&mut self) {
        self.totals.rejected += 1;
    }

    pub fn cancelled(&mut self) {
        self.totals.cancelled += 1;
    }

    /// A request with a deadline has ended.
    pub fn with_deadline(&mut self, met: bool) {
        self.totals.with_deadline += 1;
        self.totals.met_deadline += u64::from(met);
    }

    pub fn swapped_in(&mut self, bytes: Bytes, took: Time) {
        self.totals.swap_ins += 1;
        self.totals.swapped_bytes += bytes;
        self.totals.swap_ns += took.0;
    }

    pub fn evicted(&mut self, cause: SwapCause) {
        match cause {
            SwapCause::Room => self.totals.evictions_room += 1,
            SwapCause::Removed | SwapCause::LoadFailed => self.totals.evictions_other += 1,
        }
    }

    pub fn loaded(&mut self, load_ns: u64, weight_bytes: Bytes) {
        self.totals.load_ns = load_ns;
        self.totals.weight_bytes = weight_bytes;
    }

    /// The counts, without what is pending and resident now.
    pub fn snapshot(&self) -> ModelStatistics {
        ModelStatistics { batches: self.batches.values().cloned().collect(), ..self.totals.clone() }
    }
}
