//! Valid inputs for each target, from which mutations start.

/// A tiny encoder's configuration.
pub const BERT_CONFIG: &str = r#"{"model_type":"bert","hidden_size":4,"num_attention_heads":2,
"num_hidden_layers":1,"intermediate_size":8,"vocab_size":10,"max_position_embeddings":8,"type_vocab_size":2,
"layer_norm_eps":1e-12,"hidden_act":"gelu"}"#;

const CONFIG: &str = r#"name: "simple" # a comment
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 16, -1 ] reshape { shape: [ 1, 16 ] } } ]
output { name: "y" data_type: TYPE_INT64 dims: [ ] }
instance_group [ { kind: KIND_CPU count: 2 } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 priority_levels: 2 }
version_policy: { specific { versions: [ 1, 3 ] } }
parameters { key: "a" value: { string_value: "b\n\x41" } }
"#;

/// Seed inputs of a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "onnx" => vec![
            sublet_catalog::rectifier(4),
            sublet_catalog::perceptron(1, 2, 4),
            sublet_catalog::convolutions(1, 1, 2),
        ],
        "config" => vec![
            CONFIG.into(),
            br#"{"name":"m","max_batch_size":2,"input":[{"name":"x","data_type":"TYPE_FP32","dims":["-1",3]}]}"#.to_vec(),
        ],
        "safetensors" => vec![
            safetensors(r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#, 16),
            safetensors(
                r#"{"__metadata__":{"format":"pt"},"embeddings.word_embeddings.weight":{"dtype":"F32","shape":[10,4],"data_offsets":[0,160]}}"#,
                160,
            ),
        ],
        "http" => vec![
            http(r#"{"id":"1","inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2.5,-3,4e2]}]}"#, &[]),
            http(
                r#"{"inputs":[{"name":"x","shape":[2],"datatype":"INT32","parameters":{"binary_data_size":8}}],"outputs":[{"name":"y","parameters":{"binary_data":true}}],"parameters":{"priority":1}}"#,
                &[1, 0, 0, 0, 2, 0, 0, 0],
            ),
            http(
                r#"{"inputs":[{"name":"s","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":7}}]}"#,
                &[3, 0, 0, 0, b'a', b'b', b'c'],
            ),
        ],
        other => panic!("no target {other}"),
    }
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(std::iter::repeat_n(1, data));
    file
}

fn http(header: &str, binary: &[u8]) -> Vec<u8> {
    let mut input = (header.len() as u16).to_le_bytes().to_vec();
    input.extend(header.bytes());
    input.extend(binary);
    input
}
