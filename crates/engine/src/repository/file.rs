//! Reads one file, once and whole.
//!
//! Files are read into memory rather than mapped: a file that somebody truncates while it is mapped kills the
//! process at the next access, and one that changes gives weights that never belonged together.

use crate::{EngineError, ErrorKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells, without reading it, whether a file is the one seen before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub path: PathBuf,
    pub bytes: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i128,
    pub inode: u64,
}

impl Fingerprint {
    pub fn new(path: &Path, metadata: &Metadata) -> Self {
        Fingerprint {
            path: path.to_owned(),
            bytes: metadata.len(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Whether the file is still there and the same, as far as that shows.
    pub fn still_holds(&self) -> bool {
        self.path.metadata().is_ok_and(|now| Fingerprint::new(&self.path, &now) == *self)
    }
}

/// Reads a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// `NotFound`; `Invalid` for other kinds of file, too large ones, and those that change meanwhile; `Internal` when
/// reading fails.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<(Bytes, Fingerprint), EngineError> {
    let invalid =
        |what: &str| EngineError::new(ErrorKind::Invalid, format!("{}: {what}", path.display()));
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Internal,
        };
        EngineError::new(kind, format!("{}: {error}", path.display()))
    };
    // Seen before opening, because opening a pipe waits for its other end.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(invalid("not a regular file"));
    }
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let before = Fingerprint::new(path, &metadata);
    if !metadata.is_file() {
        return Err(invalid("not a regular file"));
    }
    if before.bytes > bytes_max {
        return Err(invalid(&format!(
            "{} bytes: files of at most {bytes_max} are accepted",
            before.bytes
        )));
    }
    let mut bytes = Vec::with_capacity(before.bytes as usize);
    (&mut file).take(before.bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    let after = Fingerprint::new(path, &file.metadata().map_err(failed)?);
    if bytes.len() as u64 != before.bytes || after != before {
        return Err(invalid("changed while it was read"));
    }
    Ok((bytes.into(), before))
}
