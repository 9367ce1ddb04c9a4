//! The parameters of a load request, for both protocols.

use crate::Failure;
use crate::error_table::Shown;
use bytes::Bytes;
use sublet_engine::LoadOverride;

/// A value as its protocol carries it.
pub(crate) enum LoadParameter {
    Text(String),
    File(Bytes),
}

/// `config` replaces the model's configuration, `file:<path>` a file of the model.
pub(crate) fn load_override(
    parameters: impl IntoIterator<Item = (String, LoadParameter)>,
) -> Result<LoadOverride, Failure> {
    let mut over = LoadOverride::default();
    for (name, value) in parameters {
        match (name.as_str(), name.strip_prefix("file:"), value) {
            ("config", _, LoadParameter::Text(config)) => over.config_json = Some(config),
            (_, Some(path), LoadParameter::File(contents)) => {
                check_path(path)?;
                over.files.insert(path.to_owned(), contents);
            }
            _ => {
                return Err(Failure::invalid(format!(
                    "{} is no load parameter: there are `config`, a text, and `file:<path>`, a file's contents",
                    Shown(&name)
                )));
            }
        }
    }
    if !over.files.is_empty() && over.config_json.is_none() {
        return Err(Failure::invalid("a load request with files must have `config` too"));
    }
    Ok(over)
}

/// A path within the model's folder.
fn check_path(path: &str) -> Result<(), Failure> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
    let bad = path.len() > 1024 || path.contains('\\') || path.chars().any(char::is_control);
    if bad || !path.split('/').all(plain) {
        return Err(Failure::invalid(format!("{} is not a path within a model", Shown(path))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &str) -> Result<LoadOverride, Failure> {
        load_override([
            ("config".to_owned(), LoadParameter::Text("{}".into())),
            (format!("file:{path}"), LoadParameter::File(Bytes::from_static(b"x"))),
        ])
    }

    #[test]
    fn takes_paths_within_the_model() {
        for path in ["1/model.onnx", "2/a..b/...", "labels.txt"] {
            assert!(files(path).is_ok(), "{path}");
        }
        for path in ["", "/etc/passwd", "../x", "1/../../x", "1//x", "./x", "1/", "a\\b", "a\0b"] {
            assert!(files(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn refuses_other_parameters() {
        let one = |name: &str, value| load_override([(name.to_owned(), value)]);
        assert!(one("config", LoadParameter::Text("{}".into())).is_ok());
        assert!(one("config", LoadParameter::File(Bytes::new())).is_err());
        assert!(one("file:1/model.onnx", LoadParameter::Text("x".into())).is_err());
        assert!(one("file:1/model.onnx", LoadParameter::File(Bytes::new())).is_err(), "no config");
        assert!(one("colour", LoadParameter::Text("red".into())).is_err());
    }
}
