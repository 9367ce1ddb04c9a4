//! A Hugging Face BERT encoder (`config.json` and `model.safetensors`) → [`Model`].
//!
//! There is no graph in such a folder: it is written here, after Devlin et al., "BERT: Pre-training of Deep
//! Bidirectional Transformers" (2019), with the names of Hugging Face's `BertModel`.

mod config;
mod encoder;
mod weights;

#[cfg(test)]
mod tests;

use crate::{ImportError, Limits};
use bytes::Bytes;
use config::Config;
use encoder::Encoder;
use sublet_graph::Model;
use weights::Weights;

/// Reads a BERT encoder.
///
/// Inputs, all `i64 [batch, sequence]`: `input_ids`, `attention_mask` (1 for a token, 0 for padding),
/// `token_type_ids`. Outputs: `last_hidden_state [batch, sequence, hidden]` in the type of the weights, and
/// `sentence_embedding [batch, hidden]` in `f32`: the mean over the tokens of the mask, of length one, as
/// sentence-transformers computes it for its MiniLM models.
///
/// Weights keep pointing into `safetensors`.
pub fn import_bert(
    config_json: &[u8],
    safetensors: Bytes,
    limits: &Limits,
) -> Result<Model, ImportError> {
    let config = Config::read(config_json)?;
    let weights = Weights::open(safetensors, limits)?;
    Encoder::new(&config, weights).build()
}
