//! How a CUDA device is configured, and its form on the command line.

use std::ops::RangeInclusive;
use std::str::FromStr;
use sublet_units::Bytes;

/// Which f32 products may round their factors to TF32 (10 bits of mantissa) on the tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Tf32 {
    /// None: f32 is f32.
    #[default]
    Off,
    /// Convolutions alone, as PyTorch's defaults have it.
    Convolutions,
    On,
}

/// Arithmetic that plans are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Precision {
    pub tf32: Tf32,
}

/// One CUDA device.
#[derive(Clone, Debug, PartialEq)]
pub struct CudaOptions {
    pub ordinal: u32,
    /// Budget of device memory for weights; `None`: four fifths of what is free at start.
    pub memory: Option<Bytes>,
    /// Size of a physical page.
    pub page_bytes: Bytes,
    /// Runs that may compute at the same time.
    pub lanes: u32,
    /// Threads that help to copy inputs; `None`: as many as the machine's cores can spare.
    pub copiers: Option<u32>,
    /// Largest arena of a lane.
    pub arena_max: Bytes,
    pub precision: Precision,
    /// Whether spans of copies and kernels are noted for a trace.
    pub trace: bool,
}

const FORM: &str =
    "cuda:N[,memory=SIZE][,page=SIZE][,lanes=N][,copiers=N][,arena=SIZE][,tf32=off|conv|on]";

impl CudaOptions {
    pub fn new(ordinal: u32) -> Self {
        CudaOptions {
            ordinal,
            memory: None,
            page_bytes: Bytes::from_mib(16),
            lanes: 2,
            copiers: None,
            arena_max: Bytes::from_gib(8),
            precision: Precision::default(),
            trace: false,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "memory" => self.memory = Some(value.parse()?),
            "page" => self.page_bytes = value.parse()?,
            "arena" => self.arena_max = value.parse()?,
            "lanes" => self.lanes = number(value, 1..=16)?,
            "copiers" => self.copiers = Some(number(value, 0..=8)?),
            "tf32" => {
                self.precision.tf32 = match value {
                    "off" => Tf32::Off,
                    "conv" => Tf32::Convolutions,
                    "on" => Tf32::On,
                    _ => return Err(format!("`{value}` is not one of off, conv, on")),
                }
            }
            _ => return Err(format!("unknown; write {FORM}")),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let page = self.page_bytes.0;
        if page == 0 || !page.is_multiple_of(2 << 20) {
            return Err("a page is a multiple of 2 MiB".into());
        }
        if self.memory.is_some_and(|memory| memory < self.page_bytes) {
            return Err("less memory than one page".into());
        }
        Ok(())
    }
}

impl FromStr for CudaOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',').map(str::trim);
        let ordinal = match parts.next() {
            Some("cuda") => 0,
            Some(first) => first
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .ok_or_else(|| format!("`{text}` is not a CUDA device: write {FORM}"))?,
            None => unreachable!("splitting gives at least one part"),
        };
        let mut options = CudaOptions::new(ordinal);
        let mut seen = Vec::new();
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("`{part}` has no `=`: write {FORM}"));
            };
            if seen.contains(&key) {
                return Err(format!("`{key}` is given twice"));
            }
            seen.push(key);
            options.set(key, value).map_err(|error| format!("device option `{part}`: {error}"))?;
        }
        options.check().map_err(|error| format!("device `{text}`: {error}"))?;
        Ok(options)
    }
}

fn number(value: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("`{value}` is not a number from {} to {}", range.start(), range.end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_command_line_form() {
        let options: CudaOptions =
            "cuda:1,memory=20GiB,page=32MiB,lanes=3,copiers=0,tf32=conv".parse().unwrap();
        let wanted = CudaOptions {
            memory: Some(Bytes::from_gib(20)),
            page_bytes: Bytes::from_mib(32),
            lanes: 3,
            copiers: Some(0),
            precision: Precision { tf32: Tf32::Convolutions },
            ..CudaOptions::new(1)
        };
        assert_eq!(options, wanted);
        assert_eq!("cuda".parse(), Ok(CudaOptions::new(0)));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, named) in [
            ("gpu", "not a CUDA device"),
            ("cuda:x", "not a CUDA device"),
            ("cuda:0,memory", "no `=`"),
            ("cuda:0,lanes=0", "1 to 16"),
            ("cuda:0,copiers=9", "0 to 8"),
            ("cuda:0,lanes=1,lanes=2", "twice"),
            ("cuda:0,page=3MiB", "multiple of 2 MiB"),
            ("cuda:0,memory=1MiB", "one page"),
            ("cuda:0,tf32=maybe", "off, conv, on"),
            ("cuda:0,speed=1", "unknown"),
        ] {
            let error = text.parse::<CudaOptions>().unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
