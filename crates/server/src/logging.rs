//! Log settings that clients read and change.

use crate::Failure;
use crate::config::{LogControl, LogSettings, ServerConfig};
use crate::error_table::Shown;
use crate::trace::plain_file_name;
use std::path::PathBuf;
use std::sync::Mutex;

/// A setting's value on the wire.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(untagged)]
pub(crate) enum LogValue {
    Bool(bool),
    Number(u32),
    Text(String),
}

pub(crate) struct Logging {
    folder: Option<PathBuf>,
    control: Option<LogControl>,
    settings: Mutex<LogSettings>,
}

impl Logging {
    pub fn new(config: &ServerConfig) -> Self {
        Logging {
            folder: config.log_folder.clone(),
            control: config.log_control.clone(),
            settings: Mutex::new(config.log_settings.clone()),
        }
    }

    pub fn get(&self) -> LogSettings {
        self.settings.lock().expect("no panic while locked").clone()
    }

    /// Changes all the settings named, or none when one is wrong. Returns the settings now in force.
    pub fn update(
        &self,
        update: impl IntoIterator<Item = (String, LogValue)>,
    ) -> Result<LogSettings, Failure> {
        let mut settings = self.settings.lock().expect("no panic while locked");
        let mut changed = settings.clone();
        for (name, value) in update {
            set(&mut changed, &name, value)?;
        }
        if changed == *settings {
            return Ok(changed);
        }
        let control = self.control.as_ref().ok_or_else(|| {
            Failure::unsupported("this server's log settings cannot be changed while it runs")
        })?;
        let file = self.file(&changed.log_file)?;
        (control.0)(&changed, file).map_err(Failure::invalid)?;
        *settings = changed.clone();
        Ok(changed)
    }

    fn file(&self, name: &str) -> Result<Option<PathBuf>, Failure> {
        if name.is_empty() {
            return Ok(None);
        }
        let folder = self.folder.as_ref().ok_or_else(|| {
            Failure::unsupported("the server was started without a folder for log files")
        })?;
        plain_file_name("log_file", name)?;
        Ok(Some(folder.join(name)))
    }
}

fn set(settings: &mut LogSettings, name: &str, value: LogValue) -> Result<(), Failure> {
    match (name, value) {
        ("log_file", LogValue::Text(file)) => settings.log_file = file,
        ("log_info", LogValue::Bool(on)) => settings.log_info = on,
        ("log_warning", LogValue::Bool(on)) => settings.log_warning = on,
        ("log_error", LogValue::Bool(on)) => settings.log_error = on,
        ("log_verbose_level", LogValue::Number(level)) => settings.log_verbose_level = level,
        ("log_format", LogValue::Text(format)) if ["default", "ISO8601"].contains(&&*format) => {
            settings.log_format = format;
        }
        (
            "log_file" | "log_info" | "log_warning" | "log_error" | "log_verbose_level"
            | "log_format",
            _,
        ) => return Err(Failure::invalid(format!("the value of {name} is wrong"))),
        _ => return Err(Failure::invalid(format!("{} is no log setting", Shown(name)))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn logging(folder: Option<&str>) -> (Logging, Arc<Mutex<Vec<Option<PathBuf>>>>) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let control = LogControl(Arc::new(move |settings, file| {
            seen.lock().expect("no panic").push(file);
            if settings.log_verbose_level > 9 { Err("too loud".into()) } else { Ok(()) }
        }));
        let config = ServerConfig {
            log_folder: folder.map(PathBuf::from),
            log_control: Some(control),
            ..ServerConfig::default()
        };
        (Logging::new(&config), calls)
    }

    #[test]
    fn changes_reach_the_process() {
        let (logging, calls) = logging(Some("/logs"));
        let update = [
            ("log_info".to_owned(), LogValue::Bool(false)),
            ("log_file".to_owned(), LogValue::Text("server.log".into())),
        ];
        let settings = logging.update(update).expect("valid");
        assert!(!settings.log_info);
        assert_eq!(*calls.lock().expect("no panic"), [Some(PathBuf::from("/logs/server.log"))]);
        assert!(logging.update([("log_verbose_level".into(), LogValue::Number(10))]).is_err());
        assert_eq!(logging.get(), settings);
    }

    #[test]
    fn files_stay_in_their_folder() {
        let (logging, calls) = logging(Some("/logs"));
        for name in ["/etc/passwd", "../x", "a/b", "..", ".hidden", "a\nb", "a\0", &"x".repeat(200)]
        {
            let update = [("log_file".to_owned(), LogValue::Text(name.to_owned()))];
            assert!(logging.update(update).is_err(), "{name:?}");
        }
        assert!(calls.lock().expect("no panic").is_empty());
        assert_eq!(logging.get(), LogSettings::default());
    }

    #[test]
    fn refuses_wrong_values() {
        let (logging, _) = logging(None);
        for (name, value) in [
            ("log_info", LogValue::Number(1)),
            ("log_format", LogValue::Text("xml".into())),
            ("log_colour", LogValue::Bool(true)),
            ("log_file", LogValue::Text("a.log".into())),
        ] {
            assert!(logging.update([(name.to_owned(), value)]).is_err(), "{name}");
        }
    }
}
