//! Sizes in bytes, with the suffixes that people write on a command line.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};
use std::str::FromStr;

/// A size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Bytes(pub u64);

impl Bytes {
    pub const ZERO: Bytes = Bytes(0);

    pub const fn from_kib(kib: u64) -> Self {
        Bytes(kib << 10)
    }

    pub const fn from_mib(mib: u64) -> Self {
        Bytes(mib << 20)
    }

    pub const fn from_gib(gib: u64) -> Self {
        Bytes(gib << 30)
    }

    /// How many blocks of `block` bytes hold this many bytes.
    pub const fn div_ceil(self, block: Bytes) -> u64 {
        self.0.div_ceil(block.0)
    }

    /// Rounded up to a multiple of `align`.
    pub const fn align_up(self, align: u64) -> Bytes {
        Bytes(self.0.div_ceil(align) * align)
    }

    pub const fn saturating_sub(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }

    pub fn as_mib_f64(self) -> f64 {
        self.0 as f64 / (1u64 << 20) as f64
    }

    /// The size as an index type of this machine.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl From<usize> for Bytes {
    fn from(bytes: usize) -> Self {
        Bytes(bytes as u64)
    }
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0 + other.0)
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        self.0 += other.0;
    }
}

impl Sub for Bytes {
    type Output = Bytes;
    fn sub(self, other: Bytes) -> Bytes {
        Bytes(self.0 - other.0)
    }
}

impl SubAssign for Bytes {
    fn sub_assign(&mut self, other: Bytes) {
        self.0 -= other.0;
    }
}

impl Mul<u64> for Bytes {
    type Output = Bytes;
    fn mul(self, factor: u64) -> Bytes {
        Bytes(self.0 * factor)
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(iter: I) -> Bytes {
        iter.fold(Bytes::ZERO, |sum, bytes| sum + bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `512 B`, `1.5 KiB`, `24.0 MiB`, `2.0 GiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0 as f64;
        match self.0 {
            bytes if bytes < 1 << 10 => write!(f, "{bytes} B"),
            bytes if bytes < 1 << 20 => write!(f, "{:.1} KiB", value / 1024.0),
            bytes if bytes < 1 << 30 => write!(f, "{:.1} MiB", value / 1048576.0),
            _ => write!(f, "{:.2} GiB", value / 1073741824.0),
        }
    }
}

/// Reads `4096`, `64KiB`, `64MiB`, `2GiB` (powers of 1024) and `64kB`, `64MB`, `2GB` (powers of 1000).
impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: f64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a size: write for example 64MiB or 2GB"))?;
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kib" => 1024.0,
            "m" | "mib" => 1048576.0,
            "g" | "gib" => 1073741824.0,
            "t" | "tib" => 1099511627776.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            other => {
                return Err(format!(
                    "`{other}` is not a unit of size: use KiB, MiB, GiB, kB, MB or GB"
                ));
            }
        };
        let bytes = number * factor;
        if bytes < 0.0 || bytes >= u64::MAX as f64 {
            return Err(format!("`{text}` is out of range"));
        }
        Ok(Bytes(bytes as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows_and_what_people_write() {
        assert_eq!("64MiB".parse(), Ok(Bytes::from_mib(64)));
        assert_eq!("2GB".parse(), Ok(Bytes(2_000_000_000)));
        assert_eq!("1.5 KiB".parse(), Ok(Bytes(1536)));
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert!("64 parsecs".parse::<Bytes>().unwrap_err().contains("parsecs"));
        assert!("".parse::<Bytes>().is_err());
        assert_eq!(Bytes::from_mib(24).to_string(), "24.0 MiB");
    }

    #[test]
    fn counts_blocks() {
        assert_eq!(Bytes(1).div_ceil(Bytes(4096)), 1);
        assert_eq!(Bytes(8193).div_ceil(Bytes(4096)), 3);
        assert_eq!(Bytes(65).align_up(64), Bytes(128));
    }
}
