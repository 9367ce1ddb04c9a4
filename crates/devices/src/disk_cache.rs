//! A folder that keeps what a CUDA device compiled and measured.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use sublet_device_cuda::Cache;

/// First bytes of every file: a file without them, or with another length or hash of contents, counts as missing.
const MAGIC: &[u8; 8] = b"sublet1\n";

/// Keeps each entry as a file of its name, written beside its place and renamed, so that a crash or another process
/// never leaves half of one. What cannot be written is not kept.
pub struct DiskCache {
    folder: PathBuf,
}

impl DiskCache {
    /// The folder is made when something is kept.
    pub fn new(folder: &Path) -> DiskCache {
        DiskCache { folder: folder.to_owned() }
    }

    /// `None` for a name that is no plain file name.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let ok = !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
        ok.then(|| self.folder.join(name))
    }

    fn try_put(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(&(bytes.len() as u64).to_le_bytes())?;
        file.write_all(&checksum(bytes).to_le_bytes())?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    }
}

impl Cache for DiskCache {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let file = fs::read(self.path(name)?).ok()?;
        let rest = file.strip_prefix(MAGIC)?;
        let (len, rest) = rest.split_first_chunk::<8>()?;
        let (sum, bytes) = rest.split_first_chunk::<8>()?;
        let whole = u64::from_le_bytes(*len) == bytes.len() as u64
            && u64::from_le_bytes(*sum) == checksum(bytes);
        whole.then(|| bytes.to_vec())
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        if let Some(path) = self.path(name) {
            // Without it the next process is slower, no more.
            let _ = self.try_put(&path, bytes);
        }
    }
}

/// FNV-1a over 64 bits: against torn and damaged files, not against forgers.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_bytes_by_name_between_processes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/later");
        let cache = DiskCache::new(&path);
        assert_eq!(cache.get("kernel-1.cubin"), None);
        cache.put("kernel-1.cubin", b"code");
        cache.put("kernel-1.cubin", b"newer code");
        cache.put("empty", b"");
        let again = DiskCache::new(&path);
        assert_eq!(again.get("kernel-1.cubin"), Some(b"newer code".to_vec()));
        assert_eq!(again.get("empty"), Some(Vec::new()));
    }

    #[test]
    fn damaged_files_and_odd_names_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::new(folder.path());
        cache.put("a", b"0123456789");
        let path = folder.path().join("a");
        let whole = fs::read(&path).unwrap();
        for cut in [0, 7, 12, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(cache.get("a"), None, "cut to {cut}");
        }
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(cache.get("a"), None);
        for name in ["", "..", "../a", "a/b", ".hidden"] {
            cache.put(name, b"x");
            assert_eq!(cache.get(name), None, "{name}");
        }
    }
}
