//! When a model will be asked next: known where its requests come regularly.

use sublet_units::Time;

/// The intervals between a model's requests: their mean, and how far they lie from it on average.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rhythm {
    last: Option<Time>,
    mean: Time,
    deviation: Time,
    /// Intervals seen, up to [`KNOWN`].
    seen: u32,
}

/// So many intervals tell a rhythm.
const KNOWN: u32 = 3;

/// An interval counts for one in so many.
const MEMORY: u64 = 8;

/// Requests come regularly when intervals deviate by less than this part of their mean. Of exponential intervals, those of
/// a Poisson process, the mean deviation is 2/e of the mean.
const REGULAR: u64 = 2;

/// A request that is so many deviations overdue shows that the rhythm has ended.
const LOST: u64 = 4;

impl Rhythm {
    /// A request has come.
    pub fn beat(&mut self, now: Time) {
        let Some(last) = self.last.replace(now) else { return };
        let gap = now.saturating_sub(last).0;
        let weight = u64::from(self.seen + 1).min(MEMORY);
        let off = gap.abs_diff(self.mean.0);
        self.mean = Time(mix(self.mean.0, gap, weight));
        // The first interval has nothing to deviate from.
        if self.seen > 0 {
            self.deviation = Time(mix(self.deviation.0, off, (weight - 1).max(1)));
        }
        self.seen = (self.seen + 1).min(MEMORY as u32);
    }

    /// From `now` until the next request is expected, if requests come regularly.
    pub fn next(&self, now: Time) -> Option<Time> {
        let (mean, deviation) = (self.mean.0, self.deviation.0);
        if self.seen < KNOWN || deviation.saturating_mul(REGULAR) >= mean {
            return None;
        }
        let since = now.saturating_sub(self.last?).0;
        if since > mean.saturating_add(deviation.saturating_mul(LOST)) {
            return None;
        }
        Some(Time(mean.saturating_sub(since).max(deviation)))
    }
}

fn mix(old: u64, new: u64, weight: u64) -> u64 {
    ((u128::from(old) * u128::from(weight - 1) + u128::from(new)) / u128::from(weight)) as u64
}
