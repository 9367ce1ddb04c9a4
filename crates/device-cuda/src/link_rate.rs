//! How fast the link copies, as seen from the ends of copies that lie behind one another.

use std::sync::atomic::{AtomicU64, Ordering};
use sublet_units::Time;

/// Bytes per second of a link that nobody has measured yet.
pub const LINK_RATE_GUESS: u64 = 50_000_000_000;

/// Bytes that are measured together: the ends of copies are seen a few microseconds late.
const SAMPLE_BYTES: u64 = 8 << 20;

/// The rate of one device's link, read by its lanes.
pub struct LinkRate(AtomicU64);

impl Default for LinkRate {
    fn default() -> Self {
        LinkRate(AtomicU64::new(LINK_RATE_GUESS))
    }
}

impl LinkRate {
    /// What copying `bytes` takes.
    pub fn time_for(&self, bytes: u64) -> Time {
        let rate = self.0.load(Ordering::Relaxed).max(1);
        Time((u128::from(bytes) * 1_000_000_000 / u128::from(rate)) as u64)
    }

    fn note(&self, bytes: u64, took: Time) {
        if took == Time::ZERO {
            return;
        }
        let seen = (u128::from(bytes) * 1_000_000_000 / u128::from(took.0)) as u64;
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before - before / 8 + seen / 8, Ordering::Relaxed);
    }
}

/// Copies that keep the link busy without a break.
#[derive(Default)]
pub struct Streak {
    /// When the first of them had ended, and the bytes since.
    since: Option<(Time, u64)>,
}

impl Streak {
    /// Notes that a copy was seen to have ended. `more`: the next one is enqueued behind it already.
    pub fn ended(&mut self, rate: &LinkRate, bytes: u64, now: Time, more: bool) {
        let since = self.since.take().map(|(start, before)| (start, before + bytes));
        let (start, total) = since.unwrap_or((now, 0));
        let is_enough = total >= SAMPLE_BYTES;
        if is_enough {
            rate.note(total, now.saturating_sub(start));
        }
        if more {
            self.since = Some(if is_enough { (now, 0) } else { (start, total) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approaches_what_copies_take() {
        let rate = LinkRate::default();
        assert_eq!(rate.time_for(50_000_000), Time::from_millis(1));
        let mut streak = Streak::default();
        for index in 0..100u64 {
            // 8 MiB in 335,544 ns: 25 GB/s.
            streak.ended(&rate, 8 << 20, Time(index * 335_544), true);
        }
        let seen = rate.time_for(25_000_000);
        assert!(seen.0.abs_diff(1_000_000) < 10_000, "{seen:?}");
    }

    #[test]
    fn a_break_is_not_counted() {
        let rate = LinkRate::default();
        let mut streak = Streak::default();
        for index in 0..100u64 {
            streak.ended(&rate, 64 << 20, Time::from_secs(index), false);
        }
        assert_eq!(rate.time_for(50_000_000), Time::from_millis(1));
    }
}
