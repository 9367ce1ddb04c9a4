//! `sublet load` against `sublet serve`, both as they are started by a person, over HTTP and gRPC.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use sublet_report::Report;

const SUBLET: &str = env!("CARGO_BIN_EXE_sublet");
const WIDTH: usize = 64;

/// A server of two models on free ports; killed at the end.
struct Server {
    child: Child,
    http: String,
    grpc: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        for model in ["first", "second"] {
            let version = folder.join("repository").join(model).join("1");
            std::fs::create_dir_all(&version).unwrap();
            std::fs::write(version.join("model.onnx"), sublet_catalog::rectifier(WIDTH)).unwrap();
        }
        let mut child = Command::new(SUBLET)
            .args(["serve", "--http-port=0", "--grpc-port=0", "--metrics-port=0"])
            .arg("--model-repository")
            .arg(folder.join("repository"))
            .arg("--store")
            .arg(folder.join("store"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |what: &str| {
            let line = lines.next().unwrap().unwrap();
            let address = line.strip_prefix(&format!("{what} on http://"));
            address.unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let (http, grpc, _) = (address("http"), address("grpc"), address("metrics"));
        while !ready(&http) {
            std::thread::yield_now();
        }
        Server { child, http, grpc }
    }
}

/// Whether every model is there.
fn ready(address: &str) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /v2/health/ready HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().is_some_and(|status| status.contains(" 200 "))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn load(args: &[&str]) -> Output {
    Command::new(SUBLET).arg("load").args(args).output().unwrap()
}

#[test]
fn every_request_of_the_schedule_is_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (json, html) = (folder.path().join("load.json"), folder.path().join("load.html"));
    let http = format!("ours=http://{}", server.http);
    let grpc = format!("ours over gRPC=grpc://{}", server.grpc);
    let output = load(&[
        "--url",
        &http,
        "--url",
        &grpc,
        "--model=first,second",
        "--workload=poisson:rate=100",
        "--rate=200,400",
        "--split=explicit:weights=3/1",
        "--duration=1s",
        "--slo=10s",
        "--tell-slo",
        "--threads=2",
        "--json",
        json.to_str().unwrap(),
        "--html",
        html.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("ours over gRPC") && table.contains("in time %"), "{table}");
    let report = Report::from_json(&std::fs::read_to_string(json).unwrap()).unwrap();
    // Two targets at two rates, each whole and by its two models.
    assert_eq!(report.rows.len(), 12, "{table}");
    for rows in report.rows.chunks(3) {
        let [whole, first, second] = rows else { panic!("{rows:?}") };
        assert_eq!((whole.part.as_deref(), first.part.as_deref()), (None, Some("first")));
        let outcome = &whole.outcome;
        assert_eq!((outcome.answered, outcome.failed()), (outcome.requests, 0), "{table}");
        assert_eq!(outcome.in_time, Some(outcome.requests));
        assert_eq!(first.outcome.requests + second.outcome.requests, outcome.requests);
        assert!(first.outcome.requests > 2 * second.outcome.requests);
        let corrected = outcome.latency.mean();
        assert!(outcome.service.as_ref().unwrap().mean() <= corrected);
        assert!((outcome.offered() / whole.at["rate"] - 1.0).abs() < 0.25, "{table}");
    }
    // One seed is one schedule, whatever the target.
    assert_eq!(report.rows[0].outcome.requests, report.rows[6].outcome.requests);
    assert!(std::fs::read_to_string(html).unwrap().contains("Goodput against rate"));
}

#[test]
fn failures_are_counted_by_kind_and_what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let http = format!("http://{}", server.http);
    let json = folder.path().join("load.json");
    // Inputs as stated need no metadata; the server refuses their shape, each time.
    let output = load(&[
        "--url",
        &http,
        "--model=first",
        "--workload=constant:rate=50",
        "--duration=400ms",
        "--warmup=0",
        "--input=x=FP32:1x3",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = Report::from_json(&std::fs::read_to_string(json).unwrap()).unwrap();
    let outcome = &report.rows[0].outcome;
    assert_eq!((outcome.requests, outcome.answered), (20, 0));
    assert_eq!(outcome.errors["http 400"], 20);
    assert!(report.notes[0].contains("first http 400"), "{:?}", report.notes);

    let refused = |args: &[&str]| {
        let output = load(args);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let some = ["--workload=poisson:rate=1", "--duration=1s"];
    let unknown = refused(&[&["--url", &http, "--model=third"], &some[..]].concat());
    assert!(unknown.contains("third"), "{unknown}");
    let nobody = refused(&[&["--url=http://127.0.0.1:1", "--model=a"], &some[..]].concat());
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
    let endless = refused(&["--url", &http, "--model=first", "--workload=poisson:rate=1e12"]);
    assert!(endless.contains("more than"), "{endless}");
}

/// A server whose connections each are given to `serve`, which returns when it has done with one.
fn plain_server(serve: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

/// Reads one request with a small body; false when the client is gone.
fn read_request(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(count) => request.extend_from_slice(&piece[..count]),
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return true;
        }
    }
}

/// Loads a plain server with 40 requests of one stated input.
fn load_plain(address: &str, more: &[&str]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("load.json");
    let url = format!("--url=http://{address}");
    let args = [&url, "--model=a", "--workload=constant:rate=100", "--duration=400ms"];
    let more = [more, &["--input=x=FP32:1x4", "--encoding=json", "--warmup=0", "--json"]].concat();
    let output = load(&[&args[..], &more, &[json.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Report::from_json(&std::fs::read_to_string(json).unwrap()).unwrap()
}

#[test]
fn a_server_that_never_answers_ends_the_load_all_the_same() {
    let address = plain_server(|mut stream| while read_request(&mut stream) {});
    let report = load_plain(&address, &["--timeout=200ms", "--connections=3"]);
    let outcome = &report.rows[0].outcome;
    assert_eq!((outcome.requests, outcome.answered), (40, 0));
    // Three hang at a time; what is due meanwhile waits too long for a connection, or hangs later itself.
    let known = |kind: &String| ["timeout", "not sent"].contains(&kind.as_str());
    assert!(outcome.failed() == 40 && outcome.errors.keys().all(known), "{:?}", outcome.errors);
}

#[test]
fn a_connection_that_the_server_closed_is_opened_again() {
    let address = plain_server(|mut stream| {
        if read_request(&mut stream) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        }
    });
    let report = load_plain(&address, &[]);
    let outcome = &report.rows[0].outcome;
    assert_eq!((outcome.requests, outcome.answered), (40, 40), "{:?}", outcome.errors);
}
