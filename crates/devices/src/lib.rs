//! From the words of a command line to devices: the only place that knows every kind of device.
//!
//! One binary serves them all: CUDA is looked for when it runs, and where there is none the CPU serves.

mod chrome;
mod disk_cache;

pub use disk_cache::DiskCache;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use sublet_device::{Device, DeviceError};
use sublet_device_cpu::{CpuDevice, CpuDeviceSpec};
use sublet_device_cuda::{Cache, CudaDevice, CudaOptions, NoCache};

/// The specification that stands for all CUDA devices found, or the CPU where there is none.
pub const AUTO: &str = "auto";

/// A device that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("device `{spec}`: {what}")]
    Spec { spec: String, what: String },
    #[error("device `{spec}`: {error}")]
    Device { spec: String, error: DeviceError },
}

/// A trace that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Device(#[from] DeviceError),
}

/// Devices, not yet started.
#[derive(Default)]
pub struct Opened {
    pub devices: Vec<Arc<dyn Device>>,
    /// Those of them that note spans.
    traced: Vec<Arc<CudaDevice>>,
    /// The first CUDA device, which the others share pinned memory with.
    first_cuda: Option<Arc<CudaDevice>>,
}

impl Opened {
    /// Where the spans of these devices can be had later on.
    pub fn tracer(&self) -> Tracer {
        Tracer(self.traced.clone())
    }
}

/// The spans that devices note.
#[derive(Clone)]
pub struct Tracer(Vec<Arc<CudaDevice>>);

impl Tracer {
    /// Writes what was noted since the start, or since the last call, as a Chrome trace.
    ///
    /// # Errors
    /// When a device is lost, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TraceError> {
        let mut devices = Vec::new();
        for device in &self.0 {
            devices.push((device.info().name.clone(), device.take_trace()?));
        }
        let mut file = BufWriter::new(File::create(path)?);
        chrome::write(&devices, &mut file)?;
        Ok(file.flush()?)
    }
}

/// What to open devices with.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions<'a> {
    /// Where compiled kernels and measured choices are kept between processes; `None`: nowhere.
    pub cache: Option<&'a Path>,
    /// Whether CUDA devices note spans of copies and kernels for a trace.
    pub trace: bool,
}

/// The devices that these specifications name, in order: `auto`, `cpu[,…]` or `cuda:N[,…]`.
///
/// # Errors
/// For the first one that is misspelt or cannot be had; what is missing is named.
pub fn open(specs: &[String], options: OpenOptions) -> Result<Opened, OpenError> {
    let mut opened = Opened::default();
    for spec in specs {
        if spec == AUTO {
            for found in found() {
                add(&found, options, &mut opened)?;
            }
        } else {
            add(spec, options, &mut opened)?;
        }
    }
    Ok(opened)
}

/// The CUDA devices of this machine, or the CPU.
fn found() -> Vec<String> {
    let count = if sublet_device_cuda::is_present() {
        // A driver that does not answer has no devices; naming one tells why.
        sublet_device_cuda::device_count().unwrap_or(0)
    } else {
        0
    };
    match count {
        0 => vec!["cpu".to_owned()],
        count => (0..count).map(|ordinal| format!("cuda:{ordinal}")).collect(),
    }
}

fn add(spec: &str, options: OpenOptions, opened: &mut Opened) -> Result<(), OpenError> {
    let misspelt = |error: &dyn std::fmt::Display| OpenError::Spec {
        spec: spec.into(),
        what: error.to_string(),
    };
    let refused = |error| OpenError::Device { spec: spec.into(), error };
    if spec == "cuda" || spec.starts_with("cuda:") || spec.starts_with("cuda,") {
        let mut parsed: CudaOptions = spec.parse().map_err(|error: String| misspelt(&error))?;
        parsed.trace |= options.trace;
        let cache: Arc<dyn Cache> = match options.cache {
            Some(folder) => Arc::new(DiskCache::new(folder)),
            None => Arc::new(NoCache),
        };
        let (index, trace) = (opened.devices.len() as u32, parsed.trace);
        let made = match &opened.first_cuda {
            None => CudaDevice::new(index, parsed, cache),
            Some(first) => CudaDevice::beside(first, index, parsed, cache),
        };
        let device = Arc::new(made.map_err(refused)?);
        opened.first_cuda.get_or_insert_with(|| device.clone());
        if trace {
            opened.traced.push(device.clone());
        }
        opened.devices.push(device);
        return Ok(());
    }
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let parsed: CpuDeviceSpec = spec.parse().map_err(|error| misspelt(&error))?;
    for _ in 0..parsed.count {
        let index = opened.devices.len() as u32;
        opened
            .devices
            .push(Arc::new(CpuDevice::new(index, parsed.options_on(cores)).map_err(refused)?));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_all(specs: &[&str]) -> Result<Vec<Arc<dyn Device>>, OpenError> {
        let specs: Vec<String> = specs.iter().map(|&spec| spec.to_owned()).collect();
        open(&specs, OpenOptions::default()).map(|opened| opened.devices)
    }

    #[test]
    fn opens_in_the_order_given() {
        let devices = open_all(&["cpu,count=2,memory=1MiB", "cpu,memory=2MiB"]).unwrap();
        let names: Vec<_> = devices.iter().map(|device| device.info().name.clone()).collect();
        assert_eq!(names, ["cpu:0", "cpu:1", "cpu:2"]);
    }

    #[test]
    fn there_is_always_a_device() {
        if !sublet_device_cuda::is_present() {
            assert_eq!(open_all(&[AUTO]).unwrap()[0].info().name, "cpu:0");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (spec, named) in [
            ("gpu", "gpu"),
            ("cpu,speed=1", "speed"),
            ("cuda:x", "cuda:N"),
            ("cuda:0,page=1", "page"),
        ] {
            let error = open_all(&[spec]).err().unwrap().to_string();
            assert!(error.contains(named), "{spec}: {error}");
        }
        if !sublet_device_cuda::is_present() {
            let error = open_all(&["cuda:0"]).err().unwrap().to_string();
            assert!(error.contains("CUDA") || error.contains("libcuda"), "{error}");
        }
    }
}
