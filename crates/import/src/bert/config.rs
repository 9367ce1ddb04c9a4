//! `config.json` of a BERT model.

use crate::{ImportError, Place};
use serde::Deserialize;
use sublet_graph::Unary;

/// What the encoder needs to know, checked.
pub struct Config {
    pub name: String,
    pub hidden: usize,
    pub heads: usize,
    pub layers: usize,
    pub intermediate: usize,
    pub vocabulary: usize,
    pub positions: usize,
    pub token_types: usize,
    pub epsilon: f32,
    pub activation: Unary,
}

/// The file, with the defaults of Hugging Face's `BertConfig`.
#[derive(Deserialize)]
struct File {
    model_type: Option<String>,
    #[serde(default, rename = "_name_or_path")]
    name_or_path: String,
    #[serde(default = "default_hidden_size")]
    hidden_size: usize,
    #[serde(default = "default_num_attention_heads")]
    num_attention_heads: usize,
    #[serde(default = "default_num_hidden_layers")]
    num_hidden_layers: usize,
    #[serde(default = "default_intermediate_size")]
    intermediate_size: usize,
    #[serde(default = "default_vocab_size")]
    vocab_size: usize,
    #[serde(default = "default_max_position_embeddings")]
    max_position_embeddings: usize,
    #[serde(default = "default_type_vocab_size")]
    type_vocab_size: usize,
    #[serde(default = "default_layer_norm_eps")]
    layer_norm_eps: f32,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
}

fn default_hidden_size() -> usize {
    768
}

fn default_num_attention_heads() -> usize {
    12
}

fn default_num_hidden_layers() -> usize {
    12
}

fn default_intermediate_size() -> usize {
    3072
}

fn default_vocab_size() -> usize {
    30522
}

fn default_max_position_embeddings() -> usize {
    512
}

fn default_type_vocab_size() -> usize {
    2
}

fn default_layer_norm_eps() -> f32 {
    1e-12
}

/// Far above any model of this kind; keeps products of two sizes in range.
const SIZE_MAX: usize = 1 << 30;
const LAYERS_MAX: usize = 1024;

impl Config {
    pub fn read(json: &[u8]) -> Result<Self, ImportError> {
        let file: File = serde_json::from_slice(json)
            .map_err(|error| Place::Model.invalid(format!("config.json: {error}")))?;
        let key = |key: &str| Place::Config(key.to_owned());
        match file.model_type.as_deref() {
            Some("bert") => {}
            Some(other) => return Err(key("model_type").unsupported(format!("`{other}`"))),
            None => return Err(key("model_type").invalid("is missing")),
        }
        match file.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => {
                return Err(key("position_embedding_type").unsupported(format!("`{other}`")));
            }
        }
        if file.is_decoder || file.add_cross_attention {
            return Err(key("is_decoder").unsupported("a decoder"));
        }
        let activation = match file.hidden_act.as_deref() {
            None | Some("gelu") => Unary::Gelu { tanh: false },
            Some("gelu_new" | "gelu_pytorch_tanh") => Unary::Gelu { tanh: true },
            Some("relu") => Unary::Relu,
            Some("silu" | "swish") => Unary::Swish { alpha: 1.0 },
            Some(other) => return Err(key("hidden_act").unsupported(format!("`{other}`"))),
        };
        let sizes = [
            ("hidden_size", file.hidden_size, SIZE_MAX),
            ("num_attention_heads", file.num_attention_heads, SIZE_MAX),
            ("num_hidden_layers", file.num_hidden_layers, LAYERS_MAX),
            ("intermediate_size", file.intermediate_size, SIZE_MAX),
            ("vocab_size", file.vocab_size, SIZE_MAX),
            ("max_position_embeddings", file.max_position_embeddings, SIZE_MAX),
            ("type_vocab_size", file.type_vocab_size, SIZE_MAX),
        ];
        for (name, size, max) in sizes {
            if size == 0 || size > max {
                return Err(key(name).invalid(format!("{size} is not between 1 and {max}")));
            }
        }
        if !file.hidden_size.is_multiple_of(file.num_attention_heads) {
            return Err(key("num_attention_heads").invalid("does not divide hidden_size"));
        }
        if !file.layer_norm_eps.is_finite() || file.layer_norm_eps < 0.0 {
            return Err(key("layer_norm_eps").invalid("is not a small positive number"));
        }
        let name = file.name_or_path;
        Ok(Config {
            name: if name.is_empty() { "bert".to_owned() } else { name },
            hidden: file.hidden_size,
            heads: file.num_attention_heads,
            layers: file.num_hidden_layers,
            intermediate: file.intermediate_size,
            vocabulary: file.vocab_size,
            positions: file.max_position_embeddings,
            token_types: file.type_vocab_size,
            epsilon: file.layer_norm_eps,
            activation,
        })
    }
}
