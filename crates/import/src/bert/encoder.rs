//! The graph of the encoder.

use super::config::Config;
use super::weights::Weights;
use crate::scalar::scalar;
use crate::{ImportError, Place};
use sublet_graph::{
    Attention, Binary, DType, Dim, Graph, GraphInput, Literal, Model, Node, Op, Reduce, Source,
    ValueId, ValueInfo,
};

pub struct Encoder<'c> {
    config: &'c Config,
    weights: Weights,
    model: Model,
    /// Type of the weights, which is that of the computation.
    dtype: DType,
}

/// Shortest length that an embedding is divided by, and fewest tokens, as sentence-transformers and PyTorch clamp.
const LENGTH_MIN: f32 = 1e-12;
const TOKENS_MIN: f32 = 1e-9;

impl<'c> Encoder<'c> {
    pub fn new(config: &'c Config, weights: Weights) -> Self {
        let model = Model {
            name: config.name.clone(),
            graph: Graph::default(),
            weights: Vec::new(),
            metadata: Vec::new(),
        };
        Encoder { config, weights, model, dtype: DType::F32 }
    }

    pub fn build(mut self) -> Result<Model, ImportError> {
        let ids = self.input("input_ids");
        let mask = self.input("attention_mask");
        let types = self.input("token_type_ids");
        let mut x = self.embeddings(ids, types)?;
        let bias = self.attention_bias(mask);
        for layer in 0..self.config.layers {
            x = self.layer(layer, x, bias)?;
        }
        let hidden = Dim::Fixed(self.config.hidden);
        let dims = vec![named("batch"), named("sequence"), hidden.clone()];
        self.output("last_hidden_state", x, self.dtype, dims);
        let embedding = self.sentence_embedding(x, mask);
        self.output("sentence_embedding", embedding, DType::F32, vec![named("batch"), hidden]);
        Ok(self.model)
    }

    fn embeddings(&mut self, ids: ValueId, types: ValueId) -> Result<ValueId, ImportError> {
        let Config { hidden, vocabulary, positions, token_types, .. } = *self.config;
        let word_table = "embeddings.word_embeddings.weight";
        let (name, literal) = self.weights.take(word_table, &[vocabulary, hidden])?;
        self.dtype = literal.dtype();
        let word_table = self.constant(name, literal);
        let words = self.node("embeddings/word", Op::Gather { axis: 0 }, &[word_table, ids]);

        let type_table =
            self.weight("embeddings.token_type_embeddings.weight", &[token_types, hidden])?;
        let kinds =
            self.node("embeddings/token_type", Op::Gather { axis: 0 }, &[type_table, types]);

        // Positions count from zero: the first rows of the table. (Where the sequence is longer than the table, the
        // sum below does not broadcast, which is an error.)
        let position_table =
            self.weight("embeddings.position_embeddings.weight", &[positions, hidden])?;
        let length = Op::Shape { start: 1, end: Some(2) };
        let length = self.node("embeddings/length", length, &[ids]);
        let zero = self.i64s("embeddings/zero", &[0]);
        let place =
            self.node("embeddings/position", Op::Slice, &[position_table, zero, length, zero]);

        let add = Op::Binary(Binary::Add);
        let sum = self.node("embeddings/sum", add.clone(), &[words, kinds]);
        let sum = self.node("embeddings/sum_position", add, &[sum, place]);
        self.layer_norm("embeddings.LayerNorm", sum)
    }

    /// `[batch, 1, 1, sequence]`: 0 for a token, the lowest number of the type for padding.
    fn attention_bias(&mut self, mask: ValueId) -> ValueId {
        let mask = self.node("mask/cast", Op::Cast { to: self.dtype }, &[mask]);
        let one = self.scalar("mask/one", 1.0);
        let hidden = self.node("mask/hidden", Op::Binary(Binary::Sub), &[one, mask]);
        let lowest = match self.dtype {
            DType::F16 => f32::from(half::f16::MIN),
            DType::BF16 => f32::from(half::bf16::MIN),
            _ => f32::MIN,
        };
        let lowest = self.scalar("mask/lowest", lowest);
        let bias = self.node("mask/bias", Op::Binary(Binary::Mul), &[hidden, lowest]);
        let axes = self.i64s("mask/axes", &[1, 2]);
        self.node("mask/unsqueeze", Op::Unsqueeze, &[bias, axes])
    }

    fn layer(&mut self, layer: usize, x: ValueId, bias: ValueId) -> Result<ValueId, ImportError> {
        let Config { hidden, intermediate, heads, activation, .. } = *self.config;
        let at = |part: &str| format!("encoder.layer.{layer}.{part}");
        let query = self.dense(&at("attention.self.query"), x, hidden, hidden)?;
        let key = self.dense(&at("attention.self.key"), x, hidden, hidden)?;
        let value = self.dense(&at("attention.self.value"), x, hidden, hidden)?;
        let attention = Op::Attention(Attention {
            scale: None,
            is_causal: false,
            q_num_heads: heads,
            kv_num_heads: heads,
            softcap: 0.0,
            qk_output_mode: 0,
        });
        let context = self.node(&at("attention"), attention, &[query, key, value, bias]);
        let attended = self.dense(&at("attention.output.dense"), context, hidden, hidden)?;
        let add = Op::Binary(Binary::Add);
        let sum = self.node(&at("attention.output.sum"), add.clone(), &[attended, x]);
        let x = self.layer_norm(&at("attention.output.LayerNorm"), sum)?;

        let wide = self.dense(&at("intermediate.dense"), x, hidden, intermediate)?;
        let wide = self.node(&at("intermediate.activation"), Op::Unary(activation), &[wide]);
        let narrow = self.dense(&at("output.dense"), wide, intermediate, hidden)?;
        let sum = self.node(&at("output.sum"), add, &[narrow, x]);
        self.layer_norm(&at("output.LayerNorm"), sum)
    }

    /// `x · weightᵀ + bias`; the file stores weights as `[out, in]`.
    fn dense(
        &mut self,
        name: &str,
        x: ValueId,
        from: usize,
        to: usize,
    ) -> Result<ValueId, ImportError> {
        let weight = self.weight(&format!("{name}.weight"), &[to, from])?;
        let bias = self.weight(&format!("{name}.bias"), &[to])?;
        let transpose = Op::Transpose { perm: vec![1, 0] };
        let weight = self.node(&format!("{name}.transpose"), transpose, &[weight]);
        let product = self.node(&format!("{name}.product"), Op::MatMul, &[x, weight]);
        Ok(self.node(name, Op::Binary(Binary::Add), &[product, bias]))
    }

    fn layer_norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, ImportError> {
        let scale = self.weight(&format!("{name}.weight"), &[self.config.hidden])?;
        let bias = self.weight(&format!("{name}.bias"), &[self.config.hidden])?;
        let op = Op::LayerNorm { axis: -1, epsilon: self.config.epsilon };
        Ok(self.node(name, op, &[x, scale, bias]))
    }

    /// The mean over the mask's tokens, divided by its length, in single precision.
    fn sentence_embedding(&mut self, x: ValueId, mask: ValueId) -> ValueId {
        let single = Op::Cast { to: DType::F32 };
        let x = match self.dtype {
            DType::F32 => x,
            _ => self.node("pooling/cast", single.clone(), &[x]),
        };
        let mask = self.node("pooling/mask", single, &[mask]);
        let last = self.i64s("pooling/last", &[2]);
        let mask = self.node("pooling/unsqueeze", Op::Unsqueeze, &[mask, last]);
        let tokens = self.node("pooling/tokens", Op::Binary(Binary::Mul), &[x, mask]);
        let axis = self.i64s("pooling/axis", &[1]);
        let total = self.node("pooling/total", reduce(Reduce::Sum, false), &[tokens, axis]);
        let count = self.node("pooling/count", reduce(Reduce::Sum, false), &[mask, axis]);
        let count = self.at_least("pooling/count_min", count, TOKENS_MIN);
        let mean = self.node("pooling/mean", Op::Binary(Binary::Div), &[total, count]);
        let length = self.node("pooling/length", reduce(Reduce::L2, true), &[mean, axis]);
        let length = self.at_least("pooling/length_min", length, LENGTH_MIN);
        self.node("pooling/normalise", Op::Binary(Binary::Div), &[mean, length])
    }

    fn at_least(&mut self, name: &str, x: ValueId, least: f32) -> ValueId {
        let least = self.constant(format!("{name}/value"), Literal::f32(&[], &[least]));
        self.node(name, Op::Binary(Binary::Max), &[x, least])
    }

    fn input(&mut self, name: &str) -> ValueId {
        let value = self.model.graph.add_value(ValueInfo {
            name: name.to_owned(),
            source: Source::Input,
            dtype: Some(DType::I64),
            dims: Some(vec![named("batch"), named("sequence")]),
        });
        self.model.graph.inputs.push(GraphInput { value, default: None });
        value
    }

    fn output(&mut self, name: &str, value: ValueId, dtype: DType, dims: Vec<Dim>) {
        let info = &mut self.model.graph.values[value.0 as usize];
        info.name = name.to_owned();
        info.dtype = Some(dtype);
        info.dims = Some(dims);
        self.model.graph.outputs.push(value);
    }

    /// A tensor of the file, which must be of the computation's type.
    fn weight(&mut self, name: &str, shape: &[usize]) -> Result<ValueId, ImportError> {
        let (name, literal) = self.weights.take(name, shape)?;
        if literal.dtype() != self.dtype {
            let what = format!("element type {} among weights of {}", literal.dtype(), self.dtype);
            return Err(Place::Tensor(name).unsupported(what));
        }
        Ok(self.constant(name, literal))
    }

    /// A constant of shape `[]` in the computation's type.
    fn scalar(&mut self, name: &str, value: f32) -> ValueId {
        let literal = scalar(self.dtype, value).expect("weights are of a floating-point type");
        self.constant(name.to_owned(), literal)
    }

    fn i64s(&mut self, name: &str, values: &[i64]) -> ValueId {
        self.constant(name.to_owned(), Literal::i64(&[values.len()], values))
    }

    fn constant(&mut self, name: String, literal: Literal) -> ValueId {
        let dtype = Some(literal.dtype());
        let dims = literal.shape().iter().map(|&dim| Dim::Fixed(dim)).collect();
        let weight = self.model.add_weight(name.clone(), literal);
        let source = Source::Weight(weight);
        self.model.graph.add_value(ValueInfo { name, source, dtype, dims: Some(dims) })
    }

    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = name.to_owned();
        let value = self.model.graph.add_value(ValueInfo {
            name: name.clone(),
            source: Source::Node,
            dtype: None,
            dims: None,
        });
        self.model.graph.nodes.push(Node {
            name,
            op,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(value)],
        });
        value
    }
}

fn named(name: &str) -> Dim {
    Dim::Named(name.to_owned())
}

fn reduce(reduce: Reduce, keep_dims: bool) -> Op {
    Op::Reduce { reduce, keep_dims, noop_with_empty_axes: false }
}
