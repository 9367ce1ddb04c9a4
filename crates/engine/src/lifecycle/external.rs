//! External data of ONNX models: files beside the model file.

use crate::repository::{Contents, Files};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use sublet_import::ExternalData;

/// Reads each file once and keeps it while the model is imported.
pub(super) struct FilesBeside<'a> {
    files: &'a Files,
    /// The version's folder.
    folder: &'a str,
    /// All of them together.
    bytes_max: u64,
    read: RefCell<BTreeMap<String, Contents>>,
}

impl<'a> FilesBeside<'a> {
    pub fn new(files: &'a Files, folder: &'a str, bytes_max: u64) -> Self {
        FilesBeside { files, folder, bytes_max, read: RefCell::default() }
    }

    /// What was read, by location.
    pub fn into_contents(self) -> impl Iterator<Item = Contents> {
        self.read.into_inner().into_values()
    }

    fn contents(&self, location: &str) -> Result<Bytes, String> {
        let mut read = self.read.borrow_mut();
        if let Some(contents) = read.get(location) {
            return Ok(contents.bytes.clone());
        }
        let contents =
            self.files.read_beside(self.folder, location).map_err(|error| error.to_string())?;
        let bytes = contents.bytes.clone();
        read.insert(location.to_owned(), contents);
        let total: u64 = read.values().map(|contents| contents.bytes.len() as u64).sum();
        if total > self.bytes_max {
            return Err(format!("more than {} bytes of external data", self.bytes_max));
        }
        Ok(bytes)
    }
}

impl ExternalData for FilesBeside<'_> {
    fn read(&self, location: &str, offset: u64, len: u64) -> Result<Bytes, String> {
        let bytes = self.contents(location)?;
        let end = offset.checked_add(len).filter(|&end| end <= bytes.len() as u64);
        match end {
            Some(end) => Ok(bytes.slice(offset as usize..end as usize)),
            None => {
                let len_of_file = bytes.len();
                Err(format!("{len} bytes from {offset} on, but the file has {len_of_file}"))
            }
        }
    }
}
