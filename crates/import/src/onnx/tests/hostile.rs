//! Files that are broken on purpose get an error: no panic, no deep recursion, no large allocation.

use super::build::*;
use crate::onnx::import_onnx;
use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::{GraphProto, ModelProto, StringStringEntryProto};
use crate::{ImportError, Limits, NoExternalData};
use bytes::Bytes;
use prost::Message;

fn import_bytes(file: impl Into<Bytes>) -> Result<sublet_graph::Model, ImportError> {
    import_onnx(file.into(), &NoExternalData, &Limits::default())
}

/// A model with something of everything.
fn rich() -> ModelProto {
    let body = graph(&["i", "c", "s"], vec![node("Add", &["s", "w"], &["t"])], &["c", "t"]);
    let nodes = vec![
        node("Conv", &["x", "k"], &["a"]).with("pads", &[1i64, 1][..]).with("auto_pad", "NOTSET"),
        node("f", &["a"], &["b"]).of("local"),
        node("Loop", &["m", "", "b"], &["z"]).with("body", body),
        node("Constant", &[], &["m"]).with("value", i64s("", &[], &[3])),
    ];
    let mut graph = main_graph(&["x"], nodes, &["z"], DataType::Float);
    graph.initializer = vec![f32s("w", &[2], &[1.0, 2.0]), f32s("k", &[1, 3, 3], &[0.5; 9])];
    let mut model = model(16, graph);
    model.functions.push(function("f", &["a"], &["r"], vec![node("Relu", &["a"], &["r"])]));
    model
}

#[test]
fn every_truncation_is_an_error_or_a_smaller_model() {
    let file = rich().encode_to_vec();
    import_bytes(file.clone()).expect("the whole file is fine");
    let file = Bytes::from(file);
    let mut refused = 0;
    for len in 0..file.len() {
        refused += usize::from(import_bytes(file.slice(..len)).is_err());
    }
    // Cutting between the model's last fields leaves a model without them.
    assert!(refused > file.len() * 9 / 10, "{refused} of {}", file.len());
}

#[test]
fn changed_bytes_never_panic() {
    let file = rich().encode_to_vec();
    for at in 0..file.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut file = file.clone();
            file[at] ^= change;
            let _ = import_bytes(file);
        }
    }
}

#[test]
fn garbage_never_panics() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for len in 0..600 {
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        };
        let file: Vec<u8> = (0..len).map(|_| next()).collect();
        assert!(import_bytes(file).is_err());
    }
    assert!(import_bytes(&b"PK\x03\x04"[..]).is_err());
    assert!(import_bytes(&b""[..]).is_err());
}

#[test]
fn malformed_files_name_the_byte() {
    let mut file = rich().encode_to_vec();
    let len = file.len() as u64;
    file.push(0x3a);
    match import_bytes(file) {
        Err(ImportError::Malformed { offset, .. }) => assert_eq!(offset, len + 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn deep_nesting_is_refused() {
    let mut body = graph(&["i", "c", "s"], Vec::new(), &["c", "s"]);
    for _ in 0..20 {
        let inner = node("Loop", &["", "", "s"], &["o"]).with("body", body);
        body = graph(&["i", "c", "s"], vec![inner], &["c", "o"]);
    }
    let nodes = vec![node("Loop", &["", "", "x"], &["z"]).with("body", body)];
    let nested = model(16, main_graph(&["x"], nodes, &["z"], DataType::Float));
    assert!(matches!(import(&nested), Err(ImportError::Limit { .. })), "{:?}", import(&nested));

    // Ten thousand graphs in one another, by hand: the encoder would overflow its own stack.
    let mut file = Vec::new();
    for depth in 0..10_000 {
        let mut outer = vec![if depth == 9_999 { 0x3a } else { [0x32, 0x2a, 0x0a][depth % 3] }];
        prost::encoding::encode_varint(file.len() as u64, &mut outer);
        outer.extend_from_slice(&file);
        file = outer;
    }
    assert!(import_bytes(file).is_err());
}

#[test]
fn a_long_chain_needs_no_stack() {
    let mut nodes = Vec::new();
    let names: Vec<String> = (0..=20_000).map(|index| format!("v{index}")).collect();
    for pair in names.windows(2).rev() {
        nodes.push(node("Abs", &[&pair[0]], &[&pair[1]]));
    }
    let graph = main_graph(&["v0"], nodes, &["v20000"], DataType::Float);
    assert_eq!(imported(&model(13, graph)).graph.nodes.len(), 20_000);
}

#[test]
fn limits_hold() {
    let file = Bytes::from(rich().encode_to_vec());
    let limited = |limits: Limits| match import_onnx(file.clone(), &NoExternalData, &limits) {
        Err(ImportError::Limit { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let limits = Limits::default;
    assert_eq!(limited(Limits { nodes: 4, ..limits() }), "nodes");
    assert_eq!(limited(Limits { nesting: 0, ..limits() }), "nested graphs and functions");
    assert_eq!(limited(Limits { weights_bytes: 40, ..limits() }), "bytes of weights");
    assert_eq!(limited(Limits { decoded_bytes: 500, ..limits() }), "bytes of description");
}

#[test]
fn an_empty_graph_is_a_model_without_outputs() {
    let model = imported(&model(13, GraphProto::default()));
    assert!(model.graph.nodes.is_empty() && model.graph.outputs.is_empty());
}

#[test]
fn a_hundred_thousand_weights_and_entries_are_read() {
    let names: Vec<String> = (0..100_000).map(|index| format!("w{index}")).collect();
    let nodes = vec![node("Add", &["x", "w99999"], &["z"])];
    let mut graph = main_graph(&["x"], nodes, &["z"], DataType::Float);
    graph.initializer = names.iter().map(|name| f32s(name, &[], &[1.0])).collect();
    let mut many = model(13, graph);
    let entry = |name: &String| StringStringEntryProto { key: name.clone(), value: name.clone() };
    many.metadata_props = names.iter().map(entry).collect();
    assert_eq!(imported(&many).graph.nodes.len(), 1);
    let limits = Limits { decoded_bytes: 8 << 20, ..Limits::default() };
    let result = import_onnx(many.encode_to_vec().into(), &NoExternalData, &limits);
    assert!(matches!(result, Err(ImportError::Limit { what: "bytes of description", .. })));
}
