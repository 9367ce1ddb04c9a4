//! Connections that are slow, leave early, or are there when the server shuts down.

use crate::raw_client::{self, answer};
use crate::scene::{Scene, config, json_input};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATH: &str = "/v2/models/double/infer";

fn body() -> String {
    json_input("FP32", &[1, 4], "[1, 2, 3, 4]")
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let scene = Scene::new(config());
    scene.device.close();
    let mut first = TcpStream::connect(scene.http).unwrap();
    raw_client::send(&mut first, "POST", PATH, &[], body().as_bytes());
    scene.wait_until("the run is launched", || scene.device.held() == 1);
    let mut second = TcpStream::connect(scene.http).unwrap();
    raw_client::send(&mut second, "POST", PATH, &[], body().as_bytes());
    scene.wait_until("the next one waits", || scene.statistics("double").pending == 1);
    drop(second);
    scene.wait_until("it is cancelled", || scene.statistics("double").cancelled == 1);
    assert_eq!(scene.statistics("double").pending, 0);
    scene.device.open();
    assert_eq!(answer(first).unwrap().status, 200);
}

#[test]
fn too_many_requests_are_refused_at_once() {
    let mut config = config();
    config.limits.requests_max = 1;
    let scene = Scene::new(config);
    scene.device.close();
    let mut stream = TcpStream::connect(scene.http).unwrap();
    raw_client::send(&mut stream, "POST", PATH, &[], body().as_bytes());
    scene.wait_until("the run is launched", || scene.device.held() == 1);
    assert_eq!(scene.post(PATH, body()).status, 429);
    assert_eq!(scene.get("/v2/health/live").status, 200);
    scene.device.open();
    assert_eq!(answer(stream).unwrap().status, 200);
}

#[test]
fn slow_senders_are_sent_away() {
    let mut config = config();
    config.limits.header_timeout = Duration::from_millis(50);
    config.limits.body_timeout = Duration::from_millis(50);
    let scene = Scene::new(config);
    for start in ["", "PRI", "POST /v2/models/double/infer HTTP/1.1\r\nHost: a\r\nX: "] {
        let mut stream = TcpStream::connect(scene.http).unwrap();
        stream.write_all(start.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // The server closes, whether it says something before or not.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{start}");
    }
    let mut stream = TcpStream::connect(scene.http).unwrap();
    raw_client::send(&mut stream, "POST", PATH, &[("Content-Length", "100")], b"{");
    assert_eq!(answer(stream).unwrap().status, 408);
    let mut stream = TcpStream::connect(scene.grpc).unwrap();
    stream.write_all(b"PRI * HTTP/2").unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(scene.post(PATH, body()).status, 200);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let mut config = config();
    config.limits.write_timeout = Duration::from_millis(50);
    let scene = Scene::new(config);
    let rows = 1_000_000;
    let json = format!(
        r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [{rows}, 4], "parameters":
            {{"binary_data_size": {}}}}}], "parameters": {{"binary_data_output": true}}}}"#,
        rows * 16
    );
    let body = [json.as_bytes(), &vec![0; rows * 16]].concat();
    let length = json.len().to_string();
    let mut stream = TcpStream::connect(scene.http).unwrap();
    let headers = [("Inference-Header-Content-Length", &*length)];
    raw_client::send(&mut stream, "POST", PATH, &headers, &body);
    scene.wait_until("the answer is there", || scene.statistics("double").success.count == 1);
    // More than any socket buffers: without reading, the answer cannot have been sent when the server gives up.
    let used = || {
        let page = raw_client::request(scene.metrics, "GET", "/metrics", &[], b"");
        let text = String::from_utf8(page.body).unwrap();
        text.lines().any(|line| line == "sublet_request_bytes 0")
    };
    scene.wait_until("nothing is held", used);
    drop(stream);
    assert_eq!(scene.post(PATH, self::body()).status, 200);
}

#[test]
fn shutdown_finishes_what_is_in_flight() {
    let mut scene = Scene::new(config());
    scene.device.close();
    let mut stream = TcpStream::connect(scene.http).unwrap();
    raw_client::send(&mut stream, "POST", PATH, &[], body().as_bytes());
    scene.wait_until("the run is launched", || scene.device.held() == 1);
    let ended = scene.shutdown();
    scene.wait_until("no more connections", || TcpStream::connect(scene.http).is_err());
    assert!(!ended.is_finished());
    scene.device.open();
    assert_eq!(answer(stream).unwrap().status, 200);
    scene.runtime.block_on(ended).unwrap();
    assert!(TcpStream::connect(scene.grpc).is_err() && TcpStream::connect(scene.metrics).is_err());
}

#[test]
fn one_connection_serves_many_requests() {
    let scene = Scene::new(config());
    let mut stream = TcpStream::connect(scene.http).unwrap();
    let body = body();
    let request =
        format!("POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let last = request.replace("Host: a", "Host: a\r\nConnection: close");
    // Three at once, without waiting for answers.
    stream.write_all(format!("{request}{request}{last}").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
}
