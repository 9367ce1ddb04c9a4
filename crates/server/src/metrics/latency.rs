//! Histograms of request latency, per model, warm and cold apart.

use super::page::{Kind, Page};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds; one more bucket has no bound.
const BOUNDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

#[derive(Default)]
pub(crate) struct Latencies {
    models: RwLock<HashMap<String, Arc<[Histogram; 2]>>>,
}

#[derive(Default)]
struct Histogram {
    /// Not cumulative.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Latencies {
    /// One answered request.
    pub fn record(&self, model: &str, cold: bool, took: Duration) {
        let known = self.models.read().expect("no panic while locked").get(model).cloned();
        let histograms = known.unwrap_or_else(|| {
            let mut models = self.models.write().expect("no panic while locked");
            models.entry(model.to_owned()).or_default().clone()
        });
        histograms[usize::from(cold)].record(took);
    }

    /// Forgets models that are gone.
    pub fn keep(&self, known: impl Fn(&str) -> bool) {
        self.models.write().expect("no panic while locked").retain(|model, _| known(model));
    }

    pub fn render(&self, page: &mut Page) {
        let models = self.models.read().expect("no panic while locked");
        let mut models: Vec<_> = models.iter().collect();
        models.sort_by_key(|(name, _)| *name);
        let help = "Seconds from a decoded request to its answer, by whether weights were missing";
        page.metric("sublet_request_duration_seconds", Kind::Histogram, help, |lines| {
            for (model, histograms) in models {
                for (start, histogram) in ["warm", "cold"].into_iter().zip(&**histograms) {
                    let mut count = 0;
                    for (index, bucket) in histogram.buckets.iter().enumerate() {
                        count += bucket.load(Ordering::Relaxed);
                        let bound = BOUNDS.get(index).map_or("+Inf".to_owned(), f64::to_string);
                        let labels = [("model", &**model), ("start", start), ("le", &*bound)];
                        lines.suffixed("_bucket", &labels, count as f64);
                    }
                    let labels = [("model", &**model), ("start", start)];
                    let seconds = histogram.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
                    lines.suffixed("_sum", &labels, seconds);
                    lines.suffixed("_count", &labels, count as f64);
                }
            }
        });
    }
}

impl Histogram {
    fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|&bound| bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}
