//! Serving: swaps, batches, lost devices, statistics.

use crate::onnx;
use crate::scene::{Running, Scene, named, request, request_with};
use sublet_engine::{EngineEvent, ErrorKind, ModelState, Pending, Policy, RepositoryMode};
use sublet_graph::Literal;
use sublet_units::Bytes;

const WIDTH: usize = 128;

fn rows(count: usize, seed: usize) -> Literal {
    let values: Vec<f32> =
        (0..count * WIDTH).map(|i| ((i * 31 + seed * 17) % 101) as f32 / 101.0 - 0.5).collect();
    Literal::f32(&[count, WIDTH], &values)
}

fn output(running: &Running, model: &str, x: Literal) -> Literal {
    running.infer(request(model, x)).unwrap().outputs.remove(0).tensor
}

/// Models of 256 KiB each on devices that hold two: every output must be that of a model with a device to itself.
#[test]
fn outputs_are_equal_bit_for_bit_whatever_is_swapped() {
    let names = ["a", "b", "c", "d", "e"];
    let mut scene = Scene::new(RepositoryMode::None);
    for (seed, name) in names.iter().enumerate() {
        scene.write(&format!("{name}/1/model.onnx"), onnx::tower(seed as u64, 4, WIDTH));
    }
    let alone = scene.start();
    let expected: Vec<Vec<Literal>> = names
        .iter()
        .map(|name| (0..4).map(|i| output(&alone, name, rows(1 + i % 2, i))).collect())
        .collect();
    assert_eq!(alone.count(|event| matches!(event, EngineEvent::Evicted { .. })), 0);
    drop(alone);

    scene.memory = Bytes::from_kib(600);
    scene.devices = 2;
    for policy in Policy::ALL {
        scene.policy = policy;
        let running = scene.start();
        for round in 0..6 {
            let pending: Vec<(usize, usize, Pending)> = (0..names.len() * 4)
                .map(|i| {
                    let (model, input) = ((i * 7 + round) % names.len(), i % 4);
                    let x = rows(1 + input % 2, input);
                    (model, input, running.queue(request(names[model], x)).unwrap())
                })
                .collect();
            for (model, input, pending) in pending {
                let tensor = pending.wait().unwrap().outputs.remove(0).tensor;
                assert_eq!(
                    tensor, expected[model][input],
                    "{policy:?} model {model} input {input}"
                );
            }
        }
        let evicted = running.count(|event| matches!(event, EngineEvent::Evicted { .. }));
        let swapped = running.count(|event| matches!(event, EngineEvent::SwappedIn { .. }));
        assert!(evicted > 0 && swapped >= names.len(), "{policy:?}: {evicted}, {swapped}");
    }
}

#[test]
fn a_model_that_never_fits_is_refused_when_it_is_loaded() {
    let mut scene = Scene::new(RepositoryMode::None);
    scene.memory = Bytes::from_kib(256);
    scene.write("big.onnx", onnx::tower(1, 8, WIDTH));
    scene.write("small.onnx", onnx::adder(1.0));
    let running = scene.start();
    assert_eq!(running.added_by("small"), 1.0);
    let error = running.infer(request("big", rows(1, 1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("512.0 KiB of weights"), "{error}");
}

#[test]
fn batches_share_a_run_and_each_gets_its_rows() {
    let mut scene = Scene::new(RepositoryMode::None);
    scene.devices = 1;
    scene.write("m/1/model.onnx", onnx::adder(0.5));
    scene.write(
        "m/config.pbtxt",
        r#"max_batch_size: 8 input { name: "x" data_type: TYPE_FP32 dims: [2] }
           dynamic_batching { max_queue_delay_microseconds: 0 }"#,
    );
    let running = scene.start();
    running.devices[0].close();
    let ask = |value: f32, rows: usize| {
        running.queue(request("m", Literal::f32(&[rows, 2], &vec![value; rows * 2]))).unwrap()
    };
    // The first one occupies the only lane, so the others wait and are joined, up to eight rows.
    let first = ask(0.0, 1);
    running.devices[0].wait_held(1);
    let others: Vec<_> =
        [(1.0, 2), (2.0, 1), (3.0, 4), (4.0, 3)].map(|(v, n)| (v, n, ask(v, n))).into();
    running.devices[0].open();
    assert_eq!(first.wait().unwrap().timing.batch_rows, 1);
    for (value, rows, pending) in others {
        let response = pending.wait().unwrap();
        let tensor = &response.outputs[0].tensor;
        assert_eq!(tensor.shape(), [rows, 2]);
        assert_eq!(tensor.to_vec::<f32>(), vec![value + 0.5; rows * 2]);
    }
    assert_eq!(running.devices[0].launched(), [1, 3, 1]);
    let statistics = running.engine.statistics(Some("m"), None).unwrap().remove(0);
    assert_eq!((statistics.inference_count, statistics.execution_count), (11, 3));
    assert_eq!(statistics.success.count, 5);
    let sizes: Vec<_> = statistics.batches.iter().map(|batch| batch.batch_size).collect();
    assert_eq!(sizes, [1, 3, 7]);
}

#[test]
fn a_result_that_has_not_the_rows_of_its_request_is_refused() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m/1/model.onnx", onnx::two_rows());
    scene.write("m/config.pbtxt", "max_batch_size: 8 dynamic_batching { }");
    let running = scene.start();
    // Two such requests make a batch of two rows, of which each would get one.
    let error = running.infer(request("m", Literal::f32(&[1, 2], &[0.0; 2]))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("output `y` has shape [2]"), "{error}");
}

#[test]
fn results_whose_rows_only_a_run_tells_are_not_shared_out() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m/1/model.onnx", onnx::found());
    scene.write("m/config.pbtxt", "max_batch_size: 8 dynamic_batching { }");
    let running = scene.start();
    running.devices[0].close();
    let ask = |x: &[f32]| running.queue(request("m", Literal::f32(&[1, 2], x))).unwrap();
    let first = ask(&[0.0, 0.0]);
    running.devices[0].wait_held(1);
    let others = [ask(&[0.0, 1.0]), ask(&[1.0, 0.0])];
    running.devices[0].open();
    assert_eq!(first.wait().unwrap().outputs[0].tensor.shape(), [0, 2]);
    let found = others.map(|pending| pending.wait().unwrap().outputs.remove(0).tensor);
    assert_eq!(found, [Literal::i64(&[1, 2], &[0, 1]), Literal::i64(&[1, 2], &[0, 0])]);
    assert_eq!(running.devices[0].launched(), [1, 1, 1]);
}

#[test]
fn one_bad_request_does_not_fail_its_batch() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m/1/model.onnx", onnx::lookup());
    scene.write(
        "m/config.pbtxt",
        r#"max_batch_size: 8 input { name: "i" data_type: TYPE_INT64 dims: [] }
           dynamic_batching { }"#,
    );
    let running = scene.start();
    running.devices[0].close();
    let ask = |index: i64| {
        let input = named("i", Literal::i64(&[1], &[index]));
        running.queue(request_with("m", vec![input])).unwrap()
    };
    let first = ask(0);
    running.devices[0].wait_held(1);
    let others = [1, 99, 3].map(|index| (index, ask(index)));
    running.devices[0].open();
    assert!(first.wait().is_ok());
    for (index, pending) in others {
        match pending.wait() {
            Ok(response) => {
                assert_eq!(response.outputs[0].tensor.to_vec::<f32>(), [10.0 + index as f32]);
            }
            Err(error) => {
                assert_eq!((index, error.kind()), (99, ErrorKind::Invalid), "{error}");
            }
        }
    }
    assert_eq!(running.devices[0].launched(), [1, 3, 1, 1, 1]);
}

/// Once the model is being unloaded there is no second try, and whose fault it was nobody knows.
#[test]
fn a_batch_that_fails_while_its_model_is_unloaded_blames_nobody() {
    let mut scene = Scene::new(RepositoryMode::Explicit);
    scene.load_at_start = vec!["*".into()];
    scene.write("m/1/model.onnx", onnx::lookup());
    scene.write("m/config.pbtxt", "max_batch_size: 8 dynamic_batching { }");
    let running = scene.start();
    running.devices[0].close();
    let ask = |index: i64| {
        let input = named("i", Literal::i64(&[1], &[index]));
        running.queue(request_with("m", vec![input])).unwrap()
    };
    let first = ask(0);
    running.devices[0].wait_held(1);
    let others = [1, 99, 3].map(|index| (index, ask(index)));
    std::thread::scope(|scope| {
        let unloading = scope.spawn(|| running.engine.unload("m"));
        running.wait_until("the model drains", || {
            running.engine.index(false)[0].state == ModelState::Unloading
        });
        running.devices[0].open();
        unloading.join().unwrap().unwrap();
    });
    assert!(first.wait().is_ok());
    for (index, pending) in others {
        match pending.wait() {
            Ok(_) => assert_ne!(index, 99),
            Err(error) => assert!(index == 99 || error.kind() == ErrorKind::Unavailable, "{error}"),
        }
    }
}

#[test]
fn a_lost_device_fails_what_it_had_and_the_others_carry_on() {
    let mut scene = Scene::new(RepositoryMode::None);
    scene.devices = 2;
    scene.write("m.onnx", onnx::adder(1.0));
    let running = scene.start();
    running.devices.iter().for_each(|device| device.close());
    let pending: Vec<_> = (0..2)
        .map(|_| running.queue(request("m", Literal::f32(&[1, 2], &[0.0, 0.0]))).unwrap())
        .collect();
    let held = |device: usize| running.devices[device].launched().len();
    running.wait_until("a run is launched", || held(0) + held(1) > 0);
    let lost = usize::from(held(0) == 0);
    let before = held(lost);
    running.devices[lost].lose();
    running.devices[1 - lost].open();
    let failed = pending
        .into_iter()
        .map(Pending::wait)
        .filter(|answer| answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Internal));
    assert_eq!(failed.count(), before);
    assert!(!running.engine.is_ready());
    assert!(running.engine.is_model_ready("m", None));
    assert!(!running.engine.devices()[lost].alive);
    assert_eq!(running.added_by("m"), 1.0);
    assert_eq!(running.count(|event| matches!(event, EngineEvent::DeviceLost { .. })), 1);
}

#[test]
fn statistics_tell_cold_from_warm() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m.onnx", onnx::tower(1, 2, WIDTH));
    let running = scene.start();
    for _ in 0..3 {
        let mut asked = request("m", rows(1, 1));
        asked.slo = Some(std::time::Duration::from_secs(600));
        let response = running.infer(asked).unwrap();
        assert_eq!(response.version, 1);
    }
    let statistics = running.engine.statistics(None, None).unwrap().remove(0);
    assert_eq!((statistics.cold_starts, statistics.warm_starts), (1, 2));
    assert_eq!((statistics.swap_ins, statistics.weight_bytes), (1, Bytes::from_kib(128)));
    assert_eq!((statistics.with_deadline, statistics.met_deadline), (3, 3));
    assert_eq!(statistics.resident[0].1, Bytes::from_kib(128));
    assert_eq!(statistics.queue.count, 3);
    assert!(statistics.load_ns > 0 && statistics.last_inference_ms > 0);
    let device = running.engine.devices().remove(0);
    assert!(device.alive && device.usage.resident_bytes >= Bytes::from_kib(128));
    assert!(Bytes(u64::from(device.pages_free) * device.page_bytes.0) < device.memory_bytes);
}

/// Requests, cancellations, reloads and unloads from several threads, on devices that hold half of the models.
#[test]
fn every_answer_is_right_while_models_come_and_go() {
    let mut scene = Scene::new(RepositoryMode::Explicit);
    scene.memory = Bytes::from_kib(600);
    scene.devices = 2;
    scene.load_at_start = vec!["*".into()];
    for model in 0..4 {
        scene.write(&format!("m{model}/1/model.onnx"), onnx::tower(model, 4, WIDTH));
    }
    let running = scene.start();
    let expected: Vec<_> =
        (0..4).map(|model| output(&running, &format!("m{model}"), rows(2, model))).collect();
    let ask = |model: usize| running.queue(request(&format!("m{model}"), rows(2, model)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20 {
                let name = format!("m{}", round % 2);
                if round % 3 == 0 {
                    running.engine.unload(&name).unwrap();
                } else {
                    // The same weights under another hash, so that it is packed anew.
                    let tower = onnx::tower(round % 2, 4, WIDTH);
                    let renamed = [tower, vec![0x12, 1, b'a' + round as u8]].concat();
                    scene.write(&format!("{name}/1/model.onnx"), renamed);
                }
                running.engine.load(&name, Default::default()).unwrap();
            }
        });
        for client in 0..3 {
            let (ask, expected) = (&ask, &expected);
            scope.spawn(move || {
                for round in (client..1000).step_by(3) {
                    let model = round * 7 % 4;
                    match ask(model) {
                        Ok(pending) if round % 5 == 0 => drop(pending),
                        Ok(pending) => {
                            let response = pending.wait().unwrap();
                            assert_eq!(response.outputs[0].tensor, expected[model]);
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                    }
                }
            });
        }
    });
    for (model, expected) in expected.iter().enumerate() {
        assert_eq!(output(&running, &format!("m{model}"), rows(2, model)), *expected);
    }
}
