//! How a CPU device is configured, and its form on the command line.

use std::str::FromStr;
use sublet_device::DeviceError;
use sublet_units::Bytes;

/// One CPU device.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuOptions {
    /// Budget of device memory, for weights; activations have their own (`arena_max`).
    pub memory: Bytes,
    pub page_bytes: Bytes,
    /// Bytes per second at which weights arrive; `None`: as fast as memory copies.
    pub link: Option<u64>,
    /// Threads that one run uses.
    pub threads: usize,
    /// Runs that may compute at the same time.
    pub lanes: u32,
    /// Largest arena of a lane.
    pub arena_max: Bytes,
}

impl Default for CpuOptions {
    fn default() -> Self {
        CpuOptions {
            memory: Bytes::from_gib(1),
            page_bytes: Bytes::from_kib(64),
            link: None,
            threads: 1,
            lanes: 1,
            arena_max: Bytes::from_gib(1),
        }
    }
}

/// The unit in which buffers of segments are handed out: a page is a multiple of it.
pub const GRAIN: Bytes = Bytes(64);

impl CpuOptions {
    /// The budget in units of 64 bytes.
    pub fn grains(&self) -> u32 {
        let bytes = u64::from(self.pages()) * self.page_bytes.0;
        u32::try_from(bytes / GRAIN.0).unwrap_or(u32::MAX)
    }

    /// Pages in the budget; a last incomplete one does not count.
    pub fn pages(&self) -> u32 {
        u32::try_from(self.memory.0 / self.page_bytes.0).unwrap_or(u32::MAX)
    }

    /// # Errors
    /// [`DeviceError::Invalid`], naming the option.
    pub fn check(&self) -> Result<(), DeviceError> {
        let wrong = |place: &str, what: &str| {
            Err(DeviceError::Invalid { what: what.into(), place: place.into() })
        };
        if self.page_bytes.0 == 0 || !self.page_bytes.0.is_multiple_of(64) {
            return wrong("page", "a page size that is not a multiple of 64");
        }
        if self.pages() == 0 {
            return wrong("memory", "less memory than one page");
        }
        if self.threads == 0 || self.lanes == 0 {
            return wrong("threads or lanes", "none at all");
        }
        if self.link == Some(0) {
            return wrong("link", "a link rate of zero");
        }
        Ok(())
    }
}

/// The command-line form of some CPU devices: `cpu,count=2,memory=64MiB,link=2GB/s,threads=1,lanes=1,page=64KiB`.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuDeviceSpec {
    /// How many equal devices.
    pub count: u32,
    /// Whether `threads` was given; otherwise the one who starts the devices divides the machine's cores.
    pub threads_given: bool,
    pub options: CpuOptions,
}

const FORM: &str =
    "cpu[,count=N][,memory=SIZE][,link=RATE/s][,threads=N][,lanes=N][,page=SIZE][,arena=SIZE]";

impl CpuDeviceSpec {
    /// The options of each device on a machine with this many cores: threads not asked for are shared out equally.
    pub fn options_on(&self, cores: usize) -> CpuOptions {
        let mut options = self.options.clone();
        if !self.threads_given {
            let lanes = self.count.saturating_mul(options.lanes).max(1);
            options.threads = (cores / lanes as usize).max(1);
        }
        options
    }
}

impl FromStr for CpuDeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',').map(str::trim);
        if parts.next() != Some("cpu") {
            return Err(format!("`{text}` is not a CPU device: write {FORM}"));
        }
        let mut spec =
            CpuDeviceSpec { count: 1, threads_given: false, options: CpuOptions::default() };
        let mut seen = Vec::new();
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("`{part}` has no `=`: write {FORM}"));
            };
            if seen.contains(&key) {
                return Err(format!("`{key}` is given twice"));
            }
            seen.push(key);
            spec.set(key, value).map_err(|error| format!("device option `{part}`: {error}"))?;
        }
        spec.options.check().map_err(|error| format!("device `{text}`: {error}"))?;
        Ok(spec)
    }
}

impl CpuDeviceSpec {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let options = &mut self.options;
        match key {
            "count" => self.count = number(value, 64)?,
            "memory" => options.memory = value.parse()?,
            "page" => options.page_bytes = value.parse()?,
            "arena" => options.arena_max = value.parse()?,
            "link" => {
                let rate: Bytes = value.strip_suffix("/s").unwrap_or(value).parse()?;
                options.link = Some(rate.0);
            }
            "threads" => {
                options.threads = number(value, 1024)? as usize;
                self.threads_given = true;
            }
            "lanes" => options.lanes = number(value, 64)?,
            _ => return Err(format!("unknown; write {FORM}")),
        }
        Ok(())
    }
}

fn number(value: &str, max: u32) -> Result<u32, String> {
    match value.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(format!("`{value}` is not a number from 1 to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_command_line_form() {
        let text = "cpu,count=2,memory=64MiB,link=2GB/s,threads=3,lanes=2,page=128KiB,arena=1MiB";
        let spec: CpuDeviceSpec = text.parse().unwrap();
        assert_eq!(spec.count, 2);
        let wanted = CpuOptions {
            memory: Bytes::from_mib(64),
            page_bytes: Bytes::from_kib(128),
            link: Some(2_000_000_000),
            threads: 3,
            lanes: 2,
            arena_max: Bytes::from_mib(1),
        };
        assert_eq!(spec.options, wanted);
        assert_eq!(spec.options_on(64), wanted);
        assert_eq!(spec.options.pages(), 512);
    }

    #[test]
    fn shares_the_cores_out_unless_told_otherwise() {
        let spec: CpuDeviceSpec = "cpu,count=2,lanes=2".parse().unwrap();
        assert_eq!(spec.options_on(16).threads, 4);
        assert_eq!(spec.options_on(1).threads, 1);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, named) in [
            ("gpu", "CPU device"),
            ("cpu,count", "no `=`"),
            ("cpu,count=0", "1 to 64"),
            ("cpu,count=1,count=2", "twice"),
            ("cpu,memory=64parsecs", "parsecs"),
            ("cpu,speed=1", "unknown"),
            ("cpu,page=100", "multiple of 64"),
            ("cpu,memory=1KiB", "one page"),
            ("cpu,link=0/s", "rate of zero"),
        ] {
            let error = text.parse::<CpuDeviceSpec>().unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
