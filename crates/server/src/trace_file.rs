//! A file of traces: one JSON array, whole after every entry.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

pub(crate) struct TraceFile {
    folder: PathBuf,
    name: String,
    /// Entries per file, then the next file `name.1`, `name.2`, … is begun; 0: one file.
    entries_max: u64,
    files: u64,
    entries: u64,
    /// The open file, and where its closing bracket stands.
    open: Option<(File, u64)>,
}

impl TraceFile {
    /// Opens nothing yet. `name` has been checked to be a plain file name.
    pub fn new(folder: PathBuf, name: String, entries_max: u64) -> Self {
        TraceFile { folder, name, entries_max, files: 0, entries: 0, open: None }
    }

    /// Adds one JSON value.
    pub fn append(&mut self, entry: &str) -> Result<()> {
        if self.entries_max > 0 && self.entries == self.entries_max {
            self.open = None;
            self.entries = 0;
            self.files += 1;
        }
        let (file, end) = match &mut self.open {
            Some(open) => open,
            none => none.insert((create(&self.folder, &self.name, self.files)?, 1)),
        };
        let separator = if self.entries == 0 { "\n" } else { ",\n" };
        let text = format!("{separator}{entry}\n]\n");
        // Writes over the bracket.
        file.write_all_at(text.as_bytes(), *end)?;
        *end += (text.len() - "\n]\n".len()) as u64;
        self.entries += 1;
        Ok(())
    }
}

/// An empty array in a new file, in the place of an old file but never through a link.
fn create(folder: &PathBuf, name: &str, number: u64) -> Result<File> {
    std::fs::create_dir_all(folder)?;
    let name = if number == 0 { name.to_owned() } else { format!("{name}.{number}") };
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags.bits().cast_signed())
        .open(folder.join(name))?;
    file.write_all_at(b"[]\n", 0)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &tempfile::TempDir, name: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(folder.path().join(name)).expect("written");
        serde_json::from_str(&text).expect("a JSON array")
    }

    #[test]
    fn is_valid_after_every_entry() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = TraceFile::new(folder.path().to_owned(), "t".into(), 0);
        for count in 1..5 {
            file.append(&count.to_string()).expect("written");
            assert_eq!(read(&folder, "t"), (1..=count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn begins_a_new_file_when_one_is_full() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = TraceFile::new(folder.path().to_owned(), "t".into(), 2);
        for count in 1..=5 {
            file.append(&count.to_string()).expect("written");
        }
        assert_eq!(
            (read(&folder, "t"), read(&folder, "t.1"), read(&folder, "t.2")),
            (vec![1, 2], vec![3, 4], vec![5])
        );
    }

    #[test]
    fn follows_no_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("target");
        std::fs::write(&target, "precious").expect("written");
        std::os::unix::fs::symlink(&target, folder.path().join("t")).expect("linked");
        let mut file = TraceFile::new(folder.path().to_owned(), "t".into(), 0);
        assert!(file.append("1").is_err());
        assert_eq!(std::fs::read_to_string(target).expect("there"), "precious");
    }
}
