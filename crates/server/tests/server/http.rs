//! What HTTP clients ask for.

use crate::raw_client;
use crate::scene::{Scene, config, f32_bytes, json_input, raw_input};
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use std::io::{Read, Write};

#[test]
fn tells_its_health() {
    let scene = Scene::new(config());
    let check = |path: &str, status: u16| assert_eq!(scene.get(path).status, status, "{path}");
    check("/v2/health/live", 200);
    check("/v2/health/ready", 200);
    check("/v2/models/double/ready", 200);
    check("/v2/models/double/versions/1/ready", 200);
    check("/v2/models/double/versions/2/ready", 404);
    check("/v2/models/unknown/ready", 404);
    check("/v2/models/idle/ready", 503);
    scene.engine.shutdown(std::time::Duration::ZERO);
    check("/v2/health/ready", 503);
    check("/v2/health/live", 200);
}

#[test]
fn describes_itself_and_its_models() {
    let scene = Scene::new(config());
    let server = scene.get("/v2").json();
    assert_eq!(server["name"], "sublet");
    assert!(server["extensions"].as_array().unwrap().contains(&json!("binary_tensor_data")));
    let tensor = |name: &str| json!({"name": name, "datatype": "FP32", "shape": [-1, 4]});
    for path in ["/v2/models/double", "/v2/models/double/versions/1"] {
        let model = scene.get(path).json();
        assert_eq!(model["name"], "double");
        assert_eq!(model["versions"], json!(["1"]));
        assert_eq!(model["inputs"], json!([tensor("x")]));
        assert_eq!(model["outputs"], json!([tensor("y")]));
    }
    let model = scene.get("/v2/models/ints/config").json();
    assert_eq!(model["name"], "ints");
    assert_eq!(model["input"][0]["data_type"], "TYPE_INT64");
    assert!(model["max_batch_size"].is_number() && model["version_policy"].is_object());
    assert_eq!(scene.get("/v2/models/unknown").status, 404);
    assert_eq!(scene.get("/v2/models/unknown/config").status, 404);
}

#[test]
fn infers_from_json_and_from_raw_tensors() {
    let scene = Scene::new(config());
    let as_json = scene.post(
        "/v2/models/double/infer",
        r#"{"id": "42", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4],
            "data": [[1, 2, 3, 4.5]]}], "outputs": [{"name": "y"}], "extra": {"ignored": []}}"#,
    );
    assert_eq!(as_json.status, 200, "{:?}", as_json);
    let y = json!({"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [2.0, 4.0, 6.0, 9.0]});
    let expected =
        json!({"id": "42", "model_name": "double", "model_version": "1", "outputs": [y]});
    assert_eq!(as_json.json(), expected);
    assert_eq!(as_json.header("inference-header-content-length"), None);

    let json = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4],
        "parameters": {"binary_data_size": 32}}], "parameters": {"binary_data_output": true}}"#;
    let raw = scene.infer_raw("double", json, &f32_bytes(&[0.5; 8]));
    assert_eq!(raw.status, 200, "{:?}", raw);
    let length: usize = raw.header("inference-header-content-length").unwrap().parse().unwrap();
    let head: Value = serde_json::from_slice(&raw.body[..length]).unwrap();
    let place = json!({"binary_data_size": 32});
    let y = json!({"name": "y", "datatype": "FP32", "shape": [2, 4], "parameters": place});
    assert_eq!(head["outputs"], json!([y]));
    assert_eq!(&raw.body[length..], f32_bytes(&[1.0; 8]));

    let version =
        scene.post("/v2/models/ints/versions/1/infer", json_input("INT64", &[1, 2], "[1, -9]"));
    assert_eq!(version.json()["outputs"][0]["data"], json!([2, -18]));
}

#[test]
fn sends_large_answers_whole() {
    let scene = Scene::new(config());
    let values: Vec<f32> = (0..400_000).map(|index| index as f32).collect();
    let json = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [100000, 4],
        "parameters": {"binary_data_size": 1600000}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": true}}]}"#;
    let answer = scene.infer_raw("double", json, &f32_bytes(&values));
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
    assert!(answer.body[length..] == f32_bytes(&doubled));
    let as_json = scene
        .post("/v2/models/double/infer", json_input("FP32", &[100_000, 4], &format!("{values:?}")));
    assert_eq!(as_json.json()["outputs"][0]["data"].as_array().map(Vec::len), Some(400_000));
}

#[test]
fn classifies() {
    let scene = Scene::new(config());
    let outputs = |binary: bool| {
        format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 3, 2, 0]}}],
                "outputs": [{{"name": "y", "parameters": {{"classification": 2, "binary_data": {binary}}}}}]}}"#
        )
    };
    let answer = scene.post("/v2/models/double/infer", outputs(false)).json();
    assert_eq!(answer["outputs"][0]["datatype"], "BYTES");
    assert_eq!(answer["outputs"][0]["data"], json!(["6.000000:1", "4.000000:2"]));
    let answer = scene.post("/v2/models/double/infer", outputs(true));
    assert!(answer.body.ends_with(b"\x0a\0\0\x006.000000:1\x0a\0\0\x004.000000:2"));
}

#[test]
fn says_what_json_cannot_carry() {
    let scene = Scene::new(config());
    let halves = scene.infer_raw("halves", &raw_input("FP16", &[1, 2], 4), &[0, 0x3c, 0, 0xbc]);
    assert_eq!(halves.status, 400);
    assert!(halves.error().contains("FP16"), "{}", halves.error());
    let nan = scene.post("/v2/models/log/infer", json_input("FP32", &[1, 1], "[-1]"));
    assert_eq!(nan.status, 400);
    assert!(nan.error().contains("NaN"), "{}", nan.error());
    let json = raw_input("FP16", &[1, 2], 4).replace(
        "{\"inputs\"",
        r#"{"outputs": [{"name": "y", "parameters": {"binary_data": true}}], "inputs""#,
    );
    let halves = scene.infer_raw("halves", &json, &[0, 0x3c, 0, 0xbc]);
    assert!(halves.body.ends_with(&[0, 0xbc, 0, 0x3c]), "{:?}", halves);
}

#[test]
fn refuses_broken_requests() {
    let scene = Scene::new(config());
    let check = |body: &str, expected: &str| {
        let answer = scene.post("/v2/models/double/infer", body);
        assert_eq!(answer.status, 400, "{body}: {:?}", answer);
        assert!(answer.error().contains(expected), "{body}: {}", answer.error());
    };
    let input = |fields: &str| format!(r#"{{"inputs": [{{"name": "x", {fields}}}]}}"#);
    check("", "JSON is wrong");
    check("{", "JSON is wrong");
    check("[]", "JSON is wrong");
    check("{}", "inputs");
    check(&"[".repeat(200), "nested more than 100 deep");
    check(&input(r#""datatype": "FP32", "shape": [1, 4]"#), "has no data");
    check(&input(r#""datatype": "FP31", "shape": [1, 4], "data": []"#), "unknown datatype");
    check(&input(r#""datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3]"#), "3 values");
    check(&input(r#""datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4, 5]"#), "more values");
    check(
        &input(r#""datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, NaN]"#),
        "JSON is wrong",
    );
    check(
        &input(r#""datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 1e999]"#),
        "out of range",
    );
    check(&input(r#""datatype": "FP32", "shape": [-1, 4], "data": []"#), "dimension -1");
    check(
        &input(r#""datatype": "FP32", "shape": [4294967296, 4294967296], "data": []"#),
        "too large",
    );
    check(&input(r#""datatype": "BYTES", "shape": [1, 4], "data": ["a"]"#), "BYTES");
    check(&input(r#""datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]"#), "x");
    check(&input(r#""datatype": "INT64", "shape": [1, 4], "data": [1, 2, 3, 4]"#), "x");
    check(r#"{"inputs": []}"#, "x");
    check(
        &input(
            r#""datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4], "parameters": {"binary_data_size": 16}"#,
        ),
        "more than one place",
    );
    let valid = r#"{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}"#;
    check(&format!(r#"{{"inputs": [{valid}, {valid}]}}"#), "given twice");
    check(
        &format!(r#"{{"inputs": [{valid}], "outputs": [{{"name": "y"}}, {{"name": "y"}}]}}"#),
        "given twice",
    );
    check(&format!(r#"{{"inputs": [{valid}], "outputs": [{{"name": "z"}}]}}"#), "z");
    check(&format!(r#"{{"inputs": [{}]}}"#, valid.replace("\"x\"", "\"w\"")), "w");
    let many = vec![r#"{"name": "y"}"#; 5000].join(",");
    check(&format!(r#"{{"inputs": [{valid}], "outputs": [{many}]}}"#), "4096");
    let some: Vec<_> = (0..300).map(|i| format!(r#"{{"name": "y{i}"}}"#)).collect();
    check(&format!(r#"{{"inputs": [{valid}], "outputs": [{}]}}"#, some.join(",")), "300 outputs");
    check(&format!(r#"{{"inputs": [{valid}], "id": "{}"}}"#, "x".repeat(300)), "id");
    check(&format!(r#"{{"inputs": [{valid}], "parameters": {{"priority": -1}}}}"#), "priority");
    let sequence = format!(r#"{{"inputs": [{valid}], "parameters": {{"sequence_id": 7}}}}"#);
    assert_eq!(scene.post("/v2/models/double/infer", sequence).status, 501);
    let fine = scene.post("/v2/models/double/infer", format!(r#"{{"inputs": [{valid}]}}"#));
    assert_eq!(fine.status, 200);
}

#[test]
fn refuses_broken_framing() {
    let scene = Scene::new(config());
    let json = raw_input("FP32", &[1, 4], 16);
    let check = |length: &str, json: &str, raw: &[u8], status: u16, expected: &str| {
        let headers = [("Inference-Header-Content-Length", length)];
        let body = [json.as_bytes(), raw].concat();
        let answer = scene.post_with("/v2/models/double/infer", &headers, body);
        assert_eq!(answer.status, status, "{length}: {:?}", answer);
        assert!(answer.error().contains(expected), "{length}: {}", answer.error());
    };
    let exact = json.len().to_string();
    check("-1", &json, &[0; 16], 400, "not a length");
    check("+5", &json, &[0; 16], 400, "not a length");
    check("many", &json, &[0; 16], 400, "not a length");
    check("99999999999999999999", &json, &[0; 16], 400, "not a length");
    check("1000", &json, &[0; 16], 400, "1000");
    check("0", &json, &[0; 16], 400, "JSON is wrong");
    check("5", &json, &[0; 16], 400, "JSON is wrong");
    check(&exact, &json, &[0; 15], 400, "15 are left");
    check(&exact, &json, &[0; 17], 400, "belong to no input");
    let huge = raw_input("FP32", &[1, 4], 1).replace(": 1}", ": 18446744073709551615}");
    check(&huge.len().to_string(), &huge, &[0; 16], 400, "left in the request");
    let short = raw_input("FP32", &[1, 4], 12);
    check(&short.len().to_string(), &short, &[0; 12], 400, "takes 16");
    let spaced = format!("{json}{}", " ".repeat(2 << 20));
    check(&spaced.len().to_string(), &spaced, &[0; 16], 413, "JSON has");
    let without = scene.post("/v2/models/double/infer", &json);
    assert_eq!(without.status, 400, "raw tensors need the header");
    assert_eq!(scene.infer_raw("double", &json, &[0; 16]).status, 200);
}

#[test]
fn refuses_broken_addresses() {
    let scene = Scene::new(config());
    let check = |path: &str, status: u16| {
        let answer = scene.get(path);
        assert_eq!(answer.status, status, "{path}: {:?}", answer);
        assert!(!answer.error().contains(['\n', '\0', '\x1b']), "{path}");
    };
    check("/v2/models/..", 400);
    check("/v2/models/%2e%2e", 400);
    check("/v2/models/%2e%2e%2fdouble", 400);
    check("/v2/models/a%2Fb", 400);
    check("/v2/models/a%00b", 400);
    check("/v2/models/a%0aERROR", 400);
    check("/v2/models/%ff", 400);
    check("/v2/models/%20", 400);
    check(&format!("/v2/models/{}", "x".repeat(256)), 400);
    check("/v2/models/...", 404);
    check("/v2/models/model..1", 404);
    check("/v2/models/double/versions/one", 400);
    check("/v2/models/double/versions/-1", 400);
    check("/v2/models/double/versions/99", 404);
    check("/v2/nothing", 404);
    check("/../../etc/passwd", 404);
    check("/v2/models/double/infer", 405);
    let answer = scene.post("/v2/health/live", "");
    assert_eq!((answer.status, answer.error().is_empty()), (405, false));
    assert_eq!(scene.post("/v2/models/double/generate", "{}").status, 501);
    assert_eq!(scene.post("/v2/models/unknown/generate_stream", "{}").status, 404);
}

#[test]
fn takes_compressed_requests_and_compresses_when_asked() {
    let scene = Scene::new(config());
    let body = json_input("FP32", &[1, 4], "[1, 2, 3, 4]");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(body.as_bytes()).unwrap();
    let path = "/v2/models/double/infer";
    for (coding, bytes) in
        [("gzip", gzip.finish().unwrap()), ("deflate", deflate.finish().unwrap())]
    {
        let headers = [("Content-Encoding", coding), ("Accept-Encoding", coding)];
        let answer = scene.post_with(path, &headers, bytes);
        assert_eq!((answer.status, answer.header("content-encoding")), (200, Some(coding)));
        let mut text = String::new();
        match coding {
            "gzip" => GzDecoder::new(&answer.body[..]).read_to_string(&mut text),
            _ => ZlibDecoder::new(&answer.body[..]).read_to_string(&mut text),
        }
        .unwrap();
        assert!(text.contains("[2.0,4.0,6.0,8.0]"), "{text}");
    }
    let listed = scene.post_with(path, &[("Accept-Encoding", "gzip, deflate")], &body);
    assert_eq!(listed.header("content-encoding"), None);
    assert_eq!(scene.post_with(path, &[("Content-Encoding", "br")], &body).status, 400);
    assert_eq!(scene.post_with(path, &[("Content-Encoding", "gzip")], &body).status, 400);
}

#[test]
fn bounds_what_it_reads() {
    let mut config = config();
    config.limits.body_bytes_max = 100_000;
    let scene = Scene::new(config);
    let path = "/v2/models/double/infer";
    assert_eq!(scene.post(path, vec![b' '; 100_001]).status, 413);
    let announced = scene.post_with(path, &[("Content-Length", "99999999999")], "");
    assert_eq!(announced.status, 413);
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 50 << 20]).unwrap();
    let answer = scene.post_with(path, &[("Content-Encoding", "gzip")], bomb.finish().unwrap());
    assert_eq!(answer.status, 413);

    // Many chunks of one byte.
    let body = json_input("FP32", &[1, 4], &format!("[1, 2, 3, 4{}]", " ".repeat(20_000)));
    let chunks: Vec<u8> =
        body.bytes().flat_map(|byte| [b'1', b'\r', b'\n', byte, b'\r', b'\n']).collect();
    let chunked = [&chunks[..], b"0\r\n\r\n"].concat();
    let answer = scene.post_with(path, &[("Transfer-Encoding", "chunked")], chunked);
    assert_eq!(answer.status, 200, "{:?}", answer);
    let endless = b"1\r\n \r\n".repeat(200_000);
    let answer = scene.post_with(path, &[("Transfer-Encoding", "chunked")], endless);
    assert_eq!(answer.status, 413);
}

#[test]
fn bounds_the_bytes_of_all_requests() {
    let mut config = config();
    config.limits.body_bytes_total_max = 1000;
    let scene = Scene::new(config);
    let path = "/v2/models/double/infer";
    assert_eq!(scene.post(path, vec![b' '; 1001]).status, 429);
    assert_eq!(scene.post(path, json_input("FP32", &[1, 4], "[1, 2, 3, 4]")).status, 200);
}

#[test]
fn counts_in_statistics_and_metrics() {
    let scene = Scene::new(config());
    for _ in 0..3 {
        let body = json_input("FP32", &[2, 4], "[1, 2, 3, 4, 5, 6, 7, 8]");
        assert_eq!(scene.post("/v2/models/double/infer", body).status, 200);
    }
    let stats = scene.get("/v2/models/double/stats").json();
    let model = &stats["model_stats"][0];
    assert_eq!((&model["name"], &model["version"]), (&json!("double"), &json!("1")));
    assert_eq!(model["inference_stats"]["success"]["count"], 3);
    assert_eq!(model["inference_count"], 3);
    assert!(model["batch_stats"].is_array() && model["last_inference"].as_u64() > Some(0));
    assert!(scene.get("/v2/models/stats").json()["model_stats"].as_array().unwrap().len() >= 4);
    assert_eq!(scene.get("/v2/models/unknown/stats").status, 404);

    let page = raw_client::request(scene.metrics, "GET", "/metrics", &[], b"");
    let text = String::from_utf8(page.body).unwrap();
    let line = r#"nv_inference_request_success{model="double",version="1"} 3"#;
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(text.contains(r#"sublet_device_up{device="cpu:0"} 1"#), "{text}");
    let line = r#"sublet_request_duration_seconds_count{model="double",start="warm"}"#;
    assert!(text.contains(line), "{text}");
}
