//! The life of models: loading, reloading, unloading, following the repository.

use crate::onnx;
use crate::scene::{Running, Scene, request};
use std::fs;
use std::time::Duration;
use sublet_engine::{EngineEvent, ErrorKind, LoadOverride, ModelState, RepositoryMode};
use sublet_graph::Literal;

fn load(running: &Running, model: &str) -> Result<(), sublet_engine::EngineError> {
    running.engine.load(model, LoadOverride::default())
}

fn zeros() -> Literal {
    Literal::f32(&[1, 2], &[0.0, 0.0])
}

fn state(running: &Running, model: &str) -> Vec<(Option<u64>, ModelState, String)> {
    let entries = running.engine.index(false).into_iter().filter(|entry| entry.name == model);
    entries.map(|entry| (entry.version, entry.state, entry.reason)).collect()
}

#[test]
fn a_reload_switches_and_a_failed_one_changes_nothing() {
    let scene = Scene::new(RepositoryMode::Explicit);
    scene.write("m/1/model.onnx", onnx::adder(1.0));
    let running = scene.start();
    load(&running, "m").unwrap();
    assert_eq!(running.added_by("m"), 1.0);

    scene.write("m/1/model.onnx", onnx::adder(2.0));
    assert_eq!(running.added_by("m"), 1.0, "nothing changes before a load is asked for");
    load(&running, "m").unwrap();
    assert_eq!(running.added_by("m"), 2.0);

    for (broken, kind, expect) in [
        (onnx::unsupported(), ErrorKind::Unsupported, "Teleport"),
        (b"garbage".to_vec(), ErrorKind::Invalid, "model `m` version `1`: 1/model.onnx: "),
        (onnx::adder(3.0)[..40].to_vec(), ErrorKind::Invalid, "malformed"),
    ] {
        scene.write("m/1/model.onnx", broken);
        let error = load(&running, "m").unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expect), "{error}");
        assert_eq!(running.added_by("m"), 2.0);
        let shown = state(&running, "m");
        assert_eq!((shown.len(), shown[0].1), (1, ModelState::Ready));
        assert_eq!(shown[0].2, error.to_string());
    }
    scene.write("m/config.pbtxt", "max_batch_size: ");
    let error = load(&running, "m").unwrap_err();
    assert!(error.to_string().contains("config.pbtxt:1:17"), "{error}");
    assert_eq!(running.added_by("m"), 2.0);
}

#[test]
fn an_unchanged_model_is_left_as_it_is() {
    let scene = Scene::new(RepositoryMode::Explicit);
    scene.write("m/1/model.onnx", onnx::adder(1.0));
    let running = scene.start();
    load(&running, "m").unwrap();
    load(&running, "m").unwrap();
    let ready = |event: &EngineEvent| {
        matches!(event, EngineEvent::Changed { state: ModelState::Ready, .. })
    };
    assert_eq!(running.count(ready), 1);
}

#[test]
fn versions_follow_the_policy() {
    let scene = Scene::new(RepositoryMode::Explicit);
    for version in 1..=3 {
        scene.write(&format!("m/{version}/model.onnx"), onnx::adder(version as f32));
    }
    let running = scene.start();
    let served = || running.engine.metadata("m", None).unwrap().versions.clone();
    load(&running, "m").unwrap();
    assert_eq!(served(), [3]);
    scene.write("m/config.pbtxt", "version_policy { all {} }");
    load(&running, "m").unwrap();
    assert_eq!(served(), [1, 2, 3]);
    assert_eq!(running.added_by("m"), 3.0);
    scene.write("m/config.pbtxt", "version_policy { specific { versions: [1, 2] } }");
    load(&running, "m").unwrap();
    assert_eq!(served(), [1, 2]);
    assert_eq!(running.added_by("m"), 2.0);
    running.wait_for("version 3 has gone", |event| {
        matches!(event, EngineEvent::Changed { version: 3, state: ModelState::Unavailable, .. })
    });
    let mut asked = request("m", zeros());
    asked.version = Some(1);
    assert_eq!(running.infer(asked).unwrap().outputs[0].tensor.to_vec::<f32>()[0], 1.0);

    // All or nothing: one broken version keeps the others from changing.
    scene.write("m/config.pbtxt", "version_policy { all {} }");
    scene.write("m/1/model.onnx", onnx::adder(10.0));
    scene.write("m/2/model.onnx", "broken");
    assert!(load(&running, "m").is_err());
    assert_eq!(served(), [1, 2]);
    assert_eq!(running.added_by("m"), 2.0);
}

#[test]
fn unloading_waits_for_what_is_in_flight() {
    let scene = Scene::new(RepositoryMode::Explicit);
    scene.write("m.onnx", onnx::adder(1.0));
    let running = scene.start();
    load(&running, "m").unwrap();
    running.devices[0].close();
    let in_flight = running.queue(request("m", zeros())).unwrap();
    running.devices[0].wait_held(1);
    let waiting = running.queue(request("m", zeros())).unwrap();
    let engine = running.engine.clone();
    let unloading = std::thread::spawn(move || engine.unload("m"));
    running.wait_for("it is being unloaded", |event| {
        matches!(event, EngineEvent::Changed { state: ModelState::Unloading, .. })
    });
    let error = running.queue(request("m", zeros())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!unloading.is_finished());
    running.devices[0].open();
    assert!(in_flight.wait().is_ok());
    assert!(waiting.wait().is_ok());
    unloading.join().unwrap().unwrap();
    assert_eq!(state(&running, "m"), [(Some(1), ModelState::Unavailable, "unloaded".into())]);
    load(&running, "m").unwrap();
    assert_eq!(running.added_by("m"), 1.0);
    assert_eq!(running.engine.unload("nothing").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_reload_while_requests_run_loses_none() {
    let scene = Scene::new(RepositoryMode::Explicit);
    scene.write("m.onnx", onnx::adder(1.0));
    let running = scene.start();
    load(&running, "m").unwrap();
    running.devices[0].close();
    let old = running.queue(request("m", zeros())).unwrap();
    running.devices[0].wait_held(1);
    scene.write("m.onnx", onnx::adder(2.0));
    load(&running, "m").unwrap();
    let new = running.queue(request("m", zeros())).unwrap();
    running.devices[0].open();
    let first = |pending: sublet_engine::Pending| {
        pending.wait().unwrap().outputs[0].tensor.to_vec::<f32>()[0]
    };
    assert_eq!((first(old), first(new)), (1.0, 2.0));
}

#[test]
fn poll_mode_follows_the_repository() {
    let scene = Scene::new(RepositoryMode::Poll { every: Duration::from_millis(5) });
    scene.write("m/1/model.onnx", onnx::adder(1.0));
    scene.write("broken.onnx", "broken");
    let running = scene.start();
    assert_eq!(running.added_by("m"), 1.0);
    let refused = running.engine.load("m", LoadOverride::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);

    scene.write("m/1/model.onnx", onnx::adder(2.0));
    running.wait_until("the change is served", || running.added_by("m") == 2.0);
    scene.write("m/2/model.onnx", onnx::adder(3.0));
    running.wait_until("the new version is served", || running.added_by("m") == 3.0);
    scene.write("late.onnx", onnx::adder(4.0));
    running.wait_until("the new model is served", || running.engine.is_model_ready("late", None));
    scene.write("broken.onnx", onnx::adder(5.0));
    running
        .wait_until("the mended model is served", || running.engine.is_model_ready("broken", None));
    fs::remove_file(scene.models().join("late.onnx")).unwrap();
    running.wait_until("the removed model is forgotten", || state(&running, "late").is_empty());
}

#[test]
fn a_load_may_bring_its_own_configuration_and_files() {
    let scene = Scene::new(RepositoryMode::Explicit);
    scene.write("m/1/model.onnx", onnx::adder(1.0));
    let running = scene.start();
    let config_json = Some(r#"{"max_batch_size": 4, "parameters": {"k": {"string_value": "v"}}}"#);
    let over = LoadOverride { config_json: config_json.map(Into::into), ..LoadOverride::default() };
    running.engine.load("m", over.clone()).unwrap();
    let config = running.engine.config("m", None).unwrap();
    assert_eq!((config.max_batch_size, config.parameters["k"].as_str()), (4, "v"));

    let files = [("7/model.onnx".to_owned(), onnx::adder(7.0).into())];
    let over = LoadOverride { files: files.into(), ..LoadOverride::default() };
    running.engine.load("elsewhere", over.clone()).unwrap();
    assert_eq!(running.added_by("elsewhere"), 7.0);
    assert_eq!(running.engine.load("../x", over).unwrap_err().kind(), ErrorKind::Invalid);
    let bad = LoadOverride { config_json: Some("{".into()), ..LoadOverride::default() };
    assert_eq!(running.engine.load("m", bad).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(running.engine.config("m", None).unwrap().max_batch_size, 4);
}

#[test]
fn a_second_start_takes_packed_models_from_the_store() {
    let mut scene = Scene::new(RepositoryMode::Explicit);
    scene.load_at_start = vec!["*".into()];
    scene.write("m/1/model.onnx", onnx::external("w.bin", "4"));
    scene.write("m/1/w.bin", [0.0f32, 1.0, 2.0].map(f32::to_le_bytes).concat());
    let packed = || {
        let files = fs::read_dir(scene.folder.path().join("store")).unwrap().flatten();
        let names = files.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".safetensors")).collect();
        names.sort();
        names
    };
    let check = |expect: &[f32]| {
        let running = scene.start();
        assert_eq!(running.run("m", &[2], &[0.0, 0.0]), expect);
        packed()
    };
    let first = check(&[1.0, 2.0]);
    assert_eq!(first.len(), 1);
    let path = scene.folder.path().join("store").join(&first[0]);
    assert_eq!(check(&[1.0, 2.0]), first);
    fs::write(&path, "broken").unwrap();
    assert_eq!(check(&[1.0, 2.0]), first, "made again");
    sublet_engine::check_packed(&fs::read(&path).unwrap()).unwrap();
    scene.write("m/1/w.bin", [0.0f32, 3.0, 4.0].map(f32::to_le_bytes).concat());
    let changed = check(&[3.0, 4.0]);
    assert_eq!(changed.len(), 1, "the old one is removed");
    assert_ne!(changed, first);
}

#[test]
fn shutting_down_while_loading_is_clean() {
    let scene = Scene::new(RepositoryMode::Explicit);
    for model in 0..8 {
        scene.write(&format!("m{model}.onnx"), onnx::tower(model, 2, 128));
    }
    let running = scene.start();
    let loads: Vec<_> = (0..8)
        .map(|model| {
            let engine = running.engine.clone();
            std::thread::spawn(move || engine.load(&format!("m{model}"), LoadOverride::default()))
        })
        .collect();
    running.engine.shutdown(Duration::from_secs(60));
    for load in loads {
        // Either it was in time or it was told.
        if let Err(error) = load.join().unwrap() {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
    }
}
