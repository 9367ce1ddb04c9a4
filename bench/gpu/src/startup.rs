//! From the start of a `sublet serve` process with many models registered to its first answer.
//!
//! A process before it packs the models and fills the caches; the one measured finds them on disk, as every start but
//! the first does.

use crate::Common;
use crate::exported::Exported;
use crate::figures::{median, summary, write};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// The `sublet` binary; beside this one by default
    #[arg(long)]
    sublet: Option<PathBuf>,
    /// Models registered, each under a name of its own
    #[arg(long, default_value_t = 100)]
    count: usize,
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn run(common: &Common, options: &Options) -> Result<()> {
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("sublet"));
    let sublet = options.sublet.clone().map_or_else(beside, Ok)?;
    ensure!(sublet.exists(), "{} does not exist: name it with --sublet", sublet.display());
    let exported = Exported::all(common)?.remove(0);
    let scratch = tempfile::tempdir_in(&common.work)?;
    let repository = scratch.path().join("repository");
    for index in 0..options.count {
        let folder = repository.join(format!("model-{index:03}/1"));
        fs::create_dir_all(&folder)?;
        // As many files, though one on disk.
        fs::hard_link(exported.file(1), folder.join("model.onnx"))?;
    }
    // The last one: nothing that loads models in the order of their names has it early.
    let asked = format!("model-{:03}", options.count - 1);
    let request = request(&asked, &exported)?;
    let began = Instant::now();
    let server = Server::start(&sublet, common, &repository, scratch.path())?;
    server.wait_ready()?;
    server.ask(&request)?;
    server.stop()?;
    let first = began.elapsed().as_secs_f64();
    println!("a first start packed {} models in {first:.1} s", options.count);
    let (mut listening, mut answered, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.repeats {
        let began = Instant::now();
        let server = Server::start(&sublet, common, &repository, scratch.path())?;
        listening.push(began.elapsed().as_secs_f64());
        server.ask(&request)?;
        answered.push(began.elapsed().as_secs_f64());
        server.wait_ready()?;
        ready.push(began.elapsed().as_secs_f64());
        server.stop()?;
    }
    write(
        &common.out,
        "startup.json",
        &json!({
            "model": exported.case.model, "dtype": exported.case.dtype, "count": options.count,
            "bytes": exported.case.torch_bytes * options.count as u64, "first_start_seconds": first,
            "listening_seconds": listening, "answered_seconds": answered, "ready_seconds": ready,
        }),
    )?;
    let line = format!(
        "startup: {} models of {}: listening after {:.2} s, first answer after {:.2} s, all loaded after {:.2} s \
         (medians of {}; packed models and kernels on disk from an earlier start)",
        options.count,
        exported.name(),
        median(&listening),
        median(&answered),
        median(&ready),
        options.repeats
    );
    summary(&common.out, "startup", &line)
}

/// A `sublet serve` process.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Returns once it listens.
    fn start(sublet: &Path, common: &Common, repository: &Path, scratch: &Path) -> Result<Server> {
        let mut child = Command::new(sublet)
            .args([
                "--log",
                "warn",
                "serve",
                "--http-port",
                "0",
                "--grpc-port",
                "0",
                "--metrics-port",
                "0",
            ])
            .arg("--model-repository")
            .arg(repository)
            .arg("--store")
            .arg(scratch.join("store"))
            .args(["--device", &common.device])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| sublet.display().to_string())?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = loop {
            let Some(line) = lines.next() else {
                bail!("the server ended with {}", child.wait()?);
            };
            if let Some(address) = line?.strip_prefix("http on http://") {
                break address.to_owned();
            }
        };
        // Read on, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Server { child, address })
    }

    fn wait_ready(&self) -> Result<()> {
        let request = "GET /v2/health/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
        self.until_answered(request.as_bytes())
    }

    /// Asks until there is an answer.
    fn ask(&self, request: &[u8]) -> Result<()> {
        self.until_answered(request)
    }

    fn until_answered(&self, request: &[u8]) -> Result<()> {
        let began = Instant::now();
        loop {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.write_all(request)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            if answer.starts_with(b"HTTP/1.1 200 ") {
                return Ok(());
            }
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(1000)]).into_owned();
            let refused = !answer.starts_with(b"HTTP/1.1 503 ");
            ensure!(!refused && began.elapsed() < PATIENCE, "{shown}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request with binary tensors, as bytes on the wire.
fn request(model: &str, exported: &Exported) -> Result<Vec<u8>> {
    let inputs = exported.tensors(1)?.inputs;
    let described: Vec<_> = inputs
        .iter()
        .map(|(name, literal)| {
            json!({
                "name": name, "shape": literal.shape(), "datatype": literal.dtype().wire_name(),
                "parameters": {"binary_data_size": literal.bytes().len()},
            })
        })
        .collect();
    let header =
        json!({"inputs": described, "parameters": {"binary_data_output": true}}).to_string();
    let binary: usize = inputs.values().map(|literal| literal.bytes().len()).sum();
    let mut request = format!(
        "POST /v2/models/{model}/infer HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
         Inference-Header-Content-Length: {}\r\nContent-Length: {}\r\n\r\n{header}",
        header.len(),
        header.len() + binary
    )
    .into_bytes();
    inputs.values().for_each(|literal| request.extend_from_slice(literal.bytes()));
    Ok(request)
}
