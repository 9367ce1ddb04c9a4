//! When a model is expected to be asked next, from the intervals between its requests.

use sublet_units::Time;

/// The intervals between a model's requests: their mean, and how far they lie from it on average.
///
/// Remembered by number, not by time: a model that is asked ten times a second is known anew after a second, one that is
/// asked ten times a minute after a minute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rhythm {
    last: Option<Time>,
    mean: Time,
    deviation: Time,
    /// Intervals seen, up to [`MEMORY`].
    seen: u32,
}

/// An interval counts for one in so many.
const MEMORY: u32 = 8;

/// From so many intervals, deviating by less than one in so many parts of their mean, it is guessed that requests come
/// regularly. Of exponential intervals, those of a Poisson process, the mean deviation is 2/e of the mean.
const GUESSED: (u32, u64) = (3, 2);

/// From these it is as good as certain.
const KNOWN: (u32, u64) = (5, 3);

/// A request that is so many deviations overdue shows that regularity has ended.
const LOST: u64 = 4;

/// Nothing deviates by less than one in so many parts of its mean.
const EXACT: u64 = 32;

/// So many deviations early come few.
const EARLY: u64 = 2;

/// What is asked for the first time is expected again after so long.
const FIRST: Time = Time::from_secs(30);

impl Rhythm {
    /// A request has come.
    pub fn beat(&mut self, now: Time) {
        let Some(last) = self.last.replace(now) else { return };
        let interval = now.saturating_sub(last);
        let off = Time(interval.0.abs_diff(self.mean.0));
        self.mean = mix(self.mean, interval, self.weight());
        // The first interval has nothing to deviate from.
        if self.seen > 0 {
            self.deviation = mix(self.deviation, off, (self.weight() - 1).max(1));
        }
        self.seen = (self.seen + 1).min(MEMORY);
    }

    /// From `now` until the next request is expected; [`Time::MAX`]: never.
    pub fn next(&self, now: Time) -> Time {
        let Some(last) = self.last else { return Time::MAX };
        let since = now.saturating_sub(last);
        if self.seen == 0 {
            return since.max(FIRST);
        }
        match self.is_regular(since, GUESSED) {
            true => self.mean.saturating_sub(since).max(self.deviation).max(Time(1)),
            // As long as intervals are on average, or would be were there a request now.
            false => self.mean.max(mix(self.mean, since, self.weight())).max(Time(1)),
        }
    }

    /// From `now` until the next request may come, where it is known that requests come regularly: few come sooner.
    pub fn soonest(&self, now: Time) -> Option<Time> {
        let since = now.saturating_sub(self.last?);
        let early = Time(self.deviation.0.saturating_mul(EARLY));
        self.is_regular(since, KNOWN).then(|| self.mean.saturating_sub(early).saturating_sub(since))
    }

    fn is_regular(&self, since: Time, (least, part): (u32, u64)) -> bool {
        let Rhythm { mean, deviation, seen, .. } = *self;
        let grace = Time(deviation.0.max(mean.0 / EXACT).saturating_mul(LOST));
        seen >= least
            && deviation.0.saturating_mul(part) < mean.0
            && since <= mean.saturating_add(grace)
    }

    fn weight(&self) -> u32 {
        (self.seen + 1).min(MEMORY)
    }
}

/// The mean of `weight - 1` times the old and once the new.
fn mix(old: Time, new: Time, weight: u32) -> Time {
    let weight = u64::from(weight);
    match new.0.checked_sub(old.0) {
        Some(more) => Time(old.0 + more / weight),
        None => Time(old.0 - (old.0 - new.0) / weight),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(intervals: &[u64]) -> (Rhythm, Time) {
        let (mut rhythm, mut now) = (Rhythm::default(), Time::from_secs(1));
        rhythm.beat(now);
        for &millis in intervals {
            now += Time::from_millis(millis);
            rhythm.beat(now);
        }
        (rhythm, now)
    }

    #[test]
    fn what_was_never_asked_is_not_expected() {
        assert_eq!(Rhythm::default().next(Time::from_secs(9)), Time::MAX);
    }

    #[test]
    fn regular_requests_are_expected_when_they_are_due() {
        let (rhythm, now) = beats(&[1000, 1000, 1000, 1000, 1000]);
        assert_eq!(rhythm.next(now + Time::from_millis(400)), Time::from_millis(600));
        assert_eq!(rhythm.soonest(now + Time::from_millis(1000)), Some(Time::ZERO));
        // Overdue by far: as if the next came now, one longer interval after five others.
        assert_eq!(rhythm.next(now + Time::from_millis(7000)), Time::from_millis(2000));
        assert_eq!(rhythm.soonest(now + Time::from_millis(6000)), None);
    }

    #[test]
    fn irregular_requests_are_expected_after_the_mean_interval() {
        let (rhythm, now) = beats(&[100, 1900, 50, 1950]);
        assert_eq!(rhythm.soonest(now), None);
        let next = rhythm.next(now).as_millis_f64();
        assert!((999.0..1001.0).contains(&next), "{next}");
    }

    #[test]
    fn old_intervals_are_forgotten_by_number() {
        let (rhythm, now) = beats(&[[10_000; 8], [10; 8], [10; 8], [10; 8], [10; 8]].concat());
        assert!(rhythm.next(now) < Time::from_millis(150));
    }
}
