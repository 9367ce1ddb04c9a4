//! The rules for requests: what is refused, and with which words; cancelling, queues, timeouts.

use crate::onnx;
use crate::scene::{Running, Scene, named, request, request_with};
use std::time::Duration;
use sublet_engine::{ErrorKind, NamedTensor, RepositoryMode};
use sublet_graph::Literal;

fn zeros(shape: &[usize]) -> Literal {
    Literal::f32(shape, &vec![0.0; shape.iter().product()])
}

fn check_invalid(running: &Running, model: &str, inputs: Vec<NamedTensor>, expect: &str) {
    let error = running.queue(request_with(model, inputs)).err().expect(expect);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains(expect), "{error}\nshould say: {expect}");
}

#[test]
fn inputs_must_be_those_of_the_model() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m.onnx", onnx::two_by_two());
    let running = scene.start();
    let a = || named("a", zeros(&[2, 3]));
    let b = || named("b", zeros(&[2, 3]));
    for (inputs, expect) in [
        (vec![], "model `m`: input `a` is missing"),
        (vec![a()], "input `b` is missing"),
        (vec![a(), b(), named("c\n", zeros(&[1]))], r#"no input "c\n"; it has `a`, `b`"#),
        (vec![a(), a(), b()], "input `a` was given more than once"),
        (vec![a(), named("b", Literal::i64(&[1, 3], &[0; 3]))], "`b` has type INT64, FP32 is"),
        (vec![a(), named("b", zeros(&[2, 4]))], "`b` has shape [2, 4], [N, 3] is expected"),
        (vec![a(), named("b", zeros(&[6]))], "`b` has shape [6], [N, 3] is expected"),
        (vec![a(), named("b", zeros(&[1, 3]))], "`N` is 1 in input `b`, but 2 in input `a`"),
    ] {
        check_invalid(&running, "m", inputs, expect);
    }
    let mut asked = request_with("m", vec![b(), a()]);
    asked.outputs = vec!["nothing".into()];
    let error = running.queue(asked.clone()).err().unwrap();
    assert!(error.to_string().contains(r#"no output "nothing"; it has `s`, `d`"#), "{error}");
    asked.outputs = vec!["d".into(), "d".into()];
    let error = running.queue(asked.clone()).err().unwrap();
    assert!(error.to_string().contains("output `d` was asked for more than once"), "{error}");
    asked.outputs = vec!["d".into()];
    assert!(!running.engine.is_planned(&asked));
    let response = running.infer(asked.clone()).unwrap();
    assert!(running.engine.is_planned(&asked));
    assert_eq!(response.outputs.len(), 1);
    assert_eq!(response.outputs[0].name, "d");
    asked.outputs = vec!["d".into(), "s".into()];
    let names: Vec<_> =
        running.infer(asked).unwrap().outputs.into_iter().map(|output| output.name).collect();
    assert_eq!(names, ["d", "s"]);
}

#[test]
fn batches_keep_to_the_limit() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m/1/model.onnx", onnx::two_by_two());
    scene.write("m/config.pbtxt", "max_batch_size: 4");
    let running = scene.start();
    let pair = |rows: usize| vec![named("a", zeros(&[rows, 3])), named("b", zeros(&[rows, 3]))];
    check_invalid(&running, "m", pair(5), "a batch of 5; 1 to 4 are allowed");
    check_invalid(&running, "m", pair(0), "a batch of 0; 1 to 4 are allowed");
    assert!(running.infer(request_with("m", pair(4))).is_ok());
    let config = running.engine.config("m", None).unwrap();
    assert_eq!(config.inputs[0].dims, [3]);
    let metadata = running.engine.metadata("m", Some(1)).unwrap();
    assert_eq!(metadata.inputs[0].dims.len(), 2);
}

#[test]
fn clients_may_see_other_shapes_than_the_model() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m/1/model.onnx", onnx::adder(1.0));
    scene.write(
        "m/config.pbtxt",
        r#"input { name: "x" data_type: TYPE_FP32 dims: [6] reshape { shape: [3, 2] } }
           output { name: "y" data_type: TYPE_FP32 dims: [2, 3] reshape { shape: [3, 2] } }"#,
    );
    scene.write("b/1/model.onnx", onnx::adder(1.0));
    scene.write(
        "b/config.pbtxt",
        r#"max_batch_size: 4 input { name: "x" dims: [1, 2, 1] reshape { shape: [2] } }
           output { name: "y" dims: [1, 2] reshape { shape: [2] } }"#,
    );
    let running = scene.start();
    let shape_of = |model: &str, shape: &[usize]| {
        let response = running.infer(request(model, zeros(shape))).unwrap();
        response.outputs[0].tensor.shape().to_vec()
    };
    assert_eq!(shape_of("m", &[6]), [2, 3]);
    assert_eq!(shape_of("b", &[3, 1, 2, 1]), [3, 1, 2]);
    check_invalid(&running, "m", vec![named("x", zeros(&[3, 2]))], "has shape [3, 2], [6] is");
    let config = running.engine.config("m", None).unwrap();
    assert_eq!(config.inputs[0].reshape, Some(vec![3, 2]));
}

#[test]
fn unknown_models_and_versions_are_not_found() {
    let scene = Scene::new(RepositoryMode::Explicit);
    scene.write("m.onnx", onnx::adder(1.0));
    let running = scene.start();
    let kind = |model: &str, version: Option<u64>| {
        let mut asked = request(model, zeros(&[1, 2]));
        asked.version = version;
        running.queue(asked).err().map(|error| error.kind())
    };
    assert_eq!(kind("nothing", None), Some(ErrorKind::NotFound));
    assert_eq!(kind("m", None), Some(ErrorKind::Unavailable));
    assert_eq!(kind("../m", None), Some(ErrorKind::Invalid));
    running.engine.load("m", Default::default()).unwrap();
    assert_eq!(kind("m", Some(2)), Some(ErrorKind::NotFound));
    assert_eq!(kind("m", Some(1)), None);
    assert!(running.engine.is_model_ready("m", None));
    assert!(!running.engine.is_model_ready("m", Some(2)));
}

#[test]
fn a_dropped_request_is_cancelled() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m.onnx", onnx::adder(1.0));
    let running = scene.start();
    running.devices[0].close();
    let first = running.queue(request("m", zeros(&[1, 2]))).unwrap();
    running.devices[0].wait_held(1);
    let waiting = running.queue(request("m", zeros(&[1, 2]))).unwrap();
    drop(waiting);
    let statistics = || running.engine.statistics(Some("m"), None).unwrap().remove(0);
    assert_eq!((statistics().cancelled, statistics().pending), (1, 0));
    // One that runs already runs to its end.
    drop(first);
    running.devices[0].open();
    running.wait_until("the run ends", || statistics().execution_count == 1);
    assert_eq!(running.added_by("m"), 1.0);
    assert_eq!(running.devices[0].launched(), [1, 1]);
}

#[test]
fn a_full_queue_turns_requests_away() {
    let mut scene = Scene::new(RepositoryMode::None);
    scene.queue_max = 2;
    scene.write("m.onnx", onnx::adder(1.0));
    let running = scene.start();
    running.devices[0].close();
    let ask = || running.queue(request("m", zeros(&[1, 2]))).unwrap();
    let running_now = ask();
    running.devices[0].wait_held(1);
    let waiting = [ask(), ask()];
    let error = ask().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    running.devices[0].open();
    assert!(running_now.wait().is_ok());
    assert!(waiting.into_iter().all(|pending| pending.wait().is_ok()));
}

#[test]
fn a_models_own_queue_has_its_own_limit() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m/1/model.onnx", onnx::adder(1.0));
    scene.write(
        "m/config.pbtxt",
        "max_batch_size: 1 dynamic_batching { default_queue_policy { max_queue_size: 1 } }",
    );
    let running = scene.start();
    running.devices[0].close();
    let ask = || running.queue(request("m", zeros(&[1, 2])));
    let first = ask().unwrap();
    running.devices[0].wait_held(1);
    let second = ask().unwrap();
    let third = ask().unwrap().wait().unwrap_err();
    assert_eq!(third.kind(), ErrorKind::Overloaded, "{third}");
    running.devices[0].open();
    assert!(first.wait().is_ok() && second.wait().is_ok());
}

#[test]
fn a_request_expires_if_it_cannot_start() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m.onnx", onnx::adder(1.0));
    let running = scene.start();
    running.devices[0].close();
    let first = running.queue(request("m", zeros(&[1, 2]))).unwrap();
    running.devices[0].wait_held(1);
    let mut asked = request("m", zeros(&[1, 2]));
    asked.timeout = Some(Duration::from_millis(1));
    let error = running.infer(asked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
    running.devices[0].open();
    assert!(first.wait().is_ok());
}

#[test]
fn shutting_down_answers_everyone() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m.onnx", onnx::adder(1.0));
    let running = scene.start();
    running.devices[0].close();
    let stuck = running.queue(request("m", zeros(&[1, 2]))).unwrap();
    let waiting = running.queue(request("m", zeros(&[1, 2]))).unwrap();
    running.devices[0].wait_held(1);
    running.engine.shutdown(Duration::ZERO);
    for pending in [stuck, waiting] {
        assert_eq!(pending.wait().unwrap_err().kind(), ErrorKind::Unavailable);
    }
    let error = running.queue(request("m", zeros(&[1, 2]))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!running.engine.is_ready());
}
