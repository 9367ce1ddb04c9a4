//! Tensor data in files beside the model.

use super::proto::TensorProto;
use crate::ImportError;
use bytes::Bytes;

/// Where the data of tensors with external data comes from: the caller opens the files.
pub trait ExternalData {
    /// `len` bytes from `offset` of the file `location`, a relative path that stays below the model's folder when
    /// it is joined to it. (Symbolic links are for the implementation to judge.)
    fn read(&self, location: &str, offset: u64, len: u64) -> Result<Bytes, String>;
}

/// For models that must be whole in one file.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoExternalData;

impl ExternalData for NoExternalData {
    fn read(&self, _: &str, _: u64, _: u64) -> Result<Bytes, String> {
        Err("this model may not have external data".to_owned())
    }
}

/// The bytes of `tensor`, which by its shape and type takes `len`.
pub fn read(tensor: &TensorProto, len: u64, data: &dyn ExternalData) -> Result<Bytes, ImportError> {
    let mut location = "";
    let mut offset = 0;
    let mut declared_len = None;
    let error = |location: &str, reason: String| ImportError::External {
        tensor: tensor.name.clone(),
        location: location.to_owned(),
        reason,
    };
    for entry in &tensor.external_data {
        let number = || {
            let reason = || format!("{} is not a number", entry.key);
            entry.value.trim().parse::<u64>().map_err(|_| error(location, reason()))
        };
        match entry.key.as_str() {
            "location" => location = &entry.value,
            "offset" => offset = number()?,
            "length" => declared_len = Some(number()?),
            _ => {}
        }
    }
    check_location(location).map_err(|reason| error(location, reason.to_owned()))?;
    if let Some(declared) = declared_len.filter(|&declared| declared != len) {
        let reason = format!("{declared} bytes, but the shape takes {len}");
        return Err(error(location, reason));
    }
    if offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) {
        return Err(error(location, format!("offset {offset} with length {len} is out of range")));
    }
    let bytes = data.read(location, offset, len).map_err(|reason| error(location, reason))?;
    if bytes.len() as u64 != len {
        let reason = format!("{} bytes at offset {offset}, but the shape takes {len}", bytes.len());
        return Err(error(location, reason));
    }
    Ok(bytes)
}

const LOCATION_BYTES_MAX: usize = 1024;

/// A location must be a plain relative path, whatever system the model was written on.
fn check_location(location: &str) -> Result<(), &'static str> {
    if location.is_empty() {
        return Err("no location");
    }
    if location.len() > LOCATION_BYTES_MAX {
        return Err("the path is too long");
    }
    if location.contains('\0') {
        return Err("the path contains a zero byte");
    }
    if location.contains('\\') || location.contains(':') {
        return Err("the path contains a backslash or a colon");
    }
    if location.starts_with('/') {
        return Err("the path is absolute");
    }
    if location.split('/').any(|part| part == "..") {
        return Err("the path leaves the model's folder");
    }
    if location.split('/').all(|part| part.is_empty() || part == ".") {
        return Err("the path names no file");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_location;

    #[test]
    fn only_paths_below_the_folder_pass() {
        for good in ["weights.bin", "data/weights.bin", "./weights.bin", "...", "model..1"] {
            assert_eq!(check_location(good), Ok(()), "{good}");
        }
        let bad = [
            "",
            ".",
            "./",
            "..",
            "/etc/passwd",
            "../w",
            "a/../../w",
            "a/..",
            "C:/w",
            "a\\..\\w",
            "w\0",
            "\\\\host\\share",
            "file:w",
        ];
        for bad in bad {
            assert!(check_location(bad).is_err(), "{bad:?}");
        }
        assert!(check_location(&"x".repeat(5000)).is_err());
    }
}
