//! Attacks and mistakes in the repository, and looking at models without serving them.

use crate::onnx;
use crate::scene::Scene;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use sublet_device_cpu::Evaluator;
use sublet_engine::{ErrorKind, InspectOptions, LoadOverride, RepositoryMode, inspect};
use sublet_units::Bytes;

#[test]
fn broken_models_are_refused_with_the_place() {
    let scene = Scene::new(RepositoryMode::Explicit);
    let outside = scene.folder.path().join("outside.bin");
    std::fs::write(&outside, [0; 64]).unwrap();
    let weights = [0u8; 16];
    for (name, location, offset) in [
        ("absolute", outside.to_str().unwrap(), "0"),
        ("escaping", "../../../outside.bin", "0"),
        ("missing", "nothing.bin", "0"),
        ("past_the_end", "w.bin", "12"),
        ("overflowing", "w.bin", "18446744073709551615"),
        ("not_a_number", "w.bin", "-1"),
        ("linked", "link.bin", "0"),
    ] {
        scene.write(&format!("{name}/1/model.onnx"), onnx::external(location, offset));
        scene.write(&format!("{name}/1/w.bin"), weights);
        symlink(&outside, scene.models().join(name).join("1/link.bin")).unwrap();
    }
    scene.write("good/1/model.onnx", onnx::external("w.bin", "8"));
    scene.write("good/1/w.bin", weights);
    scene.write("config/1/model.onnx", onnx::adder(1.0));
    scene.write("config/config.pbtxt", "input { name: \"x\" data_type: TYPE_INT8 }");
    scene.write("no_version/config.pbtxt", "");
    scene.write("empty_version/1/readme", "");
    symlink(scene.folder.path(), scene.models().join("linked_folder")).unwrap();
    let running = scene.start();
    for (name, kind, expect) in [
        ("absolute", ErrorKind::Invalid, "absolute"),
        ("escaping", ErrorKind::Invalid, "leaves the model's folder"),
        ("missing", ErrorKind::Invalid, "nothing.bin"),
        ("past_the_end", ErrorKind::Invalid, "8 bytes from 12 on, but the file has 16"),
        ("overflowing", ErrorKind::Invalid, "out of range"),
        ("not_a_number", ErrorKind::Invalid, "not a number"),
        ("linked", ErrorKind::Invalid, "a link leads out"),
        ("config", ErrorKind::Invalid, "is FP32 in the model file, INT8 in its configuration"),
        ("no_version", ErrorKind::NotFound, "no version"),
        ("empty_version", ErrorKind::NotFound, "1/model.onnx"),
        ("linked_folder", ErrorKind::Invalid, "a link leads out"),
        ("..", ErrorKind::Invalid, "is not a name"),
        ("a/b", ErrorKind::Invalid, "contains a slash"),
        ("nothing", ErrorKind::NotFound, "not in the repository"),
    ] {
        let error = running.engine.load(name, LoadOverride::default()).unwrap_err();
        assert!(error.to_string().contains(expect), "{name}: {error}");
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
    running.engine.load("good", LoadOverride::default()).unwrap();
    let ready: Vec<_> = running.engine.index(true).into_iter().map(|entry| entry.name).collect();
    assert_eq!(ready, ["good"]);
}

#[test]
fn a_model_can_be_looked_at_without_an_engine() {
    let scene = Scene::new(RepositoryMode::None);
    scene.write("m/1/model.onnx", onnx::tower(1, 2, 64));
    scene.write("m/2/model.onnx", onnx::tower(1, 3, 64));
    let options = |version, x: Option<Vec<usize>>| InspectOptions {
        repositories: vec![scene.models()],
        version,
        shapes: x.into_iter().map(|shape| ("x".to_owned(), shape)).collect::<BTreeMap<_, _>>(),
        model_bytes_max: Bytes::from_mib(1),
    };
    let look = |target: &str, options| inspect(target, &options, Arc::new(Evaluator));
    let newest = look("m", options(None, None)).unwrap();
    assert_eq!((newest.version, newest.platform), (2, "onnx"));
    assert_eq!(newest.layout.bytes, Bytes::from_kib(48));
    assert_eq!(newest.shapes, [("x".to_owned(), vec![1, 64])]);
    assert!(newest.report.nodes.0 >= newest.report.nodes.1);
    let older = look("m", options(Some(1), Some(vec![5, 64]))).unwrap();
    assert_eq!(older.plan.unwrap().outputs[0].shape, Some(vec![5, 64]));
    let path = scene.models().join("m/1/model.onnx");
    let file = look(path.to_str().unwrap(), options(None, Some(vec![5, 63]))).unwrap();
    assert!(file.plan.is_err());
    assert!(look("m", options(Some(9), None)).is_err());
    assert!(look("nothing", options(None, None)).is_err());
    let mut unknown = options(None, None);
    unknown.shapes.insert("z".into(), vec![1]);
    assert!(look("m", unknown).is_err());
}
