//! How to run the server.

use crate::ServerLimits;
use serde::Serialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What to open and what to allow.
#[derive(Clone)]
pub struct ServerConfig {
    /// `None` keeps a port closed; port 0 takes a free one, which [`Running`](crate::Running) names.
    pub http: Option<SocketAddr>,
    pub grpc: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub limits: ServerLimits,
    /// Threads that connections are spread over.
    pub network_threads: NonZeroUsize,
    /// How long such a thread looks for more after a request or an answer before it sleeps. It takes a processor for so
    /// long, and spares the next request the time to wake a thread.
    pub polling: Duration,
    /// Needed, as `Authorization: Bearer …`, to load and unload models, to register shared memory and to change
    /// trace and log settings. Without one, only clients on this machine may do so.
    pub admin_token: Option<String>,
    /// Whether clients may pass tensors in files under `/dev/shm`.
    pub system_shared_memory: bool,
    /// The only folder that trace files are written to; without one, tracing cannot be switched on.
    pub trace_folder: Option<PathBuf>,
    /// The only folder that log files are written to; without one, the log file cannot be set.
    pub log_folder: Option<PathBuf>,
    pub log_settings: LogSettings,
    /// Applies changed log settings; without one, they cannot be changed.
    pub log_control: Option<LogControl>,
    /// What the server calls itself in its metadata.
    pub name: String,
    pub version: String,
}

/// Machines with fewer processors need them for other things than polling.
const POLLING_PROCESSORS: usize = 8;

/// Longer than most models run, so that a client's next request finds the thread awake.
const POLLING: Duration = Duration::from_millis(2);

impl Default for ServerConfig {
    /// Ports 8000, 8001 and 8002 on this machine's loopback address; threads as the machine has processors to spare.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let port = |port| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        ServerConfig {
            http: port(8000),
            grpc: port(8001),
            metrics: port(8002),
            limits: ServerLimits::default(),
            network_threads: NonZeroUsize::new((processors / 4).clamp(2, 8)).expect("at least 2"),
            polling: if processors >= POLLING_PROCESSORS { POLLING } else { Duration::ZERO },
            admin_token: None,
            system_shared_memory: false,
            trace_folder: None,
            log_folder: None,
            log_settings: LogSettings::default(),
            log_control: None,
            name: "sublet".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// What the log shows; the wire's names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogSettings {
    /// A file within the log folder; empty: standard error.
    pub log_file: String,
    pub log_info: bool,
    pub log_warning: bool,
    pub log_error: bool,
    /// 0: none; higher shows more.
    pub log_verbose_level: u32,
    /// `default` or `ISO8601`.
    pub log_format: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            log_file: String::new(),
            log_info: true,
            log_warning: true,
            log_error: true,
            log_verbose_level: 0,
            log_format: "default".to_owned(),
        }
    }
}

/// Applies log settings to the process's subscriber, or says why it cannot. The file is given as a path within
/// the log folder.
#[derive(Clone)]
pub struct LogControl(
    pub Arc<dyn Fn(&LogSettings, Option<PathBuf>) -> Result<(), String> + Send + Sync>,
);

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogControl")
    }
}
