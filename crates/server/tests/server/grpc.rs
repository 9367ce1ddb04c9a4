//! What gRPC clients ask for.

use crate::scene::{Scene, config, f32_bytes};
use bytes::Bytes;
use pb::infer_parameter::ParameterChoice;
use pb::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use std::collections::HashMap;
use sublet_server::pb::{self, ModelInferRequest};
use tokio_stream::StreamExt;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn input(datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: "x".into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        ..Default::default()
    }
}

fn request(values: &[f32]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "double".into(),
        id: format!("id {}", values[0]),
        inputs: vec![input("FP32", &[1, 4])],
        raw_input_contents: vec![Bytes::from(f32_bytes(values))],
        ..Default::default()
    }
}

#[test]
fn describes_itself_and_its_models() {
    let scene = Scene::new(config());
    let mut client = scene.grpc_client();
    scene.runtime.block_on(async {
        assert!(client.server_live(pb::ServerLiveRequest {}).await.unwrap().get_ref().live);
        assert!(client.server_ready(pb::ServerReadyRequest {}).await.unwrap().get_ref().ready);
        let ready =
            async |client: &mut pb::grpc_inference_service_client::GrpcInferenceServiceClient<
                _,
            >,
                   name: &str| {
                let request = pb::ModelReadyRequest { name: name.into(), version: String::new() };
                client.model_ready(request).await.map(|answer| answer.get_ref().ready)
            };
        assert!(ready(&mut client, "double").await.unwrap());
        assert!(!ready(&mut client, "idle").await.unwrap());
        assert_eq!(ready(&mut client, "..").await.unwrap_err().code(), Code::InvalidArgument);
        let server = client.server_metadata(pb::ServerMetadataRequest {}).await.unwrap();
        assert_eq!(server.get_ref().name, "sublet");
        let model = pb::ModelMetadataRequest { name: "ints".into(), version: "1".into() };
        let model = client.model_metadata(model).await.unwrap().into_inner();
        assert_eq!(
            (&*model.inputs[0].datatype, &model.inputs[0].shape[..]),
            ("INT64", &[-1, 2][..])
        );
        let unknown = pb::ModelMetadataRequest { name: "unknown".into(), version: String::new() };
        assert_eq!(client.model_metadata(unknown).await.unwrap_err().code(), Code::NotFound);
        let config = pb::ModelConfigRequest { name: "double".into(), version: String::new() };
        let config = client.model_config(config).await.unwrap().into_inner().config.unwrap();
        assert_eq!(config.input[0].data_type(), pb::DataType::TypeFp32);
        let index = client.repository_index(pb::RepositoryIndexRequest::default()).await.unwrap();
        assert!(index.get_ref().models.iter().any(|model| model.name == "idle"));
    });
}

#[test]
fn infers_from_raw_and_typed_tensors() {
    let scene = Scene::new(config());
    let mut client = scene.grpc_client();
    scene.runtime.block_on(async {
        let raw = client.model_infer(request(&[1.0, 2.0, 3.0, 4.0])).await.unwrap().into_inner();
        assert_eq!((&*raw.id, &*raw.model_name, &*raw.model_version), ("id 1", "double", "1"));
        assert_eq!((&*raw.outputs[0].name, &raw.outputs[0].shape[..]), ("y", &[1, 4][..]));
        assert_eq!(raw.raw_output_contents, [f32_bytes(&[2.0, 4.0, 6.0, 8.0])]);

        let contents =
            pb::InferTensorContents { int64_contents: vec![5, -6], ..Default::default() };
        let typed = ModelInferRequest {
            model_name: "ints".into(),
            inputs: vec![InferInputTensor { contents: Some(contents), ..input("INT64", &[1, 2]) }],
            outputs: vec![InferRequestedOutputTensor { name: "y".into(), ..Default::default() }],
            ..Default::default()
        };
        let typed = client.model_infer(typed).await.unwrap().into_inner();
        let expected: Vec<u8> = [10i64, -12].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(typed.raw_output_contents, [expected]);

        let classes = pb::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
        let parameters = HashMap::from([("classification".to_owned(), classes)]);
        let outputs = vec![InferRequestedOutputTensor { name: "y".into(), parameters }];
        let classified = ModelInferRequest { outputs, ..request(&[0.0, 0.0, 5.0, 0.0]) };
        let classified = client.model_infer(classified).await.unwrap().into_inner();
        assert_eq!(classified.outputs[0].datatype, "BYTES");
        assert_eq!(classified.raw_output_contents[0][4..], b"10.000000:2"[..]);

        let mut zipped = client.clone().send_compressed(CompressionEncoding::Gzip);
        assert!(zipped.model_infer(request(&[0.0; 4])).await.is_ok());
        let mut timed = Request::new(request(&[0.0; 4]));
        timed.set_timeout(crate::scene::PATIENCE);
        assert!(client.model_infer(timed).await.is_ok());
        let stats = pb::ModelStatisticsRequest { name: "double".into(), version: "1".into() };
        let stats =
            client.model_statistics(stats).await.unwrap().into_inner().model_stats.remove(0);
        assert_eq!(stats.inference_stats.unwrap().success.unwrap().count, 4);
    });
}

#[test]
fn refuses_broken_requests() {
    let scene = Scene::new(config());
    let mut client = scene.grpc_client();
    let valid = || request(&[1.0, 2.0, 3.0, 4.0]);
    let contents = pb::InferTensorContents { fp32_contents: vec![1.0; 4], ..Default::default() };
    let wrong_field = pb::InferTensorContents { fp64_contents: vec![1.0; 4], ..Default::default() };
    let with_input = |input| ModelInferRequest { inputs: vec![input], ..valid() };
    let typed = |contents: &pb::InferTensorContents, datatype: &str| {
        let input =
            InferInputTensor { contents: Some(contents.clone()), ..input(datatype, &[1, 4]) };
        ModelInferRequest { inputs: vec![input], raw_input_contents: vec![], ..valid() }
    };
    let bytes = |bytes: &'static [u8]| vec![Bytes::from_static(bytes)];
    let cases = [
        (ModelInferRequest { model_name: "unknown".into(), ..valid() }, Code::NotFound, "unknown"),
        (
            ModelInferRequest { model_name: "../x".into(), ..valid() },
            Code::InvalidArgument,
            "model name",
        ),
        (ModelInferRequest { model_name: "idle".into(), ..valid() }, Code::Unavailable, "idle"),
        (
            ModelInferRequest { model_version: "one".into(), ..valid() },
            Code::InvalidArgument,
            "not a number",
        ),
        (ModelInferRequest { model_version: "9".into(), ..valid() }, Code::NotFound, "9"),
        (
            ModelInferRequest { raw_input_contents: bytes(&[0; 15]), ..valid() },
            Code::InvalidArgument,
            "15 bytes",
        ),
        (
            ModelInferRequest { raw_input_contents: vec![Bytes::new(); 2], ..valid() },
            Code::InvalidArgument,
            "0 bytes",
        ),
        (
            ModelInferRequest { raw_input_contents: vec![], ..valid() },
            Code::InvalidArgument,
            "takes 16",
        ),
        (
            ModelInferRequest {
                raw_input_contents: [valid().raw_input_contents, bytes(&[1])].concat(),
                ..valid()
            },
            Code::InvalidArgument,
            "2 raw tensors",
        ),
        (
            ModelInferRequest {
                inputs: vec![valid().inputs.remove(0); 2],
                raw_input_contents: [valid().raw_input_contents, valid().raw_input_contents]
                    .concat(),
                ..valid()
            },
            Code::InvalidArgument,
            "given twice",
        ),
        (
            with_input(InferInputTensor {
                contents: Some(contents.clone()),
                ..input("FP32", &[1, 4])
            }),
            Code::InvalidArgument,
            "more than one place",
        ),
        (with_input(input("FP32", &[i64::MAX, i64::MAX])), Code::InvalidArgument, "too large"),
        (with_input(input("FP32", &[-1, 4])), Code::InvalidArgument, "dimension -1"),
        (with_input(input("QUUX", &[1, 4])), Code::InvalidArgument, "unknown datatype"),
        (typed(&wrong_field, "FP32"), Code::InvalidArgument, "fp64_contents"),
        (typed(&contents, "FP16"), Code::InvalidArgument, "raw tensor"),
        (typed(&contents, "BYTES"), Code::InvalidArgument, "BYTES"),
    ];
    scene.runtime.block_on(async {
        for (request, code, message) in cases {
            let status = client.model_infer(request).await.unwrap_err();
            assert_eq!(status.code(), code, "{status:?}");
            assert!(status.message().contains(message), "{message}: {status:?}");
        }
        assert!(client.model_infer(typed(&contents, "FP32")).await.is_ok());
    });
}

#[test]
fn streams_answers_in_order_and_goes_on_after_errors() {
    let scene = Scene::new(config());
    let mut client = scene.grpc_client();
    let mut requests: Vec<_> = (0..50).map(|index| request(&[index as f32; 4])).collect();
    requests[7].model_name = "unknown".into();
    let mark = pb::InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    requests[8].parameters.insert("triton_enable_empty_final_response".into(), mark);
    scene.runtime.block_on(async {
        let answers = client.model_stream_infer(tokio_stream::iter(requests)).await.unwrap();
        let answers: Vec<_> = answers.into_inner().collect().await;
        assert_eq!(answers.len(), 50);
        for (index, answer) in answers.into_iter().enumerate() {
            let answer = answer.unwrap();
            let response = answer.infer_response.unwrap();
            assert_eq!(response.id, format!("id {index}"));
            assert_eq!(answer.error_message.is_empty(), index != 7, "{}", answer.error_message);
            assert_eq!(response.parameters.contains_key("triton_final_response"), index == 8);
            if index != 7 {
                assert_eq!(response.raw_output_contents, [f32_bytes(&[2.0 * index as f32; 4])]);
            }
        }
    });
}

#[test]
fn a_stream_that_is_dropped_cancels_its_requests() {
    let scene = Scene::new(config());
    let mut client = scene.grpc_client();
    scene.device.close();
    let stream = scene.runtime.block_on(async {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        for _ in 0..3 {
            sender.send(request(&[1.0; 4])).await.unwrap();
        }
        let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
        (sender, client.model_stream_infer(requests).await.unwrap())
    });
    let waiting = || scene.device.held() == 1 && scene.statistics("double").pending == 2;
    scene.wait_until("one runs and two wait", waiting);
    drop(stream);
    scene.wait_until("those that wait are cancelled", || scene.statistics("double").cancelled == 2);
    scene.device.open();
    let again = scene.runtime.block_on(client.model_infer(request(&[1.0; 4])));
    assert!(again.is_ok());
}

#[test]
fn bounds_messages() {
    let mut config = config();
    config.limits.body_bytes_max = 10_000;
    config.limits.body_bytes_total_max = 50_000;
    let scene = Scene::new(config);
    let mut client = scene.grpc_client();
    let large = |bytes: usize| ModelInferRequest {
        raw_input_contents: vec![Bytes::from(vec![0; bytes])],
        ..request(&[0.0; 4])
    };
    scene.runtime.block_on(async {
        let status = client.model_infer(large(20_000)).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        // Small on the wire, large in memory.
        let outputs = vec![InferRequestedOutputTensor::default(); 4_000];
        let swollen = ModelInferRequest { outputs, ..request(&[0.0; 4]) };
        assert_eq!(client.model_infer(swollen).await.unwrap_err().code(), Code::InvalidArgument);
        let mut zipped = client.clone().send_compressed(CompressionEncoding::Gzip);
        let status = zipped.model_infer(large(1 << 20)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let load = pb::RepositoryModelLoadRequest {
            model_name: "idle".into(),
            parameters: HashMap::from([(
                "file:1/model.onnx".to_owned(),
                pb::ModelRepositoryParameter {
                    parameter_choice: Some(
                        pb::model_repository_parameter::ParameterChoice::BytesParam(Bytes::from(
                            vec![0; 20_000],
                        )),
                    ),
                },
            )]),
            ..Default::default()
        };
        let status = client.repository_model_load(load).await.unwrap_err();
        assert!(status.message().contains("config"), "large loads are read: {status:?}");
        assert!(client.model_infer(request(&[0.0; 4])).await.is_ok());
    });
}

#[test]
fn answers_standard_health_checks() {
    let scene = Scene::new(config());
    let mut client = HealthClient::new(scene.channel());
    let named = |service: &str| HealthCheckRequest { service: service.into() };
    scene.runtime.block_on(async {
        for (service, status) in [
            ("", ServingStatus::Serving),
            ("inference.GRPCInferenceService", ServingStatus::Serving),
            ("double", ServingStatus::Serving),
            ("idle", ServingStatus::NotServing),
        ] {
            let answer = client.check(named(service)).await.unwrap();
            assert_eq!(answer.get_ref().status(), status, "{service}");
        }
        assert_eq!(client.check(named("unknown")).await.unwrap_err().code(), Code::NotFound);
        let mut watch = client.watch(named("double")).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let engine = scene.engine.clone();
        tokio::task::spawn_blocking(move || engine.unload("double")).await.unwrap().unwrap();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    });
}

#[test]
fn reflects_its_schema() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let scene = Scene::new(config());
    let mut client = ServerReflectionClient::new(scene.channel());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    scene.runtime.block_on(async {
        let answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("{answer:?}");
        };
        let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
        assert!(names.contains(&"inference.GRPCInferenceService"), "{names:?}");
        assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    });
}
