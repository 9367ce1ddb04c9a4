//! Tables of right and wrong configurations.

use super::*;
use crate::{DynamicBatching, VersionPolicy};
use sublet_graph::{DType, Dim};

const FULL: &str = r#"
# An image classifier.
name: "resnet"
platform: 'onnxruntime' "_onnx"; max_batch_size: 0x10
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 3, -1, 224 ] format: FORMAT_NCHW },
  < name: "mask", data_type: TYPE_BOOL dims: 2 reshape { shape: [1, 2] } optional: true >
]
output { name: "y\x41\101\n\u00e9" data_type: TYPE_INT64 dims: [] label_filename: "l.txt" }
instance_group [ { count: 2 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 0 ] } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  priority_levels: 3 default_priority_level: 2
  default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 5000 max_queue_size: 7 }
}
version_policy: { specific: { versions: [1, 3] } }
parameters: { key: "k" value: { string_value: "v" } }
parameters { key: "k2" value { string_value: "v2" } }
default_model_filename: "net.onnx"
optimization { graph { level: 1 } cuda { graphs: true } }
model_warmup [ { name: "w" batch_size: 1 } ]
"#;

#[test]
fn reads_every_field() {
    let config = parse_config_text(FULL).unwrap();
    assert_eq!(config.name.as_deref(), Some("resnet"));
    assert_eq!(config.platform.as_deref(), Some("onnxruntime_onnx"));
    assert_eq!(config.max_batch_size, Some(16));
    assert_eq!(config.inputs.len(), 2);
    assert_eq!(config.inputs[0].dims, Some(vec![3, -1, 224]));
    assert_eq!(config.inputs[1].dims, Some(vec![2]));
    assert_eq!(config.inputs[1].reshape, Some(vec![1, 2]));
    assert_eq!(config.inputs[1].dtype, Some(DType::Bool));
    assert!(config.inputs[1].optional);
    assert_eq!(config.outputs[0].name, "yAA\né");
    assert_eq!(config.instance_count, Some(3));
    assert_eq!(
        config.dynamic_batching,
        Some(DynamicBatching {
            preferred: vec![4, 8],
            max_queue_delay_us: 100,
            default_priority: 2,
            priority_levels: 3,
            default_timeout_us: 5000,
            max_queue_size: 7,
        })
    );
    assert_eq!(config.version_policy, Some(VersionPolicy::Specific(vec![1, 3])));
    assert_eq!(config.parameters["k2"], "v2");
    assert_eq!(config.default_model_filename.as_deref(), Some("net.onnx"));
    assert_eq!(parse_config_text("").unwrap(), ConfigText::default());
}

#[test]
fn json_means_the_same() {
    let json = r#"{"name": "m", "maxBatchSize": 8, "version_policy": {"latest": {"num_versions": 2}},
        "input": [{"name": "x", "data_type": "TYPE_FP16", "dims": ["3", -1]}],
        "instance_group": [{"count": 1, "kind": "KIND_CPU"}], "response_cache": null,
        "parameters": {"Some.Key": {"string_value": "v"}}}"#;
    let config = parse_config_json(json).unwrap();
    assert_eq!(config.max_batch_size, Some(8));
    assert_eq!(config.inputs[0].dims, Some(vec![3, -1]));
    assert_eq!(config.inputs[0].dtype, Some(DType::F16));
    assert_eq!(config.version_policy, Some(VersionPolicy::Latest { count: 2 }));
    assert_eq!(config.parameters["Some.Key"], "v");
    for (json, expect) in [
        ("[]", "(top): a JSON object"),
        ("{", "(top): not JSON"),
        (r#"{"input": [{"name": "x", "dims": [0]}]}"#, "input[0].dims[0]: a dimension is"),
        (r#"{"nam": "x"}"#, "nam: the model configuration has no field `nam`"),
        (r#"{"max_batch_size": "many"}"#, "max_batch_size: `max_batch_size` needs a whole number"),
    ] {
        let error = parse_config_json(json).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{json}: {error}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let deep = "a {".repeat(40);
    let long = " ".repeat(TEXT_BYTES_MAX + 1);
    let duplicate = "name: \"a\"\nname: \"b\"";
    for (text, expect) in [
        ("name \"x\"", "1:6: expected `:` or `{`, got \"x\""),
        ("\n  nam: 1", "2:3: the model configuration has no field `nam`"),
        ("name: \"x", "1:7: a string is not closed"),
        ("name: \"a\nb\"", "1:7: a string is not closed"),
        (r#"name: "\q""#, "1:8: unknown escape"),
        (r#"name: "\xff""#, "1:7: a string is not UTF-8"),
        ("max_batch_size: -1", "1:1: `max_batch_size` needs a number from 0 to 2147483647, got -1"),
        ("max_batch_size: 99999999999", "1:1: `max_batch_size` needs a number from"),
        ("max_batch_size: 1.5", "1:1: `max_batch_size` needs a whole number, got 1.5"),
        ("max_batch_size: 12monkeys", "1:17: `12monkeys` is not a number"),
        ("max_batch_size: 099", "1:17: `099` is not a number"),
        ("max_batch_size: ", "1:17: expected a value, got the end of the text"),
        ("max_batch_size: - x", "1:17: expected a number after `-`, got `x`"),
        ("input [ { name: \"x\" }", "1:22: expected `,` or `]`, got the end"),
        ("input { name: \"x\" ", "1:19: expected a field name or `}`, got the end"),
        ("input { name: \"x\" >", "1:19: expected a field name or `}`, got `>`"),
        ("input: 3", "1:1: `input` needs a message in braces, got 3"),
        ("input { dims: 1 }", "1:1: a tensor needs a `name`"),
        ("input { name: \"x\" dims: [1, 0] }", "1:29: a dimension is positive"),
        ("input { name: \"x\" dims: [-2] }", "1:26: `dims` needs a number from -1"),
        ("input { name: \"x\" data_type: TYPE_FP31 }", "1:19: `TYPE_FP31` is not a data type"),
        (
            "input { name: \"x\" data_type: \"TYPE_FP32\" }",
            "1:19: `data_type` needs a name without",
        ),
        ("version_policy { latest {} all {} }", "1:1: `version_policy` needs one of"),
        ("instance_group { kind: KIND_TPU }", "1:18: `kind` needs one of KIND_AUTO"),
        ("name: \"x\" }", "1:11: expected a field name, got `}`"),
        ("é: 1", "1:1: unexpected character 'é'"),
        ("name: tru", "1:1: `name` needs a quoted string, got `tru`"),
        (
            "dynamic_batching { default_priority_level: 2 }",
            "1:1: `default_priority_level` 2 is above",
        ),
        (duplicate, "2:1: `name` stands more than once"),
        (&long, "1:1: 1048577 bytes"),
        (&deep, "1:99: messages nest more than 32 deep"),
    ] {
        let error = parse_config_text(text).unwrap_err();
        assert!(error.to_string().starts_with(expect), "{text:.60}: {error}");
        assert!(!error.unsupported, "{text:.60}");
    }
}

#[test]
fn what_is_not_supported_is_said_so() {
    for text in [
        "ensemble_scheduling { step [] }",
        "sequence_batching {}",
        "input { name: \"x\" data_type: TYPE_STRING }",
        "input { name: \"x\" allow_ragged_batch: true }",
        "model_transaction_policy { decoupled: true }",
        "[some.extension]: 1",
    ] {
        assert!(parse_config_text(text).unwrap_err().unsupported, "{text}");
    }
}

/// A model with an input `x` of f32 `[N, 3]`, an optional input `k` of i64 `[]` and an output `y` of f32 `[N, ?]`.
fn model_file() -> ModelFile {
    let named = |name: &str| Dim::Named(name.into());
    let tensor = |name: &str, dtype, dims: Vec<Dim>, optional| FileTensor {
        name: name.into(),
        dtype: Some(dtype),
        dims: Some(dims),
        optional,
    };
    ModelFile {
        platform: "onnx",
        inputs: vec![
            tensor("x", DType::F32, vec![named("N"), Dim::Fixed(3)], false),
            tensor("k", DType::I64, vec![Dim::Unknown], true),
        ],
        outputs: vec![tensor("y", DType::F32, vec![named("N"), Dim::Unknown], false)],
    }
}

#[test]
fn fills_what_a_configuration_leaves_out() {
    let completed = complete("m", None, &model_file()).unwrap();
    assert_eq!(completed.config.max_batch_size, 0);
    assert_eq!(completed.config.inputs[0].dims, [-1, 3]);
    assert_eq!(completed.config.platform, "onnx");

    let text = r#"max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [3] }
        output { name: "y" dims: [5] }"#;
    let text = parse_config_text(text).unwrap();
    let completed = complete("m", Some(&text), &model_file()).unwrap();
    assert_eq!(completed.config.inputs[0].dims, [3]);
    assert_eq!(completed.inputs[0].metadata.dims, [Dim::Named("N".into()), Dim::Fixed(3)]);
    assert_eq!(completed.outputs[0].metadata.dims, [Dim::Named("N".into()), Dim::Fixed(5)]);
}

#[test]
fn a_configuration_must_agree_with_the_model() {
    for (text, expect) in [
        ("name: \"other\"", "for a model named `other`"),
        ("platform: \"tensorrt_plan\"", "platform `tensorrt_plan` is not supported"),
        ("backend: \"python\"", "backend `python` is not supported"),
        ("input { name: \"z\" }", "leaves out"),
        (
            "input { name: \"x\" } input { name: \"z\" }",
            "1:21: the model has no input `z`; it has x, k",
        ),
        ("input { name: \"x\" } input { name: \"x\" }", "stands more than once"),
        ("output { name: \"z\" }", "the model has no output `z`"),
        ("input { name: \"x\" data_type: TYPE_INT8 }", "is FP32 in the model file, INT8 in"),
        ("input { name: \"x\" dims: [-1, 4] }", "[N, 3] in the model file, [-1, 4] in"),
        ("input { name: \"x\" dims: [3] }", "[N, 3] in the model file, [3] in"),
        ("input { name: \"x\" dims: [-1, -1] }", "[N, 3] in the model file, [-1, -1] in"),
        ("input { name: \"x\" optional: true }", "no default"),
        ("dynamic_batching {}", "needs a `max_batch_size` above 0"),
        ("max_batch_size: 2 input { name: \"x\" dims: [2, 3] }", "which it leaves out"),
        (
            "input { name: \"x\" dims: [6] reshape { shape: [2, 4] } }",
            "[N, 3] in the model file, [2, 4]",
        ),
        ("input { name: \"x\" dims: [7] reshape { shape: [2, 3] } }", "equally many elements"),
        ("input { name: \"x\" reshape { shape: [2, 3] } }", "equally many elements"),
    ] {
        let parsed = parse_config_text(text).unwrap();
        let error = complete("m", Some(&parsed), &model_file()).unwrap_err().to_string();
        assert!(error.contains(expect), "{text}: {error}");
    }
    let mut fixed = model_file();
    fixed.inputs[0].dims = Some(vec![Dim::Fixed(1), Dim::Fixed(3)]);
    let text = parse_config_text("max_batch_size: 2").unwrap();
    let error = complete("m", Some(&text), &fixed).unwrap_err().to_string();
    assert!(error.contains("first dimension of 1"), "{error}");
}

#[test]
fn damaged_texts_are_answered() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut accepted = 0;
    for _ in 0..3000 {
        let mut bytes = FULL.as_bytes().to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = *random.choice(b"{}[]<>:,;\"'\\#-0x9\n\xc3").unwrap(),
                1 => bytes.truncate(at.max(1)),
                2 => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        accepted += usize::from(parse_config_text(&text).is_ok());
        assert!(parse_config_json(&text).is_err());
    }
    assert!((1..3000).contains(&accepted), "{accepted} accepted");
}
