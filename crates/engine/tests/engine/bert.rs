//! A Hugging Face folder, served: a tiny encoder with made-up weights.

use crate::scene::{Scene, named, request_with};
use safetensors::tensor::{Dtype, TensorView};
use sublet_engine::RepositoryMode;
use sublet_graph::Literal;

const CONFIG: &str = r#"{
    "model_type": "bert", "hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1,
    "intermediate_size": 8, "vocab_size": 10, "max_position_embeddings": 6, "type_vocab_size": 2
}"#;

fn weights() -> Vec<u8> {
    let mut tensors = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![10, 4]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, 4]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![6, 4]),
    ];
    for norm in ["embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"] {
        tensors.push((format!("{norm}.LayerNorm.weight"), vec![4]));
        tensors.push((format!("{norm}.LayerNorm.bias"), vec![4]));
    }
    for (name, from, to) in [
        ("attention.self.query", 4, 4),
        ("attention.self.key", 4, 4),
        ("attention.self.value", 4, 4),
        ("attention.output.dense", 4, 4),
        ("intermediate.dense", 4, 8),
        ("output.dense", 8, 4),
    ] {
        tensors.push((format!("encoder.layer.0.{name}.weight"), vec![to, from]));
        tensors.push((format!("encoder.layer.0.{name}.bias"), vec![to]));
    }
    let values: Vec<u8> =
        (0..64).flat_map(|i| ((i * 37 % 29) as f32 / 29.0 - 0.4).to_le_bytes()).collect();
    let view = |(name, shape): &(String, Vec<usize>)| {
        let len = 4 * shape.iter().product::<usize>();
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &values[..len]).unwrap())
    };
    safetensors::serialize(tensors.iter().map(view), None).unwrap()
}

#[test]
fn a_hugging_face_folder_is_served() {
    let scene = Scene::new(RepositoryMode::None);
    for folder in ["direct", "versions/3"] {
        scene.write(&format!("{folder}/config.json"), CONFIG);
        scene.write(&format!("{folder}/model.safetensors"), weights());
    }
    let running = scene.start();
    let embed = |model: &str, tokens: &[i64]| {
        let shape = [1, tokens.len()];
        let inputs = vec![
            named("input_ids", Literal::i64(&shape, tokens)),
            named("attention_mask", Literal::i64(&shape, &vec![1; tokens.len()])),
            named("token_type_ids", Literal::i64(&shape, &vec![0; tokens.len()])),
        ];
        let mut asked = request_with(model, inputs);
        asked.outputs = vec!["sentence_embedding".into()];
        running.infer(asked).unwrap()
    };
    let response = embed("direct", &[1, 5, 2]);
    assert_eq!(response.outputs[0].tensor.shape(), [1, 4]);
    let values: Vec<f32> = response.outputs[0].tensor.to_vec();
    let length: f32 = values.iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-5, "{values:?}");
    let other = embed("versions", &[1, 5, 2]);
    assert_eq!((other.version, &other.outputs[0].tensor), (3, &response.outputs[0].tensor));
    assert_ne!(embed("direct", &[1, 2]).outputs[0].tensor, response.outputs[0].tensor);
    assert_eq!(running.engine.metadata("direct", None).unwrap().platform, "bert");
}
