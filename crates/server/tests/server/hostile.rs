//! Clients that mean harm, beside clients that do not: every one gets an answer, and nobody else notices.

use crate::raw_client::{self, Answer, answer, send};
use crate::scene::{Scene, config, f32_bytes, json_input, raw_input};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use sublet_server::pb;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const PATH: &str = "/v2/models/double/infer";

fn body() -> String {
    json_input("FP32", &[1, 4], "[1, 2, 3, 4]")
}

fn is_right(answer: &Answer) -> bool {
    answer.status == 200 && answer.json()["outputs"][0]["data"] == json!([2.0, 4.0, 6.0, 8.0])
}

/// Whether the page of metrics has this line.
fn has_metric(scene: &Scene, line: &str) -> bool {
    let page = raw_client::request(scene.metrics, "GET", "/metrics", &[], b"");
    String::from_utf8(page.body).unwrap().lines().any(|found| found == line)
}

#[test]
fn zero_dimensions_are_empty_tensors() {
    let scene = Scene::new(config());
    let empty = scene.post(PATH, json_input("FP32", &[0, 4], "[]"));
    assert_eq!(empty.status, 200, "{empty:?}");
    assert_eq!(empty.json()["outputs"][0]["shape"], json!([0, 4]));
    assert_eq!(empty.json()["outputs"][0]["data"], json!([]));
    assert_eq!(scene.infer_raw("double", &raw_input("FP32", &[0, 4], 0), &[]).status, 200);
    assert_eq!(scene.infer_raw("double", &raw_input("FP32", &[0, 4], 4), &[0; 4]).status, 400);
    for shape in [&[0, 0][..], &[4, 0], &[0], &[], &[0, i64::MAX as usize], &[1, 4, 0]] {
        let answer = scene.post(PATH, json_input("FP32", shape, "[]"));
        assert_eq!(answer.status, 400, "{shape:?}: {answer:?}");
        assert!(!answer.error().is_empty());
    }
}

#[test]
fn raw_tensors_may_hold_any_bits() {
    let scene = Scene::new(config());
    let json = raw_input("FP32", &[1, 4], 16)
        .replace("{\"inputs\"", r#"{"parameters": {"binary_data_output": true}, "inputs""#);
    let values = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::NAN];
    let answer = scene.infer_raw("double", &json, &f32_bytes(&values));
    assert_eq!(answer.status, 200, "{answer:?}");
    let tail = &answer.body[answer.body.len() - 16..];
    assert_eq!(tail[..12], f32_bytes(&[f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY]));
    assert!(f32::from_le_bytes(tail[12..].try_into().unwrap()).is_nan());
    // JSON has no words for them.
    let json = raw_input("FP32", &[1, 4], 16);
    let answer = scene.infer_raw("double", &json, &f32_bytes(&values));
    assert_eq!(answer.status, 400, "{answer:?}");
    for word in ["NaN", "Infinity", "-Infinity", "1e39", "-1e39", "null", "\"1\""] {
        let answer = scene.post(PATH, json_input("FP32", &[1, 4], &format!("[1, 2, 3, {word}]")));
        assert_eq!(answer.status, 400, "{word}: {answer:?}");
    }
    let broken = scene
        .post("/v2/models/ints/infer", json_input("INT64", &[1, 2], "[1, 9223372036854775808]"));
    assert_eq!(broken.status, 400);
}

#[test]
fn broken_strings_are_refused_over_both_protocols() {
    let scene = Scene::new(config());
    let mut client = scene.grpc_client();
    for (bytes, expected) in [
        (&[9, 0, 0, 0, b'a'][..], "runs past the data"),
        (&[0xff; 8], "runs past the data"),
        (&[1, 0], "cut short"),
        (&[0, 0, 0, 0], "1 strings"),
    ] {
        let answer = scene.infer_raw("double", &raw_input("BYTES", &[4], bytes.len()), bytes);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.error().contains(expected), "{}", answer.error());
        let request = pb::ModelInferRequest {
            model_name: "double".into(),
            inputs: vec![pb::model_infer_request::InferInputTensor {
                name: "x".into(),
                datatype: "BYTES".into(),
                shape: vec![4],
                ..Default::default()
            }],
            raw_input_contents: vec![Bytes::copy_from_slice(bytes)],
            ..Default::default()
        };
        let status = scene.runtime.block_on(client.model_infer(request)).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(expected), "{status:?}");
    }
}

#[test]
fn unbounded_numbers_ask_for_no_memory() {
    let scene = Scene::new(config());
    let classify = |classes: &str| {
        let body = body().replace(
            "{\"inputs\"",
            &format!(r#"{{"outputs": [{{"name": "y", "parameters": {{"classification": {classes}}}}}], "inputs""#),
        );
        scene.post(PATH, body)
    };
    let all = classify("4294967295");
    assert_eq!(all.json()["outputs"][0]["data"].as_array().map(Vec::len), Some(4), "{all:?}");
    for classes in ["4294967296", "-1", "1.5", "18446744073709551616"] {
        assert_eq!(classify(classes).status, 400, "{classes}");
    }
    let generate = r#"{"text_input": "x", "max_tokens": 18446744073709551615, "n": 4294967295}"#;
    assert_eq!(scene.post("/v2/models/double/generate", generate).status, 501);
    assert_eq!(scene.post("/v2/models/double/generate_stream", generate).status, 501);
    for path in ["/v1/completions", "/v1/chat/completions", "/v1/embeddings"] {
        let body = r#"{"model": "double", "prompt": "x", "n": 4294967295, "logprobs": 4294967295}"#;
        let answer = scene.post(path, body);
        assert_eq!((answer.status, answer.error().is_empty()), (404, false), "{path}");
    }
}

/// What strangers may send while somebody waits for an answer.
#[test]
fn hostile_requests_disturb_nobody_else() {
    let scene = Scene::new(config());
    scene.device.close();
    let mut patient = TcpStream::connect(scene.http).unwrap();
    send(&mut patient, "POST", PATH, &[], body().as_bytes());
    scene.wait_until("the run is launched", || scene.device.held() == 1);

    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..128 {
        bomb.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert_eq!(scene.post_with(PATH, &[("Content-Encoding", "gzip")], &bomb).status, 413);
    assert_eq!(scene.post(PATH, "[".repeat(1 << 20)).status, 400);
    assert_eq!(scene.post(PATH, [0xff; 1000]).status, 400);
    assert_eq!(scene.post_with(PATH, &[("Content-Length", "1e9")], "").status, 400);
    let many: Vec<String> = (0..10_000).map(|index| format!("x-{index}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (&**name, "1")).collect();
    let mut raw = TcpStream::connect(scene.http).unwrap();
    // The server may have hung up before all of it is sent.
    let head: String = many.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let _ = raw.write_all(format!("POST {PATH} HTTP/1.1\r\nHost: a\r\n{head}\r\n").as_bytes());
    assert!(answer(raw).is_none_or(|answer| answer.status == 431));
    for garbage in
        [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff"]
    {
        for server in [scene.http, scene.grpc, scene.metrics] {
            let mut stream = TcpStream::connect(server).unwrap();
            let _ = stream.write_all(garbage);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }

    scene.device.open();
    assert!(is_right(&answer(patient).unwrap()));
    scene.wait_until("nothing is held", || has_metric(&scene, "sublet_request_bytes 0"));
}

#[test]
fn clients_that_leave_at_any_moment_leave_nothing_behind() {
    let scene = Scene::new(config());
    // In the middle of a body: what arrived is counted until the client has gone.
    let mut half = TcpStream::connect(scene.http).unwrap();
    send(&mut half, "POST", PATH, &[("Content-Length", "100000")], &[b' '; 50_000]);
    scene.wait_until("half of it arrived", || has_metric(&scene, "sublet_request_bytes 50000"));
    drop(half);
    scene.wait_until("it is forgotten", || has_metric(&scene, "sublet_request_bytes 0"));

    // Races of answers with clients that leave, each a little later than the one before.
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}",
        body().len(),
        body()
    );
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (scene, request) = (&scene, &request);
            scope.spawn(move || {
                for round in 0..100 {
                    let mut stream = TcpStream::connect(scene.http).unwrap();
                    let cut = request.len() * (round + 1) / 100;
                    stream.write_all(&request.as_bytes()[..cut]).unwrap();
                    if round % 3 == client % 3 {
                        let _ = stream.shutdown(Shutdown::Write);
                    }
                    for _ in 0..round {
                        std::thread::yield_now();
                    }
                    drop(stream);
                    if round % 10 == 0 {
                        assert!(is_right(&scene.post(PATH, self::body())));
                    }
                }
            });
        }
    });
    scene.wait_until("nothing is held", || has_metric(&scene, "sublet_request_bytes 0"));
    scene.wait_until("nothing waits", || scene.statistics("double").pending == 0);
    assert_eq!(scene.statistics("double").fail.count, 0);
    assert!(is_right(&scene.post(PATH, body())));
}

#[test]
fn a_lost_device_is_no_longer_ready() {
    let scene = Scene::new(config());
    let mut client = scene.grpc_client();
    let mut health = HealthClient::new(scene.channel());
    scene.device.close();
    let mut stream = TcpStream::connect(scene.http).unwrap();
    send(&mut stream, "POST", PATH, &[], body().as_bytes());
    scene.wait_until("the run is launched", || scene.device.held() == 1);
    assert_eq!(scene.get("/v2/health/ready").status, 200);
    scene.device.lose();
    let failed = answer(stream).unwrap();
    assert_eq!(failed.status, 500);
    assert!(failed.error().contains("the device was lost"), "{}", failed.error());
    scene.wait_until("the server is not ready", || scene.get("/v2/health/ready").status == 503);
    assert_eq!(scene.get("/v2/health/live").status, 200);
    let refused = scene.post(PATH, body());
    assert!([500, 503].contains(&refused.status), "{refused:?}");
    assert!(has_metric(&scene, r#"sublet_device_up{device="cpu:0"} 0"#));
    scene.runtime.block_on(async {
        let ready = client.server_ready(pb::ServerReadyRequest {}).await.unwrap();
        assert!(!ready.get_ref().ready);
        let check = health.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(check.get_ref().status(), ServingStatus::NotServing);
    });
    scene.wait_until("nothing waits", || scene.statistics("double").pending == 0);
}

#[test]
fn names_of_models_are_checked_wherever_they_are_given() {
    let scene = Scene::new(config());
    let long = "x".repeat(256);
    let mut client = scene.grpc_client();
    for name in
        ["..", ".", "../double", "/etc", "a/b", "a\\b", "a\0b", "a\nERROR", " ", "\u{85}", &long]
    {
        let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for action in ["load", "unload"] {
            let answer = scene.post(&format!("/v2/repository/models/{escaped}/{action}"), "");
            assert_eq!(answer.status, 400, "{action} {name:?}: {answer:?}");
            assert!(!answer.error().contains(char::is_control), "{name:?}");
        }
        scene.runtime.block_on(async {
            let model_name = name.to_owned();
            let load = pb::RepositoryModelLoadRequest { model_name, ..Default::default() };
            let status = client.repository_model_load(load).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{name:?}: {status:?}");
            let model_name = name.to_owned();
            let unload = pb::RepositoryModelUnloadRequest { model_name, ..Default::default() };
            let status = client.repository_model_unload(unload).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{name:?}: {status:?}");
            assert!(!status.message().contains(char::is_control), "{name:?}");
        });
    }
    for name in ["...", "model..1"] {
        assert_eq!(scene.post(&format!("/v2/repository/models/{name}/load"), "").status, 404);
    }
    let index = scene.post("/v2/repository/index", "").json();
    assert!(index.as_array().unwrap().iter().all(|entry| entry["name"] != ".."), "{index}");
}

/// HTTP's list is in `admin`.
#[test]
fn every_change_over_grpc_needs_the_token() {
    let mut config = config();
    config.admin_token = Some("secret".into());
    config.system_shared_memory = true;
    let scene = Scene::new(config);
    let mut client = scene.grpc_client();
    let text = |value: &str| pb::LogSettingsRequest {
        settings: HashMap::from([(
            "log_format".to_owned(),
            pb::log_settings_request::SettingValue {
                parameter_choice: Some(
                    pb::log_settings_request::setting_value::ParameterChoice::StringParam(
                        value.into(),
                    ),
                ),
            },
        )]),
    };
    macro_rules! check {
        ($method:ident, $request:expr) => {{
            let refused = client.$method($request).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, stringify!($method));
            let mut wrong = Request::new($request);
            wrong.metadata_mut().insert("authorization", "Bearer wrong".parse().unwrap());
            let refused = client.$method(wrong).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, stringify!($method));
        }};
    }
    scene.runtime.block_on(async {
        check!(repository_model_load, pb::RepositoryModelLoadRequest::default());
        check!(repository_model_unload, pb::RepositoryModelUnloadRequest::default());
        check!(system_shared_memory_register, pb::SystemSharedMemoryRegisterRequest::default());
        check!(system_shared_memory_unregister, pb::SystemSharedMemoryUnregisterRequest::default());
        check!(log_settings, text("ISO8601"));
        check!(
            trace_setting,
            pb::TraceSettingRequest {
                settings: [("trace_rate".to_owned(), Default::default())].into(),
                ..Default::default()
            }
        );
    });
}

#[test]
fn errors_of_shared_memory_tell_nothing_of_other_regions() {
    let mut config = config();
    config.system_shared_memory = true;
    let scene = Scene::new(config);
    let key = format!("sublet-hostile-{}", std::process::id());
    fs::write(format!("/dev/shm/{key}"), [0; 64]).unwrap();
    let register = |name: &str, offset: u64, bytes: u64| {
        let body = json!({"key": key, "offset": offset, "byte_size": bytes}).to_string();
        scene.post(&format!("/v2/systemsharedmemory/region/{name}/register"), body)
    };
    assert_eq!(register("theirs", 0, 32).status, 200);
    assert_eq!(register("mine", 32, 16).status, 200);
    let infer = |region: &str, offset: &str, bytes: &str| {
        let body = format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters":
                {{"shared_memory_region": "{region}", "shared_memory_offset": {offset},
                "shared_memory_byte_size": {bytes}}}}}]}}"#
        );
        scene.post(PATH, body)
    };
    assert_eq!(infer("mine", "0", "16").status, 200);
    let unknown = infer("other", "0", "16");
    let refused = [
        infer("mine", "1", "16"),
        infer("mine", "18446744073709551615", "16"),
        infer("mine", "16", "18446744073709551615"),
        infer("mine", "-16", "16"),
        infer("mine", "0", "-1"),
        infer("mine", "0", "0"),
        register("mine", 0, 16),
        register("more", 60, 8),
    ];
    for answer in refused.iter().chain([&unknown]) {
        assert!([400, 404].contains(&answer.status), "{answer:?}");
        assert!(!answer.error().contains("theirs"), "{}", answer.error());
    }
    let mut client = scene.grpc_client();
    scene.runtime.block_on(async {
        use pb::infer_parameter::ParameterChoice::{Int64Param, StringParam};
        for (offset, bytes) in [(-1, 16), (0, -16), (i64::MAX, i64::MAX), (1, 16)] {
            let parameter = |choice| pb::InferParameter { parameter_choice: Some(choice) };
            let place = HashMap::from([
                ("shared_memory_region".to_owned(), parameter(StringParam("mine".into()))),
                ("shared_memory_offset".to_owned(), parameter(Int64Param(offset))),
                ("shared_memory_byte_size".to_owned(), parameter(Int64Param(bytes))),
            ]);
            let request = pb::ModelInferRequest {
                model_name: "double".into(),
                inputs: vec![pb::model_infer_request::InferInputTensor {
                    name: "x".into(),
                    datatype: "FP32".into(),
                    shape: vec![1, 4],
                    parameters: place,
                    contents: None,
                }],
                ..Default::default()
            };
            let status = client.model_infer(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            assert!(!status.message().contains("theirs"), "{status:?}");
        }
    });
    let _ = fs::remove_file(format!("/dev/shm/{key}"));
}
