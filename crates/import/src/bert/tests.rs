//! Tests of the BERT importer, on a tiny encoder.

use super::import_bert;
use crate::{ImportError, Limits};
use bytes::Bytes;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use sublet_graph::{DType, Dim, Model, Op};

const HIDDEN: usize = 4;
const CONFIG: &str = r#"{
    "model_type": "bert", "hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1,
    "intermediate_size": 8, "vocab_size": 10, "max_position_embeddings": 6, "type_vocab_size": 2
}"#;

/// Names and shapes of the encoder's tensors.
fn shapes() -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let mut add = |name: &str, shape: &[usize]| shapes.insert(name.to_owned(), shape.to_vec());
    add("embeddings.word_embeddings.weight", &[10, HIDDEN]);
    add("embeddings.token_type_embeddings.weight", &[2, HIDDEN]);
    add("embeddings.position_embeddings.weight", &[6, HIDDEN]);
    for norm in ["embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"] {
        add(&format!("{norm}.LayerNorm.weight"), &[HIDDEN]);
        add(&format!("{norm}.LayerNorm.bias"), &[HIDDEN]);
    }
    let dense = [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", HIDDEN, 8),
        ("output.dense", 8, HIDDEN),
    ];
    for (name, from, to) in dense {
        add(&format!("encoder.layer.0.{name}.weight"), &[to, from]);
        add(&format!("encoder.layer.0.{name}.bias"), &[to]);
    }
    shapes
}

fn file(shapes: &BTreeMap<String, Vec<usize>>, dtype: Dtype) -> Bytes {
    let zeros = vec![0u8; 4096];
    let size = if dtype == Dtype::F32 { 4 } else { 2 };
    let views = shapes.iter().map(|(name, shape)| {
        let len = shape.iter().product::<usize>() * size;
        let view = TensorView::new(dtype, shape.clone(), &zeros[..len]).expect("a view");
        (name.as_str(), view)
    });
    safetensors::serialize(views, None).expect("a file").into()
}

fn import(config: &str, file: Bytes) -> Result<Model, ImportError> {
    import_bert(config.as_bytes(), file, &Limits::default())
}

#[test]
fn builds_an_encoder_with_its_inputs_and_outputs() {
    let file = file(&shapes(), Dtype::F32);
    let model = import(CONFIG, file.clone()).unwrap();
    let names = |ids: Vec<_>| -> Vec<&str> {
        ids.into_iter().map(|id| model.graph.value(id).name.as_str()).collect()
    };
    let inputs = names(model.graph.inputs.iter().map(|input| input.value).collect());
    assert_eq!(inputs, ["input_ids", "attention_mask", "token_type_ids"]);
    assert_eq!(names(model.graph.outputs.clone()), ["last_hidden_state", "sentence_embedding"]);
    let named = |name: &str| Dim::Named(name.to_owned());
    let hidden = model.graph.value(model.graph.outputs[0]);
    let dims = vec![named("batch"), named("sequence"), Dim::Fixed(HIDDEN)];
    assert_eq!((hidden.dtype, hidden.dims.clone()), (Some(DType::F32), Some(dims)));
    let count = |wanted: &str| {
        let ops = model.graph.nodes.iter().map(|node| node.op.to_string());
        ops.filter(|op| op.starts_with(wanted)).count()
    };
    assert_eq!((count("Attention"), count("MatMul"), count("LayerNorm")), (1, 6, 3));
    // Weights point into the file.
    let range = file.as_ptr_range();
    let weight = model.weights.iter().find(|weight| weight.name.contains("query.weight")).unwrap();
    assert!(range.contains(&weight.bytes().as_ptr()));
}

#[test]
fn every_node_comes_after_what_it_reads() {
    let model = import(CONFIG, file(&shapes(), Dtype::F16)).unwrap();
    let graph = &model.graph;
    let mut known: Vec<bool> = graph.values.iter().map(|info| info.dtype.is_some()).collect();
    for &output in &graph.outputs {
        known[output.0 as usize] = false;
    }
    for node in &graph.nodes {
        for input in node.inputs.iter().flatten() {
            assert!(known[input.0 as usize], "{}", node.name);
        }
        for output in node.outputs.iter().flatten() {
            known[output.0 as usize] = true;
        }
    }
    // The sentence embedding is computed in single precision.
    assert!(graph.nodes.iter().any(|node| node.op == Op::Cast { to: DType::F32 }));
    assert_eq!(graph.value(graph.outputs[0]).dtype, Some(DType::F16));
    assert_eq!(graph.value(graph.outputs[1]).dtype, Some(DType::F32));
}

#[test]
fn heads_of_other_tasks_are_passed_over() {
    let mut prefixed: BTreeMap<String, Vec<usize>> =
        shapes().into_iter().map(|(name, shape)| (format!("bert.{name}"), shape)).collect();
    prefixed.insert("classifier.weight".to_owned(), vec![2, HIDDEN]);
    let model = import(CONFIG, file(&prefixed, Dtype::F32)).unwrap();
    assert!(model.weights.iter().all(|weight| !weight.name.contains("classifier")));
}

#[test]
fn configurations_that_do_not_fit_are_refused_by_key() {
    let cases = [
        ("\"bert\"", "\"gpt2\"", "config.json, key `model_type`: `gpt2` is not supported"),
        ("\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "does not divide"),
        ("\"num_attention_heads\": 2", "\"num_attention_heads\": 0", "not between 1"),
        ("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1000000", "`num_hidden_layers`"),
        ("\"num_hidden_layers\": 1", "\"num_hidden_layers\": -1", "config.json"),
        ("\"model_type\"", "\"hidden_act\": \"sine\", \"model_type\"", "`hidden_act`: `sine`"),
        ("\"model_type\"", "\"is_decoder\": true, \"model_type\"", "a decoder"),
        ("{", "[", "config.json"),
        (
            "\"model_type\"",
            "\"position_embedding_type\": \"relative_key\", \"model_type\"",
            "`relative_key`",
        ),
    ];
    for (from, to, expected) in cases {
        let config = CONFIG.replace(from, to);
        let message = import(&config, file(&shapes(), Dtype::F32)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let name = "encoder.layer.0.output.dense.weight";
    let mut missing = shapes();
    missing.remove(name);
    let message = import(CONFIG, file(&missing, Dtype::F32)).unwrap_err().to_string();
    assert_eq!(message, format!("tensor `{name}`: is missing"));
    let mut wrong = shapes();
    wrong.insert(name.to_owned(), vec![8, HIDDEN]);
    let message = import(CONFIG, file(&wrong, Dtype::F32)).unwrap_err().to_string();
    assert_eq!(message, format!("tensor `{name}`: has shape [8, 4], not [4, 8]"));
    let message = import(CONFIG, file(&shapes(), Dtype::I16)).unwrap_err().to_string();
    assert!(message.contains("element type I16 is not supported"), "{message}");
}

#[test]
fn broken_files_are_errors() {
    let whole = file(&shapes(), Dtype::F32);
    for len in 0..whole.len() {
        assert!(import(CONFIG, whole.slice(..len)).is_err(), "{len} bytes");
    }
    let mut huge_header = whole.to_vec();
    huge_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let result = import(CONFIG, huge_header.into());
    assert!(matches!(result, Err(ImportError::Limit { what: "bytes of header", .. })));
    let garbage = Bytes::from(vec![0xffu8; 100]);
    assert!(import(CONFIG, garbage).is_err());
}

/// A file with this header and so many bytes of data.
fn raw_file(header: &str, data: usize) -> Bytes {
    let len = (header.len() as u64).to_le_bytes();
    [&len[..], header.as_bytes(), &vec![0; data]].concat().into()
}

#[test]
fn entries_that_lie_about_their_data_are_refused_by_name() {
    let entry = |name: &str, dtype: &str, shape: &str, from: &str, to: &str| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let good = entry("a", "F32", "[2]", "0", "8");
    let max = u64::MAX.to_string();
    let cases = [
        ("past the end", entry("b", "F32", "[4]", "8", "24"), "at byte"),
        ("overlapping", entry("b", "F32", "[2]", "4", "12"), "tensor `b`"),
        ("the same twice", entry("b", "F32", "[2]", "0", "8"), "tensor `"),
        ("with a hole", entry("b", "F32", "[1]", "12", "16"), "tensor `b`"),
        ("backwards", entry("b", "F32", "[2]", "16", "8"), "tensor `b`"),
        ("enormous", entry("b", "F32", "[2]", "8", &max), "tensor `b`"),
        ("too short", entry("b", "F32", "[3]", "8", "16"), "tensor `b`"),
        ("overflowing", entry("b", "F64", "[4294967296,4294967296]", "8", "16"), "tensor `b`"),
        ("huge", entry("b", "F64", &format!("[{max}]"), "8", "16"), "tensor `b`"),
        ("negative", entry("b", "F32", "[-2]", "8", "16"), "at byte"),
        ("of no type", entry("b", "PICKLE", "[2]", "8", "16"), "at byte"),
        ("given twice", entry("a", "F32", "[2]", "8", "16"), "tensor `a`"),
        ("forging", entry("x\\nERROR", "F32", "[2]", "4", "12"), "tensor `x\\nERROR`"),
    ];
    for (what, bad, expected) in cases {
        let file = raw_file(&format!("{{{good},{bad}}}"), 8);
        let message = import(CONFIG, file).expect_err(what).to_string();
        assert!(message.contains(expected), "{what}: {message}");
        assert!(!message.contains(char::is_control), "{what}: {message:?}");
    }
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let message = import(CONFIG, raw_file(&deep, 0)).unwrap_err().to_string();
    assert!(message.contains("at byte"), "{message}");
}

#[test]
fn a_header_of_100_000_entries_is_read_and_refused() {
    let empty =
        |index: usize| format!(r#""t{index}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    let entries: Vec<String> = (0..100_000).map(empty).collect();
    let many = format!("{{{}}}", entries.join(","));
    let message = import(CONFIG, raw_file(&many, 0)).unwrap_err().to_string();
    assert!(message.contains("embeddings.word_embeddings.weight`: is missing"), "{message}");
    let limits = Limits { header_bytes: 1 << 20, ..Limits::default() };
    let result = import_bert(CONFIG.as_bytes(), raw_file(&many, 0), &limits);
    assert!(matches!(result, Err(ImportError::Limit { what: "bytes of header", .. })));
}
