//! Commands and their options.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use sublet_engine::Policy;
use sublet_graph::Precision;
use sublet_units::Bytes;

/// Many models on few devices.
///
/// Sublet keeps every model in host memory and brings it onto a device when a request needs it. It reads model
/// repositories as Triton lays them out and speaks the Open Inference Protocol over HTTP and gRPC.
#[derive(Parser)]
#[command(name = "sublet", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub logging: Logging,
}

#[derive(Args, Clone)]
pub struct Logging {
    /// What to log: error, warn, info, debug or trace, or a filter such as `sublet_engine=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "SUBLET_LOG",
        help_heading = "Logging"
    )]
    pub log: Option<String>,
    /// Log lines for people, or one JSON object a line
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, help_heading = "Logging")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
pub enum Command {
    /// Serve a model repository over HTTP and gRPC
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<Serve>),
    /// Run one model once, or a few times, on given or random inputs
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Show a model: graph, rewrites, plan, segments, arena, and what a swap-in costs
    Inspect(Inspect),
    /// List the real models that can be fetched, and fetch them
    Models(Models),
    /// Load a server of the Open Inference Protocol with a fixed schedule of requests, and report latencies
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<crate::load::Load>),
    /// Simulate scenarios under several scheduling policies, and compare them
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(Box<crate::simulate::Simulate>),
    /// Pack models into partitions of GPUs: the fewest GPUs that serve every model within its SLO
    #[command(after_help = SCHEDULE_EXAMPLES)]
    Schedule(Box<crate::schedule::ScheduleOptions>),
    /// Fetch real models, serve them from two devices that cannot hold them all, and check every answer
    Demo(Demo),
}

const SERVE_EXAMPLES: &str = "Examples:
  sublet serve --model-repository models
  sublet serve --model-repository models --device cuda:0,memory=20GiB --precision f16
  sublet serve --model-repository models --device cpu,count=2,memory=512MiB --model-control-mode explicit \\
      --load-model resnet --load-model bert
  curl localhost:8000/v2/models/resnet";

const RUN_EXAMPLES: &str = "Examples:
  sublet run model.onnx --random --shape x=1x3x224x224
  sublet run model.onnx --inputs in.safetensors --outputs out.safetensors --repeat 100";

const SIMULATE_EXAMPLES: &str = "Examples:
  sublet simulate scenarios/torpor-10-eight-models.toml --html torpor.html
  sublet simulate scenarios/sirius-*.toml --policy sublet,torpor --seeds 5 --json sirius.json";

const SCHEDULE_EXAMPLES: &str = "Examples:
  sublet schedule tasks.csv --config sched-config.json --devices device-config.json --memory mem-config.json \\
      --profile profiles/ --out ModelList.txt
  sublet schedule fit --pairs interference.csv --profile inference.csv --utilisation mem_util.csv";

const LOAD_EXAMPLES: &str = "Examples:
  sublet load --url http://127.0.0.1:8000 --model resnet,bert --workload poisson:rate=200 --slo 100ms --html load.html
  sublet load --url ours=http://127.0.0.1:8000 --url other=http://127.0.0.1:9000 --model a --workload gamma:rate=50,cv=4 \\
      --rate 50,100,200 --duration 20s --json load.json";

#[derive(Args)]
pub struct Serve {
    /// Folder of models: `<model>/<version>/model.onnx` and an optional `<model>/config.pbtxt` (may be given several times)
    #[arg(long, visible_alias = "repository", value_name = "DIR", required = true)]
    pub model_repository: Vec<PathBuf>,
    /// Where packed models are kept between starts [default: the cache folder]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// none: load all at the start; poll: also follow changes on disk; explicit: load what is asked for
    #[arg(long, value_enum, default_value_t = ControlMode::None, value_name = "MODE")]
    pub model_control_mode: ControlMode,
    /// How often `poll` looks for changes
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    pub repository_poll_secs: u64,
    /// With `explicit`: a model to load at the start; `*` means all (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub load_model: Vec<String>,
    #[command(flatten)]
    pub devices: Devices,
    /// Address to listen on; 0.0.0.0 listens on every network
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS", help_heading = "Network")]
    pub host: IpAddr,
    /// 0 takes a free port and prints it
    #[arg(long, default_value_t = 8000, help_heading = "Network")]
    pub http_port: u16,
    #[arg(long, default_value_t = 8001, help_heading = "Network")]
    pub grpc_port: u16,
    /// Prometheus metrics at /metrics
    #[arg(long, default_value_t = 8002, help_heading = "Network")]
    pub metrics_port: u16,
    /// Largest request body
    #[arg(long, value_name = "SIZE", help_heading = "Network")]
    pub max_request_size: Option<Bytes>,
    /// Token that loading, unloading, shared memory and settings need; without one only this machine may do so
    #[arg(
        long,
        env = "SUBLET_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Network"
    )]
    pub admin_token: Option<String>,
    /// Let clients pass tensors in files under /dev/shm
    #[arg(long, help_heading = "Network")]
    pub allow_shared_memory: bool,
    /// Threads that connections are spread over; a quarter of the processors, but 2 to 8, by default
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub network_threads: Option<NonZeroUsize>,
    /// Microseconds that a network thread polls after a request before it sleeps: spares the next request some 50 us,
    /// and takes a processor meanwhile; 2000 by default where there are 8 processors or more, otherwise 0
    #[arg(long, value_name = "US", help_heading = "Network")]
    pub polling_us: Option<u64>,
    /// Requests that may wait; more are refused
    #[arg(long, default_value_t = 10_000, value_name = "N", help_heading = "Scheduling")]
    pub queue_max: usize,
    /// Deadline of requests that state none, in milliseconds; orders work
    #[arg(long, value_name = "MS", help_heading = "Scheduling")]
    pub slo_ms: Option<u64>,
    /// Seconds that requests in flight get at shutdown
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub shutdown_grace: u64,
    /// The only folder that request traces are written to; tracing is off without it
    #[arg(long, value_name = "DIR", help_heading = "Logging")]
    pub trace_folder: Option<PathBuf>,
    /// The only folder that log files may be written to over the API
    #[arg(long, value_name = "DIR", help_heading = "Logging")]
    pub log_folder: Option<PathBuf>,
}

#[derive(Args, Clone)]
pub struct Devices {
    /// Device to serve from, with options (may be given several times): `cuda:0,memory=20GiB` or
    /// `cpu,count=2,memory=512MiB,threads=1,link=2GB/s`; `auto` takes every CUDA device found, or else the CPU
    #[arg(
        long = "device",
        value_name = "SPEC",
        default_value = sublet_devices::AUTO,
        help_heading = "Scheduling"
    )]
    pub devices: Vec<String>,
    /// Cast models that compute in f32 to f16 or bf16: half the bytes, rounded weights; inputs and outputs keep
    /// their types
    #[arg(long, value_name = "TYPE", help_heading = "Scheduling")]
    pub precision: Option<Precision>,
    /// Write what CUDA devices did when as a Chrome trace into this file at the end
    #[arg(long, value_name = "FILE", help_heading = "Logging")]
    pub trace: Option<PathBuf>,
    /// Scheduling preset: sublet, fifo-lru, torpor, deepplan-server or gpulet
    #[arg(long, default_value_t, value_name = "PRESET", help_heading = "Scheduling")]
    pub policy: Policy,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub enum ControlMode {
    None,
    Poll,
    Explicit,
}

#[derive(Args)]
pub struct Run {
    /// An ONNX file, a model folder, or the name of a model of `sublet models`
    pub model: String,
    /// Inputs by name, as a safetensors file
    #[arg(long, value_name = "FILE", conflicts_with = "random")]
    pub inputs: Option<PathBuf>,
    /// Draw the inputs at random
    #[arg(long)]
    pub random: bool,
    /// Shape of a random input with dynamic dimensions: `x=1x3x224x224` (may be given several times)
    #[arg(long, value_name = "NAME=SHAPE")]
    pub shape: Vec<String>,
    /// Seed of random inputs
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the outputs to this safetensors file
    #[arg(long, value_name = "FILE")]
    pub outputs: Option<PathBuf>,
    /// Run this many times and show latencies
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub repeat: usize,
    #[command(flatten)]
    pub devices: Devices,
}

#[derive(Args)]
pub struct Inspect {
    /// An ONNX file, a model folder, or the name of a model of `sublet models`
    pub model: String,
    /// Shape of an input with dynamic dimensions, for the plan: `x=1x3x224x224` (may be given several times)
    #[arg(long, value_name = "NAME=SHAPE")]
    pub shape: Vec<String>,
    /// Rate of the host link, for what a swap-in costs: `2GB/s`
    #[arg(long, default_value = "2GB/s", value_name = "RATE")]
    pub link: String,
    /// Print every node of the graph and every step of the plan
    #[arg(long)]
    pub all: bool,
}

#[derive(Args)]
pub struct Models {
    #[command(subcommand)]
    pub action: Option<ModelsAction>,
}

#[derive(Subcommand)]
pub enum ModelsAction {
    /// Show packages, licences, sizes, and what is in the cache (the default)
    List,
    /// Fetch packages into the cache; all of them when none is named
    Fetch { packages: Vec<String> },
}

#[derive(Args)]
pub struct Demo {
    /// Leave the server running and print commands to try
    #[arg(long)]
    pub keep: bool,
    /// Serve models made here instead of fetching real ones
    #[arg(long)]
    pub offline: bool,
    /// Rounds of requests
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// Memory of each of the two devices
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Bytes>,
}
