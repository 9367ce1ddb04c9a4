//! What the server adds to a bare echo of the same bytes: median latency of one request at a time, and throughput of
//! several at once, over HTTP and gRPC. Server, echo and clients share this machine's cores.

use crate::{echo, engines};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sublet_server::ServerConfig;
use sublet_server::pb::ModelInferRequest;
use sublet_server::pb::grpc_inference_service_client::GrpcInferenceServiceClient;
use sublet_server::pb::model_infer_request::InferInputTensor;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// Elements of the tensor that goes in and out: 4 KiB.
pub const WIDTH: usize = 1024;
/// Requests under way at once when throughput is measured.
const CLIENTS: usize = 8;
/// Ours and the echo take turns.
const TURNS: usize = 3;
const ADDED_US_MAX: f64 = 100.0;
const THROUGHPUT_MIN: f64 = 0.4;

/// One side's figures: seconds of single requests, and requests per second.
#[derive(Default)]
struct Figures {
    latencies: Vec<f64>,
    rates: Vec<f64>,
}

/// Runs the benchmark for about `seconds` per protocol and side, and fails when a bar is missed.
pub fn run(seconds: u64) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path().join("repository/relu/1");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("model.onnx"), sublet_catalog::rectifier(WIDTH))?;
    let repository = scratch.path().join("repository");
    let served = engines::serve(&repository, "cpu,threads=1", &scratch.path().join("store"))?;
    let runtime = Runtime::new()?;
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = ServerConfig { http: any, grpc: any, metrics: None, ..Default::default() };
    let running = runtime.block_on(sublet_server::serve(served.engine.clone(), config))?;
    let echo = runtime.block_on(echo::serve())?;
    let turn = Duration::from_secs_f64(seconds as f64 / (2 * TURNS) as f64);
    let http = running.http_address().context("http")?;
    let grpc = running.grpc_address().context("grpc")?;
    let mut missed = 0;
    for (protocol, ours) in [("http", http), ("grpc", grpc)] {
        let (mut server, mut peer) = (Figures::default(), Figures::default());
        for _ in 0..TURNS {
            for (address, figures) in [(echo, &mut peer), (ours, &mut server)] {
                match protocol {
                    "http" => measure_http(address, turn, figures)?,
                    _ => measure_grpc(&runtime, address, turn, figures)?,
                }
            }
        }
        missed += u32::from(!show(protocol, server, peer));
    }
    runtime.block_on(running.shutdown(Duration::from_secs(5)));
    served.engine.shutdown(Duration::from_secs(5));
    if missed > 0 {
        bail!(
            "a bar was missed: at most {ADDED_US_MAX} us added, at least {THROUGHPUT_MIN} of the echo's throughput"
        );
    }
    Ok(())
}

/// Prints one protocol's figures; false when a bar is missed.
fn show(protocol: &str, mut server: Figures, mut peer: Figures) -> bool {
    let (ours, theirs) = (median(&mut server.latencies) * 1e6, median(&mut peer.latencies) * 1e6);
    let (our_rate, their_rate) = (median(&mut server.rates), median(&mut peer.rates));
    println!(
        "bench server {protocol}: p50 {ours:.1} us echo {theirs:.1} us added {:.1} us; \
         throughput {our_rate:.0}/s echo {their_rate:.0}/s ratio {:.2}",
        ours - theirs,
        our_rate / their_rate
    );
    ours - theirs <= ADDED_US_MAX && our_rate / their_rate >= THROUGHPUT_MIN
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn tensor() -> Vec<u8> {
    (0..WIDTH).flat_map(|at| (at as f32).to_le_bytes()).collect()
}

/// A keep-alive connection that sends one prepared request again and again.
pub struct HttpClient {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
    body: Vec<u8>,
}

impl HttpClient {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let header = format!(
            "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[1,{WIDTH}],\"datatype\":\"FP32\",\
             \"parameters\":{{\"binary_data_size\":{}}}}}],\"parameters\":{{\"binary_data_output\":true}}}}",
            WIDTH * 4
        );
        let mut request = format!(
            "POST /v2/models/relu/infer HTTP/1.1\r\nHost: bench\r\nInference-Header-Content-Length: {}\r\n\
             Content-Length: {}\r\n\r\n{header}",
            header.len(),
            header.len() + WIDTH * 4
        )
        .into_bytes();
        request.extend(tensor());
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(HttpClient { stream: BufReader::new(stream), request, body: Vec::new() })
    }

    pub fn ask(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(&self.request)?;
        let (mut line, mut length, mut status) = (String::new(), 0, String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            if status.is_empty() {
                status = line.clone();
            }
            if line.len() <= 2 {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        ensure!(
            status.contains(" 200 "),
            "{}: {}",
            status.trim(),
            String::from_utf8_lossy(&self.body)
        );
        ensure!(
            self.body.ends_with(&self.request[self.request.len() - 64..]),
            "another answer than the question"
        );
        Ok(())
    }
}

fn measure_http(address: SocketAddr, turn: Duration, figures: &mut Figures) -> Result<()> {
    let mut client = HttpClient::connect(address)?;
    let start = Instant::now();
    while start.elapsed() < turn {
        let sent = Instant::now();
        client.ask()?;
        figures.latencies.push(sent.elapsed().as_secs_f64());
    }
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let done = std::thread::scope(|scope| -> Result<usize> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| -> Result<usize> {
                    let mut client = HttpClient::connect(address)?;
                    let mut done = 0;
                    while !stop.load(Ordering::Relaxed) {
                        client.ask()?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        std::thread::sleep(turn);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).sum()
    })?;
    figures.rates.push(done as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

async fn connect(address: SocketAddr) -> Result<GrpcInferenceServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    Ok(GrpcInferenceServiceClient::new(endpoint.connect().await?))
}

async fn ask_grpc(
    client: &mut GrpcInferenceServiceClient<Channel>,
    request: &ModelInferRequest,
) -> Result<()> {
    let answer = client.model_infer(request.clone()).await?.into_inner();
    ensure!(
        answer.raw_output_contents == request.raw_input_contents,
        "another answer than the question"
    );
    Ok(())
}

fn measure_grpc(
    runtime: &Runtime,
    address: SocketAddr,
    turn: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let request = ModelInferRequest {
        model_name: "relu".to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, WIDTH as i64],
            ..Default::default()
        }],
        raw_input_contents: vec![Bytes::from(tensor())],
        ..Default::default()
    };
    runtime.block_on(async {
        let mut client = connect(address).await?;
        let start = Instant::now();
        while start.elapsed() < turn {
            let sent = Instant::now();
            ask_grpc(&mut client, &request).await?;
            figures.latencies.push(sent.elapsed().as_secs_f64());
        }
        let start = Instant::now();
        let clients = (0..CLIENTS).map(|_| {
            let request = request.clone();
            tokio::spawn(async move {
                let mut client = connect(address).await?;
                let mut done = 0;
                while start.elapsed() < turn {
                    ask_grpc(&mut client, &request).await?;
                    done += 1;
                }
                anyhow::Ok(done)
            })
        });
        let mut done = 0;
        for client in clients.collect::<Vec<_>>() {
            done += client.await??;
        }
        figures.rates.push(f64::from(done) / start.elapsed().as_secs_f64());
        Ok(())
    })
}
