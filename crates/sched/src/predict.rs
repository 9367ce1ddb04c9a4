//! Predictions from what was observed, in whole numbers so that they replay exactly.

use crate::event::ProfilePoint;
use sublet_units::{Bytes, Time};

/// How long runs of one model take, by number of rows: what its profile says, corrected by what was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunTimes {
    /// By power of two of the rows: the weighted mean of runs with up to so many; zero: not known.
    means: Vec<Time>,
    /// Shares of compute with their times in 1/1024 of those on the whole device, ascending.
    slowdowns: Vec<(u32, u64)>,
}

/// The whole of a device's compute.
pub(crate) const WHOLE: u32 = 100;

impl RunTimes {
    pub fn new(profile: &[ProfilePoint]) -> Self {
        let mut times = RunTimes::default();
        let mut whole: Vec<_> = profile.iter().filter(|point| point.share == WHOLE).collect();
        whole.sort_unstable_by_key(|point| point.rows);
        for pair in 0..whole.len() {
            let (point, size) = (whole[pair], bucket(whole[pair].rows));
            times.set(size, point.time);
            // Sizes between two points lie on the line between them.
            if let Some(next) = whole.get(pair + 1) {
                for between in size + 1..bucket(next.rows) {
                    times.set(between, line(point, next, 1 << between));
                }
            }
        }
        times.slowdowns = slowdowns(profile, &whole);
        times
    }

    /// `share`: percent of the device's compute that the run had.
    pub fn observe(&mut self, rows: u32, share: u32, took: Time) {
        let took = Time((u128::from(took.0) * 1024 / u128::from(self.slowdown(share))) as u64);
        let size = bucket(rows);
        match self.means.get_mut(size) {
            Some(mean) if *mean > Time::ZERO => {
                *mean = Time(mean.0 - mean.0 / 8 + took.0 / 8);
            }
            _ => self.set(size, took.max(Time(1))),
        }
    }

    /// On a whole device. `None` while nothing is known. Of sizes not known, the next larger one that is counts, or else
    /// the largest.
    pub fn predict(&self, rows: u32) -> Option<Time> {
        let size = bucket(rows);
        match self.means.get(size) {
            Some(&mean) if mean > Time::ZERO => Some(mean),
            Some(_) => self.means[size..].iter().copied().find(|&mean| mean > Time::ZERO),
            None => self.means.last().copied(),
        }
    }

    /// On a share of a device.
    pub fn predict_on(&self, rows: u32, share: u32) -> Option<Time> {
        let time = self.predict(rows)?;
        if share == WHOLE {
            return Some(time);
        }
        Some(Time((u128::from(time.0) * u128::from(self.slowdown(share)) / 1024) as u64))
    }

    /// How much longer runs take on a share, in 1/1024: as the profile says for the nearest share from below, else in
    /// proportion.
    fn slowdown(&self, share: u32) -> u64 {
        if share == WHOLE {
            return 1024;
        }
        let below = self.slowdowns.iter().rev().find(|&&(known, _)| known <= share);
        let factor = below.map_or(1024 * u64::from(WHOLE) / u64::from(share.max(1)), |&(_, by)| by);
        factor.max(1)
    }

    fn set(&mut self, size: usize, time: Time) {
        if size >= self.means.len() {
            self.means.resize(size + 1, Time::ZERO);
        }
        self.means[size] = time;
    }
}

fn bucket(rows: u32) -> usize {
    rows.clamp(1, 1 << 31).next_power_of_two().trailing_zeros() as usize
}

fn line(from: &ProfilePoint, to: &ProfilePoint, rows: u32) -> Time {
    let along = u128::from(rows.saturating_sub(from.rows));
    let length = u128::from((to.rows - from.rows).max(1));
    let rise = u128::from(to.time.0.saturating_sub(from.time.0));
    Time(from.time.0 + (rise * along / length) as u64)
}

fn slowdowns(profile: &[ProfilePoint], whole: &[&ProfilePoint]) -> Vec<(u32, u64)> {
    let mut slowdowns: Vec<(u32, u64)> = Vec::new();
    for point in profile.iter().filter(|point| point.share != WHOLE) {
        let Some(same) = whole.iter().find(|other| other.rows == point.rows) else { continue };
        let by = u128::from(point.time.0) * 1024 / u128::from(same.time.0.max(1));
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        // Of several batch sizes the slowest counts.
        match slowdowns.binary_search_by_key(&point.share, |&(share, _)| share) {
            Ok(at) => slowdowns[at].1 = slowdowns[at].1.max(by),
            Err(at) => slowdowns.insert(at, (point.share, by)),
        }
    }
    slowdowns
}

/// Keeps digits that the fading would otherwise round away.
const SCALE: u128 = 1 << 16;

/// How fast a link copies: observed bytes over observed time, older observations fading.
#[derive(Clone, Debug)]
pub(crate) struct LinkRate {
    bytes: u128,
    nanos: u128,
    /// Nanoseconds per byte, in 1/2^32.
    pace: u64,
}

impl LinkRate {
    /// `bytes_per_second`: the first guess, which counts like one observation of a millisecond.
    pub fn new(bytes_per_second: u64) -> Self {
        let bytes = u128::from(bytes_per_second.max(1)) * SCALE / 1_000;
        let mut rate = LinkRate { bytes, nanos: 1_000_000 * SCALE, pace: 0 };
        rate.settle();
        rate
    }

    pub fn observe(&mut self, bytes: Bytes, took: Time) {
        if bytes == Bytes::ZERO {
            return;
        }
        self.bytes = self.bytes * 7 / 8 + u128::from(bytes.0) * SCALE;
        self.nanos = self.nanos * 7 / 8 + u128::from(took.0.max(1)) * SCALE;
        self.settle();
    }

    pub fn time(&self, bytes: Bytes) -> Time {
        let nanos = (u128::from(bytes.0) * u128::from(self.pace)) >> 32;
        Time(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn settle(&mut self) {
        self.pace = u64::try_from((self.nanos << 32) / self.bytes.max(1)).unwrap_or(u64::MAX);
    }
}

/// How much of something was used lately, each use counting half after every half-life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UseRate {
    value: u64,
    at: Time,
}

impl UseRate {
    pub fn add(&mut self, amount: u64, now: Time, half_life: Time) {
        *self = UseRate { value: self.at(now, half_life).saturating_add(amount), at: now };
    }

    /// What is left of all uses. Between two halvings the decay is a straight line.
    pub fn at(&self, now: Time, half_life: Time) -> u64 {
        let age = now.saturating_sub(self.at).0;
        if age == 0 {
            return self.value;
        }
        let half_life = half_life.0.max(1);
        let (halvings, rest) = match age < half_life {
            true => (0, age),
            false => (u32::try_from(age / half_life).unwrap_or(u32::MAX), age % half_life),
        };
        let value = self.value.checked_shr(halvings).unwrap_or(0);
        let part = match half_life >> 10 {
            0 => u128::from(value) * u128::from(rest) / (2 * u128::from(half_life)),
            unit => u128::from(value) * u128::from(rest / unit) / 2048,
        };
        value - (part as u64).min(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(rows: u32, share: u32, time: u64) -> ProfilePoint {
        ProfilePoint { rows, share, time: Time(time) }
    }

    #[test]
    fn run_times_fall_back_to_sizes_that_were_seen() {
        let mut times = RunTimes::default();
        assert_eq!(times.predict(1), None);
        times.observe(3, WHOLE, Time(800));
        assert_eq!(times.predict(1), Some(Time(800)));
        assert_eq!(times.predict(64), Some(Time(800)));
        times.observe(4, WHOLE, Time(1600));
        assert_eq!(times.predict(4), Some(Time(900)));
        times.observe(u32::MAX, WHOLE, Time::MAX);
        assert_eq!(times.predict(5), Some(Time::MAX));
    }

    #[test]
    fn run_times_start_from_a_profile_and_are_corrected() {
        let profile =
            [point(1, 100, 1000), point(8, 100, 8000), point(1, 50, 1500), point(1, 20, 4000)];
        let mut times = RunTimes::new(&profile);
        assert_eq!(times.predict(1), Some(Time(1000)));
        assert_eq!(times.predict(3), Some(Time(4000)));
        assert_eq!(times.predict(99), Some(Time(8000)));
        assert_eq!(times.predict_on(1, 50), Some(Time(1500)));
        assert_eq!(times.predict_on(1, 40), Some(Time(4000)));
        times.observe(1, 50, Time(3000));
        assert_eq!(times.predict(1), Some(Time(1125)));
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
        uses.add(1024, Time::from_secs(5), half_life);
        assert_eq!(uses.at(Time::from_secs(5), half_life), 1024);
        assert_eq!(uses.at(Time::from_secs(10), half_life), 768);
        assert_eq!(uses.at(Time::from_secs(15), half_life), 512);
        assert_eq!(uses.at(Time::from_secs(25), half_life), 256);
        assert_eq!(uses.at(Time::MAX, half_life), 0);
        uses.add(1024, Time::from_secs(15), half_life);
        assert_eq!(uses.at(Time::from_secs(15), half_life), 1536);
    }
}
