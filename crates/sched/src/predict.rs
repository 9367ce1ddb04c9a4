//! Predictions from what was observed, in whole numbers so that they replay exactly.

use std::collections::BTreeMap;
use sublet_units::{Bytes, Time};

/// How long runs of one model take, by number of rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunTimes {
    /// Exponentially weighted mean for up to so many rows (powers of two).
    means: BTreeMap<u32, Time>,
}

impl RunTimes {
    pub fn observe(&mut self, rows: u32, took: Time) {
        self.means
            .entry(rows.clamp(1, 1 << 31).next_power_of_two())
            .and_modify(|mean| {
                *mean = Time(((u128::from(mean.0) * 7 + u128::from(took.0)) / 8) as u64)
            })
            .or_insert(took);
    }

    /// `None` before the first run. Of sizes not seen yet, the next larger one seen counts, or else the largest.
    pub fn predict(&self, rows: u32) -> Option<Time> {
        let size = rows.clamp(1, 1 << 31).next_power_of_two();
        let larger = self.means.range(size..).next();
        larger.or_else(|| self.means.last_key_value()).map(|(_, &mean)| mean)
    }
}

/// Keeps digits that the fading would otherwise round away.
const SCALE: u128 = 1 << 16;

/// How fast a link copies: observed bytes over observed time, older observations fading.
#[derive(Clone, Debug)]
pub(crate) struct LinkRate {
    bytes: u128,
    nanos: u128,
}

impl LinkRate {
    /// `bytes_per_second`: the first guess, which counts like one observation of a millisecond.
    pub fn new(bytes_per_second: u64) -> Self {
        LinkRate {
            bytes: u128::from(bytes_per_second.max(1)) * SCALE / 1_000,
            nanos: 1_000_000 * SCALE,
        }
    }

    pub fn observe(&mut self, bytes: Bytes, took: Time) {
        if bytes == Bytes::ZERO {
            return;
        }
        self.bytes = self.bytes * 7 / 8 + u128::from(bytes.0) * SCALE;
        self.nanos = self.nanos * 7 / 8 + u128::from(took.0.max(1)) * SCALE;
    }

    pub fn time(&self, bytes: Bytes) -> Time {
        let nanos = u128::from(bytes.0) * self.nanos / self.bytes.max(1);
        Time(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// How often something was used lately, each use counting half after every half-life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UseRate {
    value: u64,
    at: Time,
}

impl UseRate {
    /// One use, in the unit of [`UseRate::at`].
    const USE: u64 = 1024;

    pub fn bump(&mut self, now: Time, half_life: Time) {
        *self = UseRate { value: self.at(now, half_life).saturating_add(Self::USE), at: now };
    }

    /// Uses in 1/1024. Between two halvings the decay is a straight line.
    pub fn at(&self, now: Time, half_life: Time) -> u64 {
        let age = now.saturating_sub(self.at).0;
        let half_life = half_life.0.max(1);
        let halvings = u32::try_from(age / half_life).unwrap_or(u32::MAX);
        let value = self.value.checked_shr(halvings).unwrap_or(0);
        let part = u128::from(value) * u128::from(age % half_life) / (2 * u128::from(half_life));
        value - part as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_times_fall_back_to_sizes_that_were_seen() {
        let mut times = RunTimes::default();
        assert_eq!(times.predict(1), None);
        times.observe(3, Time(800));
        assert_eq!(times.predict(1), Some(Time(800)));
        assert_eq!(times.predict(64), Some(Time(800)));
        times.observe(4, Time(1600));
        assert_eq!(times.predict(4), Some(Time(900)));
        times.observe(u32::MAX, Time::MAX);
        assert_eq!(times.predict(5), Some(Time::MAX));
    }

    #[test]
    fn a_link_comes_to_be_known_by_what_it_does() {
        let mut link = LinkRate::new(1_000_000_000);
        assert_eq!(link.time(Bytes(1_000_000)), Time::from_millis(1));
        for _ in 0..100 {
            link.observe(Bytes(1_000_000), Time::from_millis(4));
        }
        let time = link.time(Bytes(1_000_000)).as_millis_f64();
        assert!((3.99..=4.0).contains(&time), "{time}");
        link.observe(Bytes(u64::MAX), Time::MAX);
        assert!(link.time(Bytes(1)) < Time(10));
    }

    #[test]
    fn uses_count_half_after_each_half_life() {
        let mut uses = UseRate::default();
        let half_life = Time::from_secs(10);
        uses.bump(Time::from_secs(5), half_life);
        assert_eq!(uses.at(Time::from_secs(5), half_life), 1024);
        assert_eq!(uses.at(Time::from_secs(10), half_life), 768);
        assert_eq!(uses.at(Time::from_secs(15), half_life), 512);
        assert_eq!(uses.at(Time::from_secs(25), half_life), 256);
        assert_eq!(uses.at(Time::MAX, half_life), 0);
        uses.bump(Time::from_secs(15), half_life);
        assert_eq!(uses.at(Time::from_secs(15), half_life), 1536);
    }
}
