//! Logs by `tracing`: to standard error or a file, as text or JSON, changeable while running.

use crate::cli::{LogFormat, Logging};
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use sublet_server::{LogControl, LogSettings};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

/// Starts logging and returns what changes it. `quiet` is the filter when the person asked for none.
pub fn init(logging: &Logging, quiet: Option<&str>) -> Result<LogControl> {
    let wanted = logging.log.clone();
    let start = wanted.as_deref().or(quiet).unwrap_or("info");
    let (filter, handle) = reload::Layer::new(
        EnvFilter::try_new(start).with_context(|| format!("log filter `{start}`"))?,
    );
    let target = Target::default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(target.clone())
        .with_ansi(io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match logging.log_format {
        LogFormat::Text => registry.with(lines).try_init()?,
        LogFormat::Json => registry.with(lines.json()).try_init()?,
    }
    let change = move |settings: &LogSettings, file: Option<PathBuf>| {
        let words = level(settings);
        let filter = EnvFilter::try_new(words).map_err(|error| error.to_string())?;
        target.set(file).map_err(|error| format!("the log file: {error}"))?;
        handle.reload(filter).map_err(|error| error.to_string())
    };
    Ok(LogControl(Arc::new(change)))
}

/// The filter that the wire's switches mean.
fn level(settings: &LogSettings) -> &'static str {
    match settings {
        LogSettings { log_verbose_level: 2.., .. } => "trace",
        LogSettings { log_verbose_level: 1, .. } => "debug",
        LogSettings { log_info: true, .. } => "info",
        LogSettings { log_warning: true, .. } => "warn",
        LogSettings { log_error: true, .. } => "error",
        _ => "off",
    }
}

/// Where log lines go: standard error, or a file while one is set.
#[derive(Clone, Default)]
struct Target(Arc<Mutex<Option<std::fs::File>>>);

impl Target {
    fn set(&self, file: Option<PathBuf>) -> io::Result<()> {
        let file = file.map(|path| open(&path)).transpose()?;
        *self.0.lock().expect("writing a log line does not panic") = file;
        Ok(())
    }
}

/// Opens a log file in its folder, but not through a link, which could lead out of it.
fn open(path: &Path) -> io::Result<std::fs::File> {
    if path.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link"));
    }
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for Target {
    /// Writes one event as one line: text that a client or a model file chose must not begin another.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        let mut line = Vec::with_capacity(event.len());
        for &byte in text {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                byte => line.push(byte),
            }
        }
        line.extend_from_slice(&event[text.len()..]);
        match &mut *self.0.lock().expect("writing a log line does not panic") {
            Some(file) => file.write_all(&line)?,
            None => io::stderr().write_all(&line)?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Target {
    type Writer = Target;

    fn make_writer(&'a self) -> Target {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_talkative_switch_counts() {
        let settings = LogSettings::default();
        assert_eq!(level(&settings), "info");
        assert_eq!(level(&LogSettings { log_verbose_level: 1, ..settings.clone() }), "debug");
        assert_eq!(level(&LogSettings { log_info: false, ..settings.clone() }), "warn");
        let silent =
            LogSettings { log_info: false, log_warning: false, log_error: false, ..settings };
        assert_eq!(level(&silent), "off");
    }

    #[test]
    fn an_event_is_one_line_of_a_file_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut target = Target::default();
        target.set(Some(path.clone())).unwrap();
        target.write_all(b"refused 'a\r\nERROR forged'\n").unwrap();
        target.write_all(b"next\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "refused 'a\\r\\nERROR forged'\nnext\n");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(target.set(Some(link)).is_err());
        target.write_all(b"still here\n").unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("still here\n"));
    }
}
