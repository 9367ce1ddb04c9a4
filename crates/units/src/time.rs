//! Points in time and spans of time, in whole nanoseconds.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::str::FromStr;
use std::time::Duration;

/// A point in time or a span, in nanoseconds. The origin is whatever the caller's clock says it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    pub const ZERO: Time = Time(0);
    pub const MAX: Time = Time(u64::MAX);

    pub const fn from_micros(micros: u64) -> Self {
        Time(micros.saturating_mul(1_000))
    }

    pub const fn from_millis(millis: u64) -> Self {
        Time(millis.saturating_mul(1_000_000))
    }

    pub const fn from_secs(secs: u64) -> Self {
        Time(secs.saturating_mul(1_000_000_000))
    }

    /// Seconds as a number to show to a person.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    pub const fn saturating_sub(self, other: Time) -> Time {
        Time(self.0.saturating_sub(other.0))
    }

    pub const fn saturating_add(self, other: Time) -> Time {
        Time(self.0.saturating_add(other.0))
    }

    pub const fn checked_add(self, other: Time) -> Option<Time> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Time(sum)),
            None => None,
        }
    }
}

impl From<Duration> for Time {
    fn from(duration: Duration) -> Self {
        Time(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        Duration::from_nanos(time.0)
    }
}

impl Add for Time {
    type Output = Time;
    fn add(self, other: Time) -> Time {
        Time(self.0 + other.0)
    }
}

impl AddAssign for Time {
    fn add_assign(&mut self, other: Time) {
        self.0 += other.0;
    }
}

/// Panics when `other` is later: use [`Time::saturating_sub`] where that may be.
impl Sub for Time {
    type Output = Time;
    fn sub(self, other: Time) -> Time {
        Time(self.0 - other.0)
    }
}

impl Mul<u64> for Time {
    type Output = Time;
    fn mul(self, factor: u64) -> Time {
        Time(self.0 * factor)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `850ns`, `12.5us`, `3.20ms`, `1.500s`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns if ns < 1_000 => write!(f, "{ns}ns"),
            ns if ns < 1_000_000 => write!(f, "{:.1}us", ns as f64 / 1e3),
            ns if ns < 1_000_000_000 => write!(f, "{:.2}ms", ns as f64 / 1e6),
            ns => write!(f, "{:.3}s", ns as f64 / 1e9),
        }
    }
}

/// Reads `850ns`, `12.5us`, `100ms`, `1.5s`, `2min`, `3h`; the unit is required, except for `0`.
impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: f64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a time: write for example 100ms or 30s"))?;
        let factor = match unit.trim() {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3600e9,
            "" if number == 0.0 => 0.0,
            "" => return Err(format!("`{text}` has no unit: write for example {text}ms")),
            other => {
                return Err(format!(
                    "`{other}` is not a unit of time: use ns, us, ms, s, min or h"
                ));
            }
        };
        let nanos = (number * factor).round();
        if nanos >= u64::MAX as f64 {
            return Err(format!("`{text}` is out of range"));
        }
        Ok(Time(nanos as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_with_their_units() {
        assert_eq!("100ms".parse(), Ok(Time::from_millis(100)));
        assert_eq!("1.5 s".parse(), Ok(Time::from_millis(1_500)));
        assert_eq!("2min".parse(), Ok(Time::from_secs(120)));
        assert_eq!("0".parse(), Ok(Time::ZERO));
        assert!("30".parse::<Time>().unwrap_err().contains("30ms"));
        assert!("3 fortnights".parse::<Time>().unwrap_err().contains("fortnights"));
        assert!("-1s".parse::<Time>().is_err());
    }

    #[test]
    fn shows_the_unit_that_fits() {
        assert_eq!(Time(850).to_string(), "850ns");
        assert_eq!(Time(12_500).to_string(), "12.5us");
        assert_eq!(Time::from_micros(3_200).to_string(), "3.20ms");
        assert_eq!(Time::from_millis(1_500).to_string(), "1.500s");
    }

    #[test]
    fn saturates_at_both_ends() {
        assert_eq!(Time(1).saturating_sub(Time(2)), Time::ZERO);
        assert_eq!(Time::MAX.saturating_add(Time(2)), Time::MAX);
        assert_eq!(Time::MAX.checked_add(Time(1)), None);
    }
}
