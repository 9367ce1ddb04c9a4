//! Tensors in shared memory, over both protocols.

use crate::scene::{Scene, config, f32_bytes};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use sublet_server::pb;
use tonic::Code;

/// An object under `/dev/shm` that goes away with the test.
struct Object {
    key: String,
    path: PathBuf,
}

impl Object {
    fn new(name: &str, contents: &[u8]) -> Self {
        let key = format!("sublet-test-{}-{name}", std::process::id());
        let path = PathBuf::from("/dev/shm").join(&key);
        fs::write(&path, contents).unwrap();
        Object { key, path }
    }

    fn read(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn scene() -> Scene {
    let mut config = config();
    config.system_shared_memory = true;
    Scene::new(config)
}

fn register(scene: &Scene, name: &str, key: &str, offset: u64, bytes: u64) -> u16 {
    let body = json!({"key": key, "offset": offset, "byte_size": bytes}).to_string();
    scene.post(&format!("/v2/systemsharedmemory/region/{name}/register"), body).status
}

#[test]
fn reads_inputs_and_writes_outputs() {
    let scene = scene();
    let input = Object::new("in", &[&[9; 4][..], &f32_bytes(&[1.0, 2.0, 3.0, 4.0])].concat());
    let output = Object::new("out", &[0; 32]);
    assert_eq!(register(&scene, "in", &format!("/{}", input.key), 4, 16), 200);
    assert_eq!(register(&scene, "out", &output.key, 0, 32), 200);
    let status = scene.get("/v2/systemsharedmemory/status").json();
    assert_eq!(
        status[0],
        json!({"name": "in", "key": format!("/{}", input.key), "offset": 4, "byte_size": 16})
    );
    assert_eq!(scene.get("/v2/systemsharedmemory/region/out/status").json()[0]["byte_size"], 32);

    let request = |bytes: u64, offset: u64| {
        json!({
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters":
                {"shared_memory_region": "in", "shared_memory_byte_size": bytes}}],
            "outputs": [{"name": "y", "parameters": {"shared_memory_region": "out",
                "shared_memory_offset": offset, "shared_memory_byte_size": 16}}],
        })
        .to_string()
    };
    let answer = scene.post("/v2/models/double/infer", request(16, 8)).json();
    let place = json!({"shared_memory_region": "out", "shared_memory_offset": 8, "shared_memory_byte_size": 16});
    assert_eq!(answer["outputs"][0]["parameters"], place);
    assert_eq!(output.read()[8..24], f32_bytes(&[2.0, 4.0, 6.0, 8.0]));
    for (bytes, offset) in [(12, 0), (17, 0), (u64::MAX, 0), (16, 17), (16, u64::MAX)] {
        assert_eq!(scene.post("/v2/models/double/infer", request(bytes, offset)).status, 400);
    }

    assert_eq!(scene.post("/v2/systemsharedmemory/region/in/unregister", "").status, 200);
    assert_eq!(scene.post("/v2/models/double/infer", request(16, 8)).status, 404);
    assert_eq!(scene.post("/v2/systemsharedmemory/unregister", "").status, 200);
    assert_eq!(scene.get("/v2/systemsharedmemory/status").json(), json!([]));
}

#[test]
fn refuses_bad_regions() {
    let scene = scene();
    let object = Object::new("bad", &[0; 16]);
    for key in ["", "/", "///", "/..", "/../etc/passwd", "/a/b", "/sublet-none", "a\0b"] {
        assert!([400, 404].contains(&register(&scene, "r", key, 0, 1)), "{key:?}");
    }
    for (offset, bytes) in [(0, 17), (17, 1), (u64::MAX, u64::MAX), (0, 0)] {
        assert_eq!(register(&scene, "r", &object.key, offset, bytes), 400);
    }
    assert_eq!(scene.get("/v2/systemsharedmemory/region/r/status").status, 404);
    let off = Scene::new(config());
    assert_eq!(register(&off, "r", &object.key, 0, 1), 501);
    assert_eq!(off.get("/v2/systemsharedmemory/status").json(), json!([]));
}

#[test]
fn unregistering_does_not_disturb_a_request() {
    let scene = scene();
    let object = Object::new("busy", &[0; 16]);
    assert_eq!(register(&scene, "r", &object.key, 0, 16), 200);
    scene.device.close();
    let body = json!({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}],
        "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 16}}],
    });
    let answer = std::thread::scope(|threads| {
        let request = threads.spawn(|| scene.post("/v2/models/double/infer", body.to_string()));
        scene.wait_until("the run is launched", || scene.device.held() == 1);
        assert_eq!(scene.post("/v2/systemsharedmemory/unregister", "").status, 200);
        scene.device.open();
        request.join().unwrap()
    });
    assert_eq!(answer.status, 200);
    assert_eq!(object.read(), f32_bytes(&[2.0, 4.0, 6.0, 8.0]));
}

#[test]
fn works_over_grpc_too() {
    let scene = scene();
    let object = Object::new("grpc", &f32_bytes(&[1.0, 2.0, 3.0, 4.0]));
    let mut client = scene.grpc_client();
    scene.runtime.block_on(async {
        let register = pb::SystemSharedMemoryRegisterRequest {
            name: "r".into(),
            key: object.key.clone(),
            offset: 0,
            byte_size: 16,
        };
        client.system_shared_memory_register(register.clone()).await.unwrap();
        let status = client.system_shared_memory_register(register).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let status =
            client.system_shared_memory_status(pb::SystemSharedMemoryStatusRequest::default());
        assert_eq!(status.await.unwrap().get_ref().regions["r"].byte_size, 16);
        let text = |text: &str| pb::InferParameter {
            parameter_choice: Some(pb::infer_parameter::ParameterChoice::StringParam(text.into())),
        };
        let number = |number: i64| pb::InferParameter {
            parameter_choice: Some(pb::infer_parameter::ParameterChoice::Int64Param(number)),
        };
        let place = [
            ("shared_memory_region".to_owned(), text("r")),
            ("shared_memory_byte_size".to_owned(), number(16)),
        ];
        let request = pb::ModelInferRequest {
            model_name: "double".into(),
            inputs: vec![pb::model_infer_request::InferInputTensor {
                name: "x".into(),
                datatype: "FP32".into(),
                shape: vec![1, 4],
                parameters: place.clone().into(),
                contents: None,
            }],
            outputs: vec![pb::model_infer_request::InferRequestedOutputTensor {
                name: "y".into(),
                parameters: place.into(),
            }],
            ..Default::default()
        };
        let answer = client.model_infer(request).await.unwrap().into_inner();
        assert_eq!(answer.raw_output_contents, [bytes::Bytes::new()]);
        client
            .system_shared_memory_unregister(pb::SystemSharedMemoryUnregisterRequest::default())
            .await
            .unwrap();
        let status = client
            .system_shared_memory_status(pb::SystemSharedMemoryStatusRequest { name: "r".into() });
        assert_eq!(status.await.unwrap_err().code(), Code::NotFound);
    });
    assert_eq!(object.read(), f32_bytes(&[2.0, 4.0, 6.0, 8.0]));
}

#[test]
fn cuda_regions_are_not_supported() {
    let scene = scene();
    assert_eq!(scene.get("/v2/cudasharedmemory/status").json(), json!([]));
    assert_eq!(scene.post("/v2/cudasharedmemory/region/r/register", "{}").status, 501);
    assert_eq!(scene.post("/v2/cudasharedmemory/unregister", "").status, 200);
    assert_eq!(scene.get("/v2/cudasharedmemory/region/r/status").status, 404);
}
