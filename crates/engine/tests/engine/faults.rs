//! Faults in the middle of a load: files that change, devices that run out of memory, an engine that stops. And what
//! hostile model files may not do: speak in log lines, or be run as code.

use crate::onnx;
use crate::scene::{PATIENCE, Scene, request};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use sublet_device_cpu::Evaluator;
use sublet_engine::{
    EngineEvent, ErrorKind, InferRequest, LoadOverride, ModelState, RepositoryMode, SwapCause,
};
use sublet_graph::{Evaluate, EvaluateError, Literal, Op};

/// Computes constants, but waits before each while it is closed: a load stands still in its middle.
#[derive(Default)]
struct GatedEvaluator {
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    waiting: usize,
}

impl GatedEvaluator {
    fn close(&self) {
        self.gate.lock().unwrap().closed = true;
    }

    fn open(&self) {
        self.gate.lock().unwrap().closed = false;
        self.changed.notify_all();
    }

    fn wait_for_a_load(&self) {
        self.wait_for_loads(1);
    }

    /// Waits until so many loads are held.
    fn wait_for_loads(&self, count: usize) {
        let gate = self.gate.lock().unwrap();
        let fewer = |gate: &mut Gate| gate.waiting < count;
        let (_gate, timeout) = self.changed.wait_timeout_while(gate, PATIENCE, fewer).unwrap();
        assert!(!timeout.timed_out(), "too few loads compute constants");
    }
}

impl Evaluate for GatedEvaluator {
    fn evaluate(
        &self,
        op: &Op,
        inputs: &[Option<&Literal>],
        outputs: usize,
    ) -> Result<Vec<Literal>, EvaluateError> {
        let mut gate = self.gate.lock().unwrap();
        gate.waiting += 1;
        self.changed.notify_all();
        let (mut gate, timeout) =
            self.changed.wait_timeout_while(gate, PATIENCE, |gate| gate.closed).unwrap();
        assert!(!timeout.timed_out(), "the gate stays closed");
        gate.waiting -= 1;
        drop(gate);
        Evaluator.evaluate(op, inputs, outputs)
    }
}

#[test]
fn files_that_change_while_a_model_is_loaded_are_refused() {
    let scene = Scene::new(RepositoryMode::Explicit);
    scene.write("m/1/model.onnx", onnx::folded(1.0));
    scene.write("m/1/b.bin", onnx::folded_file(0.5));
    scene.write("other.onnx", onnx::adder(7.0));
    let evaluator = Arc::new(GatedEvaluator::default());
    let running = scene.start_with(evaluator.clone());
    let load = |model: &str| running.engine.load(model, LoadOverride::default());
    load("m").unwrap();
    load("other").unwrap();
    assert_eq!(running.added_by("m"), 1.5);
    for (a, file, contents) in
        [(2.0, "m/1/model.onnx", onnx::folded(5.0)), (3.0, "m/1/b.bin", onnx::folded_file(0.25))]
    {
        scene.write("m/1/model.onnx", onnx::folded(a));
        scene.write("m/1/b.bin", onnx::folded_file(0.75));
        evaluator.close();
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| load("m"));
            evaluator.wait_for_a_load();
            // A load that takes long holds nobody up.
            assert_eq!((running.added_by("m"), running.added_by("other")), (1.5, 7.0));
            scene.write(file, contents);
            evaluator.open();
            let error = loading.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains("changed while"), "{file}: {error}");
        });
        assert_eq!(running.added_by("m"), 1.5, "the old version keeps serving");
        assert!(running.engine.is_model_ready("m", None));
    }
    load("m").unwrap();
    assert_eq!(running.added_by("m"), 3.25);
}

#[test]
fn stopping_in_the_middle_of_a_load_tells_who_waits() {
    let scene = Scene::new(RepositoryMode::Explicit);
    for model in ["m", "next"] {
        scene.write(&format!("{model}/1/model.onnx"), onnx::folded(1.0));
        scene.write(&format!("{model}/1/b.bin"), onnx::folded_file(0.5));
    }
    let evaluator = Arc::new(GatedEvaluator::default());
    let running = scene.start_with(evaluator.clone());
    evaluator.close();
    std::thread::scope(|scope| {
        let load = |model: &'static str| {
            let engine = running.engine.clone();
            scope.spawn(move || engine.load(model, LoadOverride::default()))
        };
        let loads = [load("m"), load("next")];
        evaluator.wait_for_a_load();
        let stopping = scope.spawn(|| running.engine.shutdown(Duration::from_secs(60)));
        running.wait_until("the engine stops", || !running.engine.is_ready());
        evaluator.open();
        stopping.join().unwrap();
        for load in loads {
            if let Err(error) = load.join().unwrap() {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            }
        }
    });
    let late = running.engine.load("next", LoadOverride::default()).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
}

/// With the models before it still to come, a request brings its model to the front and waits for it.
#[test]
fn a_request_at_the_start_does_not_wait_for_other_models() {
    let mut scene = Scene::new(RepositoryMode::Explicit);
    scene.load_at_start = vec!["*".into()];
    for model in ["a", "b", "c", "d"] {
        scene.write(&format!("{model}/1/model.onnx"), onnx::folded(1.0));
        scene.write(&format!("{model}/1/b.bin"), onnx::folded_file(0.5));
    }
    scene.write("z.onnx", onnx::adder(7.0));
    let evaluator = Arc::new(GatedEvaluator::default());
    evaluator.close();
    let running = scene.begin_with(evaluator.clone());
    // Two threads load, and both are held by then.
    evaluator.wait_for_loads(2);
    let hurried = request("d", Literal::f32(&[1, 2], &[0.0, 0.0]));
    assert!(!running.engine.is_planned(&hurried), "it would wait");
    let impatient = InferRequest { timeout: Some(Duration::from_millis(1)), ..hurried.clone() };
    assert_eq!(running.queue(impatient).err().unwrap().kind(), ErrorKind::Unavailable);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| running.infer(hurried));
        evaluator.open();
        let response = asked.join().unwrap().unwrap();
        assert_eq!(response.outputs[0].tensor.to_vec::<f32>()[0], 1.5);
    });
    assert_eq!(running.added_by("z"), 7.0);
    let missing = request("nowhere", Literal::f32(&[1, 2], &[0.0, 0.0]));
    assert_eq!(running.queue(missing).err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn a_swap_in_that_runs_out_of_memory_is_rolled_back() {
    const WIDTH: usize = 256;
    let scene = Scene::new(RepositoryMode::None);
    scene.write("small.onnx", onnx::adder(1.0));
    // 2 MiB, in several segments.
    scene.write("big.onnx", onnx::tower(1, 8, WIDTH));
    let running = scene.start();
    assert_eq!(running.added_by("small"), 1.0);
    let x = || Literal::f32(&[1, WIDTH], &[0.25; WIDTH]);
    let pages_free = || running.engine.devices()[0].pages_free;
    let rolled_back = || {
        running.count(|event| {
            matches!(event, EngineEvent::Evicted { cause: SwapCause::LoadFailed, .. })
        })
    };
    let before = pages_free();
    running.devices[0].break_loads(u32::MAX);
    let error = running.infer(request("big", x())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(error.to_string().contains("out of device memory"), "{error}");
    running.wait_until("what had come is evicted", || rolled_back() > 0);
    running.wait_until("every page is given back", || pages_free() == before);
    assert_eq!(running.added_by("small"), 1.0, "what was resident stays");
    assert!(running.engine.is_ready());

    running.devices[0].break_loads(1);
    let retried = running.infer(request("big", x())).unwrap();
    running.devices[0].break_loads(0);
    let warm = running.infer(request("big", x())).unwrap();
    assert!(retried.timing.cold && !warm.timing.cold);
    assert_eq!(retried.outputs[0].tensor, warm.outputs[0].tensor);
    let statistics = running.engine.statistics(Some("big"), None).unwrap().remove(0);
    assert_eq!((statistics.pending, statistics.resident[0].1), (0, statistics.weight_bytes));
}

/// Errors end up in log lines and headers, so text from model files must not start lines of its own.
#[test]
fn names_in_model_files_cannot_forge_log_lines() {
    const FORGED: &str = "a\n2026-01-01 ERROR forged \x1b[31m";
    let scene = Scene::new(RepositoryMode::Explicit);
    let long = "n".repeat(1 << 20);
    for (model, file) in [
        ("node", onnx::odd(FORGED, "Teleport", &["x"])),
        ("operator", onnx::odd("n", FORGED, &["x"])),
        ("shapes", onnx::odd(FORGED, "Add", &["x", "w"])),
        ("long", onnx::odd(&long, "Add", &["x", "w"])),
        ("value", onnx::odd("n", "Add", &["x", FORGED])),
        ("location", onnx::external(FORGED, "0")),
        ("missing", onnx::external("b\n.bin", "0")),
        ("offset", onnx::external("w.bin", FORGED)),
    ] {
        scene.write(&format!("{model}/1/model.onnx"), file);
    }
    let config = |model: &str, text: &str| {
        scene.write(&format!("{model}/1/model.onnx"), onnx::adder(1.0));
        scene.write(&format!("{model}/config.pbtxt"), text);
    };
    config("field", &format!("max_batch_size: \"{FORGED}\""));
    config("token", "max_batch_size: \x1b");
    config("filename", "default_model_filename: \"a\\nERROR\"");
    config("input", "input { name: \"a\\nERROR\" data_type: TYPE_FP32 dims: [2] }");
    let running = scene.start();
    for model in [
        "node", "operator", "shapes", "long", "value", "location", "missing", "offset", "field",
        "token", "filename", "input", FORGED,
    ] {
        let error = running.engine.load(model, LoadOverride::default()).unwrap_err();
        let message = error.to_string();
        assert!(!message.contains(char::is_control), "{model}: {message:?}");
        assert!(message.len() < 10_000, "{model}: {} bytes", message.len());
    }
    for entry in running.engine.index(false) {
        assert_eq!(entry.state, ModelState::Unavailable, "{}", entry.name);
        assert!(!entry.reason.contains(char::is_control), "{:?}", entry.reason);
    }
}

/// A pickle is a program: no file of that kind is ever opened as a model.
#[test]
fn pickles_are_never_loaded() {
    const PICKLE: &[u8] = b"\x80\x04cposix\nsystem\nX\x04\0\0\0trueR.";
    let scene = Scene::new(RepositoryMode::Explicit);
    let config = r#"{"model_type": "bert", "hidden_size": 4, "num_attention_heads": 2,
        "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 10,
        "max_position_embeddings": 6, "type_vocab_size": 2}"#;
    for name in ["pytorch_model.bin", "model.pt", "model.pkl", "model.pth"] {
        scene.write(&format!("{name}/1/{name}"), PICKLE);
        scene.write(&format!("{name}/1/config.json"), config);
    }
    scene.write("as_onnx/1/model.onnx", PICKLE);
    scene.write("as_safetensors/1/model.safetensors", PICKLE);
    scene.write("as_safetensors/1/config.json", config);
    scene.write("named/1/model.pkl", PICKLE);
    scene.write("named/config.pbtxt", "default_model_filename: \"model.pkl\"");
    let running = scene.start();
    for (model, kind, expect) in [
        ("pytorch_model.bin", ErrorKind::NotFound, "model.safetensors"),
        ("model.pt", ErrorKind::NotFound, "model.safetensors"),
        ("model.pkl", ErrorKind::NotFound, "model.safetensors"),
        ("model.pth", ErrorKind::NotFound, "model.safetensors"),
        ("as_onnx", ErrorKind::Invalid, "malformed file"),
        ("as_safetensors", ErrorKind::Invalid, "model.safetensors"),
        ("named", ErrorKind::Invalid, "malformed file"),
    ] {
        let error = running.engine.load(model, LoadOverride::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{model}: {error}");
        assert!(error.to_string().contains(expect), "{model}: {error}");
    }
}
