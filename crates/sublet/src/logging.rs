//! Logs by `tracing`: to standard error or a file, as text or JSON, changeable while running.

use crate::cli::{LogFormat, Logging};
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
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
        let file =
            file.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        *self.0.lock().expect("writing a log line does not panic") = file;
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().expect("writing a log line does not panic") {
            Some(file) => file.write(line),
            None => io::stderr().write(line),
        }
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
}
