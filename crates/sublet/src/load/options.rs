//! Options of `sublet load`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;
use sublet_units::Time;

#[derive(Args)]
pub struct Load {
    /// Server to load: `http://127.0.0.1:8000` or `grpc://127.0.0.1:8001`, with a name for the report as `NAME=URL`;
    /// several are loaded one after the other
    #[arg(long, value_name = "URL", required = true)]
    pub url: Vec<String>,
    /// Models to ask for, in the order in which the split counts them
    #[arg(long, value_name = "NAMES", required = true, value_delimiter = ',')]
    pub model: Vec<String>,
    /// When requests arrive: `poisson:rate=200`, `gamma:rate=10,cv=4`, or a TOML file
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: String,
    /// How arrivals are split over the models: `uniform`, `zipf:exponent=1`, `explicit:weights=10/10/1`
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// Run the workload at each of these mean rates instead of its own
    #[arg(long, value_name = "RATES", value_delimiter = ',')]
    pub rate: Vec<f64>,
    /// Length of the run; replays end earlier if their trace does
    #[arg(long, default_value = "30s", value_name = "TIME")]
    pub duration: Time,
    /// Objective that latencies are judged by
    #[arg(long, value_name = "TIME")]
    pub slo: Option<Time>,
    /// Also send the objective with each request, as the parameter `slo_ms`
    #[arg(long, requires = "slo")]
    pub tell_slo: bool,
    /// Seed of the schedule and of the inputs
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Requests to each model beforehand, which are not counted
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub warmup: usize,
    /// An input where the server describes none: `x=FP32:1x16` (may be given several times)
    #[arg(long, value_name = "NAME=TYPE:SHAPE", help_heading = "Requests")]
    pub input: Vec<String>,
    /// Shape of an input with dynamic dimensions, which are 1 otherwise: `x=1x3x224x224` (may be given several times)
    #[arg(long, value_name = "NAME=SHAPE", help_heading = "Requests")]
    pub shape: Vec<String>,
    /// How tensors travel over HTTP; by default binary where the server can
    #[arg(long, value_enum, default_value_t = Encoding::Auto, help_heading = "Requests")]
    pub encoding: Encoding,
    /// Different requests per model
    #[arg(long, default_value_t = 4, value_name = "N", help_heading = "Requests")]
    pub bodies: usize,
    /// Connections at most (HTTP), or requests under way at most (gRPC); what is due beyond waits, and its wait counts
    #[arg(long, default_value_t = 256, value_name = "N", help_heading = "Generator")]
    pub connections: usize,
    /// Threads that send
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Generator")]
    pub threads: usize,
    /// A request that is not answered within this of its due time has failed
    #[arg(long, default_value = "30s", value_name = "TIME", help_heading = "Generator")]
    pub timeout: Time,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,
    /// Write the report as a page with plots
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Debug)]
pub enum Encoding {
    Auto,
    Binary,
    Json,
}
