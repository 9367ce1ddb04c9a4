//! What only administrators may do: models, traces, logs.

use crate::onnx::{self, FLOAT};
use crate::scene::{Scene, config, json_input};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use sublet_server::{LogControl, pb};
use tonic::{Code, Request};

#[test]
fn loads_and_unloads() {
    let scene = Scene::new(config());
    let state = |name: &str| {
        let index = scene.post("/v2/repository/index", "").json();
        let found = index.as_array().unwrap().iter().find(|entry| entry["name"] == name).cloned();
        found.unwrap()["state"].clone()
    };
    assert_eq!((state("double"), state("idle")), (json!("READY"), json!("UNAVAILABLE")));
    assert_eq!(scene.post("/v2/repository/models/idle/load", "").status, 200);
    assert_eq!(state("idle"), "READY");
    let ready = scene.post("/v2/repository/index", r#"{"ready": true}"#).json();
    assert!(ready.as_array().unwrap().iter().all(|entry| entry["state"] == "READY"));
    let unload = r#"{"parameters": {"unload_dependents": true}}"#;
    assert_eq!(scene.post("/v2/repository/models/idle/unload", unload).status, 200);
    assert_eq!(state("idle"), "UNAVAILABLE");
    let body = json_input("FP32", &[1, 4], "[1, 2, 3, 4]");
    assert!(scene.post("/v2/models/idle/infer", body).status >= 400);
    assert_eq!(scene.post("/v2/repository/models/unknown/load", "").status, 404);
    let broken = scene.post("/v2/repository/models/broken/load", "");
    assert!(broken.status >= 400 && !broken.error().is_empty());
    assert_eq!(scene.post("/v2/repository/models/idle/load", "{").status, 400);
    let unknown = r#"{"parameters": {"colour": "red"}}"#;
    assert_eq!(scene.post("/v2/repository/models/idle/load", unknown).status, 400);
}

#[test]
fn loads_files_that_come_with_the_request() {
    let scene = Scene::new(config());
    let model = BASE64_STANDARD.encode(onnx::model("Neg", 1, FLOAT, &[-1, 4]));
    let load = |path: &str, contents: &str| {
        let body = json!({"parameters": {"config": "{}", format!("file:{path}"): contents}});
        scene.post("/v2/repository/models/sent/load", body.to_string())
    };
    assert_eq!(load("../1/model.onnx", &model).status, 400);
    assert_eq!(load("1/model.onnx", "not base64!").status, 400);
    let loaded = load("1/model.onnx", &model);
    assert_eq!(loaded.status, 200, "{loaded:?}");
    let body = json_input("FP32", &[1, 4], "[1, 2, 3, 4]");
    let answer = scene.post("/v2/models/sent/infer", body).json();
    assert_eq!(answer["outputs"][0]["data"], json!([-1.0, -2.0, -3.0, -4.0]));
}

#[test]
fn needs_the_token_where_one_is_set() {
    let mut config = config();
    config.admin_token = Some("secret".into());
    config.system_shared_memory = true;
    let scene = Scene::new(config);
    let paths = [
        "/v2/repository/models/idle/load",
        "/v2/repository/models/idle/unload",
        "/v2/systemsharedmemory/region/r/register",
        "/v2/systemsharedmemory/region/r/unregister",
        "/v2/systemsharedmemory/unregister",
        "/v2/trace/setting",
        "/v2/models/double/trace/setting",
        "/v2/logging",
    ];
    for path in paths {
        assert_eq!(scene.post(path, "{}").status, 401, "{path}");
        let wrong = scene.post_with(path, &[("Authorization", "Bearer wrong")], "{}");
        assert_eq!(wrong.status, 403, "{path}");
        let right = scene.post_with(path, &[("Authorization", "Bearer secret")], "{}");
        assert!(![401, 403].contains(&right.status), "{path}: {right:?}");
    }
    assert_eq!(scene.post("/v2/repository/index", "").status, 200);
    assert_eq!(scene.get("/v2/trace/setting").status, 200);

    let mut client = scene.grpc_client();
    scene.runtime.block_on(async {
        let load =
            pb::RepositoryModelLoadRequest { model_name: "idle".into(), ..Default::default() };
        let status = client.repository_model_load(load.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        let mut request = Request::new(load);
        request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
        client.repository_model_load(request).await.unwrap();
        let unload =
            pb::RepositoryModelUnloadRequest { model_name: "idle".into(), ..Default::default() };
        assert_eq!(
            client.repository_model_unload(unload).await.unwrap_err().code(),
            Code::Unauthenticated
        );
        let register = pb::SystemSharedMemoryRegisterRequest::default();
        let status = client.system_shared_memory_register(register).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        let trace = pb::TraceSettingRequest {
            settings: [("trace_rate".to_owned(), Default::default())].into(),
            ..Default::default()
        };
        assert_eq!(client.trace_setting(trace).await.unwrap_err().code(), Code::Unauthenticated);
        client.trace_setting(pb::TraceSettingRequest::default()).await.unwrap();
    });
}

#[test]
fn traces_into_its_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.trace_folder = Some(folder.path().to_owned());
    let scene = Scene::new(config);
    let body = r#"{"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_file": "t.json"}"#;
    let settings = scene.post("/v2/trace/setting", body).json();
    assert_eq!(settings["trace_level"], json!(["TIMESTAMPS"]));
    assert_eq!((&settings["trace_rate"], &settings["trace_count"]), (&json!("1"), &json!("-1")));
    let model = scene.get("/v2/models/double/trace/setting").json();
    assert_eq!(model["trace_file"], "t.json");
    assert_eq!(scene.get("/v2/models/unknown/trace/setting").status, 404);
    let body = json_input("FP32", &[1, 4], "[1, 2, 3, 4]");
    assert_eq!(scene.post("/v2/models/double/infer", body).status, 200);
    let read = || -> Option<Vec<Value>> {
        let text = std::fs::read_to_string(folder.path().join("t.json")).ok()?;
        serde_json::from_str(&text).ok()
    };
    scene.wait_until("the trace is written", || read().is_some_and(|traces| traces.len() == 1));
    assert_eq!(read().unwrap()[0]["model_name"], "double");
    for file in ["../t.json", "/tmp/t.json", "a/b"] {
        let body = json!({ "trace_file": file }).to_string();
        assert_eq!(scene.post("/v2/trace/setting", body).status, 400, "{file}");
    }
    let off =
        scene.post("/v2/trace/setting", r#"{"trace_level": null, "trace_rate": null}"#).json();
    assert_eq!((&off["trace_level"], &off["trace_rate"]), (&json!(["OFF"]), &json!("1000")));
}

#[test]
fn changes_the_log() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let calls = seen.clone();
    let mut config = config();
    config.log_control = Some(LogControl(Arc::new(move |settings, file| {
        calls.lock().unwrap().push((settings.log_verbose_level, file));
        Ok(())
    })));
    let scene = Scene::new(config);
    let before = scene.get("/v2/logging").json();
    assert_eq!((&before["log_info"], &before["log_verbose_level"]), (&json!(true), &json!(0)));
    let after = scene.post("/v2/logging", r#"{"log_verbose_level": 2}"#).json();
    assert_eq!(after["log_verbose_level"], 2);
    assert_eq!(*seen.lock().unwrap(), [(2, None)]);
    for body in [r#"{"log_file": "/etc/x"}"#, r#"{"log_file": "../x"}"#, r#"{"log_info": 3}"#, "[]"]
    {
        assert!(scene.post("/v2/logging", body).status >= 400, "{body}");
    }
    assert_eq!(scene.get("/v2/logging").json(), after);
}
