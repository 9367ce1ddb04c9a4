//! A distribution of latencies: a histogram whose buckets are within 0.1 % of what was recorded.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sublet_units::Time;

/// Latencies in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    histogram: Histogram<u64>,
    /// Exact, for the mean.
    sum: u128,
}

/// Percentiles written beside the buckets in JSON, for readers that want no histogram.
const WRITTEN: &[(&str, f64)] =
    &[("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p98", 0.98), ("p99", 0.99), ("p999", 0.999)];

impl Default for Latency {
    fn default() -> Self {
        Self::with_digits(3)
    }
}

impl Latency {
    pub fn new() -> Self {
        Self::default()
    }

    /// Buckets within 1 %, an eighth of the memory: for rows by the thousand.
    pub fn coarse() -> Self {
        Self::with_digits(2)
    }

    fn with_digits(digits: u8) -> Self {
        Latency { histogram: Histogram::new(digits).expect("at most 5 digits"), sum: 0 }
    }

    pub fn record(&mut self, latency: Time) {
        self.record_n(latency, 1);
    }

    /// Records the same latency `count` times. A span of more than 2⁶² ns counts as 2⁶² ns.
    pub fn record_n(&mut self, latency: Time, count: u64) {
        let value = latency.0.min(1 << 62);
        self.histogram.record_n(value, count).expect("the histogram grows");
        self.sum += u128::from(value) * u128::from(count);
    }

    /// Adds another distribution.
    pub fn add(&mut self, other: &Latency) {
        self.histogram.add(&other.histogram).expect("the histogram grows");
        self.sum += other.sum;
    }

    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Zero when nothing was recorded, as are the following.
    pub fn mean(&self) -> Time {
        match self.count() {
            0 => Time::ZERO,
            count => Time((self.sum / u128::from(count)) as u64),
        }
    }

    /// The latency that a share `quantile` (0 to 1) of requests does not exceed.
    pub fn quantile(&self, quantile: f64) -> Time {
        Time(if self.count() == 0 { 0 } else { self.histogram.value_at_quantile(quantile) })
    }

    pub fn max(&self) -> Time {
        Time(self.histogram.max())
    }

    pub fn min(&self) -> Time {
        Time(if self.count() == 0 { 0 } else { self.histogram.min() })
    }

    /// How many did not exceed `latency`, as exactly as the buckets say.
    pub fn count_within(&self, latency: Time) -> u64 {
        self.histogram.count_between(0, latency.0.min(1 << 62))
    }

    /// The buckets that hold something: their highest value and how many they hold, in ascending order.
    pub fn buckets(&self) -> impl Iterator<Item = (Time, u64)> {
        self.histogram
            .iter_recorded()
            .map(|bucket| (Time(bucket.value_iterated_to()), bucket.count_since_last_iteration()))
    }
}

/// What JSON holds: nanoseconds throughout.
#[derive(Serialize, Deserialize)]
struct Written {
    count: u64,
    mean_ns: u64,
    min_ns: u64,
    max_ns: u64,
    /// By name: `p50`, `p99`, …
    #[serde(default)]
    percentiles_ns: std::collections::BTreeMap<String, u64>,
    digits: u8,
    /// Highest value of each bucket and its count.
    buckets: Vec<(u64, u64)>,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named =
            |(name, quantile): &(&str, f64)| ((*name).to_owned(), self.quantile(*quantile).0);
        let written = Written {
            count: self.count(),
            mean_ns: self.mean().0,
            min_ns: self.min().0,
            max_ns: self.max().0,
            percentiles_ns: WRITTEN.iter().map(named).collect(),
            digits: self.histogram.sigfig(),
            buckets: self.buckets().map(|(value, count)| (value.0, count)).collect(),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let written = Written::deserialize(deserializer)?;
        if !(1..=5).contains(&written.digits) {
            return Err(D::Error::custom(format!("{} digits of a histogram", written.digits)));
        }
        let mut latency = Latency::with_digits(written.digits);
        for (value, count) in written.buckets {
            latency.record_n(Time(value), count);
        }
        if latency.count() != written.count {
            let message = format!("{} in buckets, {} in all", latency.count(), written.count);
            return Err(D::Error::custom(message));
        }
        latency.sum = u128::from(written.mean_ns) * u128::from(written.count);
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latency = Latency::new();
        (1..=1000).for_each(|ms| latency.record(Time::from_millis(ms)));
        let near = |time: Time, ms: f64| (time.as_millis_f64() / ms - 1.0).abs() < 0.002;
        assert!(near(latency.quantile(0.5), 500.0) && near(latency.quantile(0.99), 990.0));
        assert_eq!(latency.mean(), Time(500_500_000));
        let within = latency.count_within(Time::from_millis(250));
        assert!((250..=251).contains(&within), "{within}");
        let mut twice = latency.clone();
        twice.add(&latency);
        assert_eq!((twice.count(), twice.mean()), (2000, latency.mean()));
    }

    #[test]
    fn json_keeps_the_distribution() {
        let mut latency = Latency::coarse();
        for value in [1, 900, 12_345, 99_999_999, u64::MAX] {
            latency.record(Time(value));
        }
        let again: Latency =
            serde_json::from_str(&serde_json::to_string(&latency).unwrap()).unwrap();
        assert_eq!(again.quantile(0.5), latency.quantile(0.5));
        assert_eq!((again.count(), again.buckets().count()), (5, 5));
        let empty: Latency =
            serde_json::from_str(&serde_json::to_string(&Latency::new()).unwrap()).unwrap();
        assert_eq!((empty.count(), empty.quantile(0.99), empty.min()), (0, Time::ZERO, Time::ZERO));
        let lying = r#"{"count":2,"mean_ns":1,"min_ns":1,"max_ns":1,"digits":3,"buckets":[[1,1]]}"#;
        assert!(serde_json::from_str::<Latency>(lying).is_err());
    }
}
