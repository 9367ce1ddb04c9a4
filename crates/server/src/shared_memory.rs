//! System shared memory: files under `/dev/shm` that clients name, write inputs to and read outputs from.
//!
//! A region is an open file, read and written at positions. Nothing is mapped, so a client that shrinks its file
//! causes an error and no fault, and a region that is unregistered stays valid for the requests that hold it.

use crate::error_table::Shown;
use crate::names::check_name;
use crate::{Cause, Failure, ServerLimits};
use bytes::Bytes;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use sublet_engine::ErrorKind;

/// The registered regions.
pub struct SystemRegions {
    /// `None` when the server does not allow them.
    folder: Option<PathBuf>,
    regions: RwLock<BTreeMap<String, Arc<Region>>>,
}

/// A registered region.
pub(crate) struct Region {
    pub key: String,
    /// Where in the file the region starts.
    pub offset: u64,
    pub bytes: u64,
    file: File,
}

/// A checked part of a region, for one tensor.
#[derive(Clone)]
pub struct SharedSpan {
    pub(crate) name: String,
    region: Arc<Region>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl SystemRegions {
    pub fn new(allowed: bool) -> Self {
        Self::within(allowed.then(|| PathBuf::from("/dev/shm")))
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.folder.is_some()
    }

    fn within(folder: Option<PathBuf>) -> Self {
        SystemRegions { folder, regions: RwLock::default() }
    }

    /// Opens the shared memory object `key` and keeps `bytes` bytes of it from `offset` on under `name`.
    pub(crate) fn register(
        &self,
        name: &str,
        key: &str,
        offset: u64,
        bytes: u64,
        limits: &ServerLimits,
    ) -> Result<(), Failure> {
        let folder = self.folder()?;
        check_name("region's name", name, limits)?;
        let end = offset.checked_add(bytes).filter(|_| bytes > 0).ok_or_else(|| {
            Failure::invalid(format!("a region of {bytes} bytes at {offset} is not possible"))
        })?;
        let file = open(folder, key)?;
        let len = file.metadata().map_err(|error| unusable(key, &error))?.len();
        if end > len {
            return Err(Failure::invalid(format!(
                "the region ends at byte {end}, past the end of the shared memory object {}",
                Shown(key)
            )));
        }
        let mut regions = self.regions.write().expect("no panic while locked");
        if regions.len() >= limits.regions_max {
            return Err(Failure::overloaded("too many shared memory regions are registered"));
        }
        if regions.contains_key(name) {
            return Err(Failure::invalid(format!(
                "the shared memory region {} is registered already",
                Shown(name)
            )));
        }
        let region = Region { key: key.to_owned(), offset, bytes, file };
        regions.insert(name.to_owned(), Arc::new(region));
        Ok(())
    }

    /// Forgets one region, known or not, or all.
    pub(crate) fn unregister(&self, name: Option<&str>) -> Result<(), Failure> {
        self.folder()?;
        let mut regions = self.regions.write().expect("no panic while locked");
        match name {
            Some(name) => drop(regions.remove(name)),
            None => regions.clear(),
        }
        Ok(())
    }

    /// One region, or all, with their names.
    pub(crate) fn status(&self, name: Option<&str>) -> Result<Vec<(String, Arc<Region>)>, Failure> {
        let regions = self.regions.read().expect("no panic while locked");
        let Some(name) = name else {
            return Ok(regions
                .iter()
                .map(|(name, region)| (name.clone(), region.clone()))
                .collect());
        };
        let region = regions.get(name).ok_or_else(|| unknown(name))?;
        Ok(vec![(name.to_owned(), region.clone())])
    }

    /// A part of a region; the region stays open as long as the answer lives.
    pub(crate) fn span(&self, name: &str, offset: u64, bytes: u64) -> Result<SharedSpan, Failure> {
        self.folder()?;
        let regions = self.regions.read().expect("no panic while locked");
        let region = regions.get(name).ok_or_else(|| unknown(name))?.clone();
        if offset.checked_add(bytes).is_none_or(|end| end > region.bytes) {
            return Err(Failure::invalid(format!(
                "{bytes} bytes at offset {offset} are not within the shared memory region {}",
                Shown(name)
            )));
        }
        Ok(SharedSpan { name: name.to_owned(), region, offset, bytes })
    }

    fn folder(&self) -> Result<&Path, Failure> {
        self.folder.as_deref().ok_or_else(|| {
            Failure::unsupported("system shared memory is switched off on this server")
        })
    }
}

impl SharedSpan {
    /// The span's bytes as they are now.
    pub(crate) fn read(&self) -> Result<Bytes, Failure> {
        let mut bytes = vec![0; usize::try_from(self.bytes).map_err(|_| self.gone())?];
        let at = self.region.offset + self.offset;
        self.region.file.read_exact_at(&mut bytes, at).map_err(|_| self.gone())?;
        Ok(Bytes::from(bytes))
    }

    /// Writes a whole tensor at the span's start, and returns the part that it fills.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<SharedSpan, Failure> {
        if bytes.len() as u64 > self.bytes {
            return Err(Failure::invalid(format!(
                "the output has {} bytes; {} were given for it in the shared memory region {}",
                bytes.len(),
                self.bytes,
                Shown(&self.name)
            )));
        }
        // Writing must not lengthen a file that its owner shrank.
        let at = self.region.offset + self.offset;
        let len = self.region.file.metadata().map_err(|_| self.gone())?.len();
        if at + bytes.len() as u64 > len {
            return Err(self.gone());
        }
        self.region.file.write_all_at(bytes, at).map_err(|_| self.gone())?;
        Ok(SharedSpan { bytes: bytes.len() as u64, ..self.clone() })
    }

    fn gone(&self) -> Failure {
        Failure::invalid(format!(
            "the shared memory region {} is shorter than when it was registered",
            Shown(&self.name)
        ))
    }
}

fn unknown(name: &str) -> Failure {
    Failure::not_found(format!("no shared memory region {} is registered", Shown(name)))
}

/// Opens a regular file directly in `folder`; links, pipes and devices are refused.
fn open(folder: &Path, key: &str) -> Result<File, Failure> {
    let name = key.strip_prefix('/').unwrap_or(key);
    let plain = !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
    if !plain || name.contains(['/', '\0']) {
        return Err(Failure::invalid(format!(
            "{} is not a key of shared memory: it must be one name, with or without a slash before it",
            Shown(key)
        )));
    }
    // NONBLOCK: opening a pipe must not wait for its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(folder.join(name))
        .map_err(|error| unusable(key, &error))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(Failure::invalid(format!("{} is not a shared memory object", Shown(key)))),
        Err(error) => Err(unusable(key, &error)),
    }
}

fn unusable(key: &str, error: &std::io::Error) -> Failure {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Invalid,
    };
    Failure::new(
        Cause::Engine(kind),
        format!("cannot open the shared memory object {}: {}", Shown(key), error.kind()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder in the place of `/dev/shm` that holds one object `/data` of 16 bytes.
    fn regions() -> (tempfile::TempDir, SystemRegions, ServerLimits) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("data"), [7u8; 16]).expect("written");
        let regions = SystemRegions::within(Some(folder.path().to_owned()));
        (folder, regions, ServerLimits { regions_max: 2, ..ServerLimits::default() })
    }

    #[test]
    fn reads_and_writes_within_a_region() {
        let (folder, regions, limits) = regions();
        regions.register("r", "/data", 4, 8, &limits).expect("registered");
        let span = regions.span("r", 2, 4).expect("inside");
        span.write(&[1, 2, 3]).expect("written");
        assert_eq!(&span.read().expect("read")[..], [1, 2, 3, 7]);
        let file = fs::read(folder.path().join("data")).expect("read");
        assert_eq!(file[..10], [7, 7, 7, 7, 7, 7, 1, 2, 3, 7]);
        assert!(span.write(&[0; 5]).is_err());
    }

    #[test]
    fn refuses_what_is_outside() {
        let (folder, regions, limits) = regions();
        std::os::unix::fs::symlink("data", folder.path().join("link")).expect("linked");
        fs::create_dir(folder.path().join("dir")).expect("made");
        for key in [
            "", "/", "//", "///", "/../x", "..", "/.", "/dir", "/link", "/a/b", "//data",
            "/da\0ta", "/none",
        ] {
            assert!(regions.register("r", key, 0, 1, &limits).is_err(), "{key:?}");
        }
        for (offset, bytes) in [(0, 17), (16, 1), (u64::MAX, 2), (1, u64::MAX), (0, 0)] {
            assert!(regions.register("r", "/data", offset, bytes, &limits).is_err());
        }
        regions.register("r", "data", 8, 8, &limits).expect("a key without its slash");
        assert!(regions.register("r", "/data", 0, 1, &limits).is_err(), "twice");
        for (offset, bytes) in [(0, 9), (8, 1), (u64::MAX, 1), (1, u64::MAX)] {
            assert!(regions.span("r", offset, bytes).is_err(), "{offset}+{bytes}");
        }
        assert!(regions.register("", "/data", 0, 1, &limits).is_err());
        regions.register("r2", "/data", 0, 1, &limits).expect("registered");
        assert!(regions.register("r3", "/data", 0, 1, &limits).is_err(), "too many");
    }

    #[test]
    fn errors_name_no_other_region() {
        let (_folder, regions, limits) = regions();
        regions.register("secret", "/data", 0, 8, &limits).expect("registered");
        let failure = regions.span("mine", 0, 1).err().expect("unknown");
        assert!(!failure.to_string().contains("secret"));
        assert!(regions.status(Some("mine")).is_err());
    }

    #[test]
    fn survives_unregistering_and_shrinking() {
        let (folder, regions, limits) = regions();
        regions.register("r", "/data", 0, 16, &limits).expect("registered");
        let span = regions.span("r", 0, 16).expect("inside");
        regions.unregister(Some("r")).expect("forgotten");
        assert!(regions.span("r", 0, 1).is_err());
        assert_eq!(&span.read().expect("still open")[..], [7; 16]);
        let file = OpenOptions::new().write(true).open(folder.path().join("data")).expect("open");
        file.set_len(3).expect("shrunk");
        assert!(span.read().is_err() && span.write(&[0; 16]).is_err());
        assert_eq!(file.metadata().expect("there").len(), 3, "not lengthened again");
    }

    #[test]
    fn is_off_unless_allowed() {
        let regions = SystemRegions::new(false);
        let failure = regions.register("r", "/data", 0, 1, &ServerLimits::default());
        assert_eq!(failure.expect_err("off").cause(), Cause::Engine(ErrorKind::Unsupported));
        assert_eq!(regions.status(None).map(|all| all.len()), Ok(0));
    }
}
