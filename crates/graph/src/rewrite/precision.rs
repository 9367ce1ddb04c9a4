//! Casts a model that computes in `f32` to a type of half its size: half the bytes to swap in, and tensor cores.
//!
//! Inputs and outputs keep their declared types, with casts at the border. What easily leaves the range of half precision,
//! or counts in it (powers, exponentials, sums, positions, scales of quantised values, recurrent states, control flow), stays in
//! `f32`; so does every operator that does not take the other type.

use crate::{
    Binary, DType, Graph, InferInput, Literal, Model, Node, Op, Reduce, Source, Unary, ValueId,
    ValueInfo, Weight, WeightId, infer_with_weights,
};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

/// A type of half the size of `f32`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Precision {
    F16,
    Bf16,
}

impl Precision {
    pub fn dtype(self) -> DType {
        match self {
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::BF16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dtype().fmt(f)
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "f16" => Ok(Precision::F16),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(format!("`{text}` is not a precision: write f16 or bf16")),
        }
    }
}

/// Casts what computes in `f32` in the outermost graph. Element types must have been inferred; they are right
/// afterwards too. Returns how many nodes compute in the other type now.
pub(super) fn cast(model: &mut Model, precision: Precision) -> usize {
    let nodes = std::mem::take(&mut model.graph.nodes);
    let mut caster = Caster {
        to: precision.dtype(),
        graph: &mut model.graph,
        weights: &mut model.weights,
        versions: HashMap::new(),
        narrow_weights: HashMap::new(),
        nodes: Vec::with_capacity(nodes.len()),
    };
    let mut count = 0;
    for node in nodes {
        count += usize::from(caster.node(node));
    }
    caster.outputs();
    model.graph.nodes = std::mem::take(&mut caster.nodes);
    count
}

struct Caster<'a> {
    to: DType,
    graph: &'a mut Graph,
    weights: &'a mut Vec<Weight>,
    /// Where each value that was `f32` can be had in which type.
    versions: HashMap<ValueId, Versions>,
    narrow_weights: HashMap<WeightId, WeightId>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Default)]
struct Versions {
    wide: Option<ValueId>,
    narrow: Option<ValueId>,
}

impl Caster<'_> {
    /// Adds a node, in the other type if it can be; returns whether it is.
    fn node(&mut self, mut node: Node) -> bool {
        let narrow = self.narrowed(&node);
        let wanted = if narrow.is_some() { self.to } else { DType::F32 };
        node.op = narrow.clone().unwrap_or(node.op);
        for input in node.inputs.iter_mut().flatten() {
            if self.is_real(*input) {
                *input = self.version(*input, wanted);
            }
        }
        for &output in node.outputs.iter().flatten() {
            if self.graph.value(output).dtype == Some(DType::F32) {
                let versions = if narrow.is_some() {
                    self.graph.values[output.0 as usize].dtype = Some(self.to);
                    Versions { wide: None, narrow: Some(output) }
                } else {
                    Versions { wide: Some(output), narrow: None }
                };
                self.versions.insert(output, versions);
            }
        }
        self.nodes.push(node);
        narrow.is_some()
    }

    /// Whether a value was `f32` before.
    fn is_real(&self, value: ValueId) -> bool {
        self.versions.contains_key(&value) || self.graph.value(value).dtype == Some(DType::F32)
    }

    /// The operator as it computes in the other type; `None` for one that stays, or has nothing to do with it.
    fn narrowed(&self, node: &Node) -> Option<Op> {
        if stays(&node.op) || !self.touches_reals(node) {
            return None;
        }
        let op = match &node.op {
            Op::Cast { to: DType::F32 } => Op::Cast { to: self.to },
            other => other.clone(),
        };
        let inputs: Vec<Option<InferInput>> = node
            .inputs
            .iter()
            .map(|input| {
                let input = (*input)?;
                let dtype =
                    if self.is_real(input) { Some(self.to) } else { self.graph.value(input).dtype };
                let value = self.graph.weight(input).map(|id| &self.weights[id.0 as usize].value);
                // A value in the old type would contradict the new one.
                let value = value.filter(|value| Some(value.dtype()) == dtype);
                Some(InferInput { dtype: dtype?, shape: None, value })
            })
            .collect();
        let types = infer_with_weights(&op, &inputs, node.outputs.len(), self.weights).ok()?;
        let as_wanted = node.outputs.iter().zip(&types).all(|(output, found)| {
            let declared = output.and_then(|output| self.graph.value(output).dtype);
            match declared {
                Some(DType::F32) => found.dtype == self.to,
                Some(declared) => found.dtype == declared,
                None => true,
            }
        });
        as_wanted.then_some(op)
    }

    fn touches_reals(&self, node: &Node) -> bool {
        let real = |output: &ValueId| self.graph.value(*output).dtype == Some(DType::F32);
        node.inputs.iter().flatten().any(|&input| self.is_real(input))
            || node.outputs.iter().flatten().any(real)
    }

    /// A value in `f32` or in the other type; casts it where it is not there yet.
    fn version(&mut self, value: ValueId, wanted: DType) -> ValueId {
        let mut versions = self
            .versions
            .get(&value)
            .copied()
            .unwrap_or(Versions { wide: Some(value), narrow: None });
        let have = if wanted == DType::F32 { versions.wide } else { versions.narrow };
        if let Some(have) = have {
            return have;
        }
        let made = match self.graph.weight(value) {
            Some(weight) => self.narrow_weight(value, weight),
            None => {
                let from = versions.wide.or(versions.narrow).expect("every value has a version");
                self.cast(from, wanted)
            }
        };
        *(if wanted == DType::F32 { &mut versions.wide } else { &mut versions.narrow }) =
            Some(made);
        self.versions.insert(value, versions);
        made
    }

    fn cast(&mut self, from: ValueId, to: DType) -> ValueId {
        let name = format!("{}.{to}", self.graph.value(from).name);
        let info =
            ValueInfo { name: name.clone(), source: Source::Node, dtype: Some(to), dims: None };
        let made = self.graph.add_value(info);
        self.nodes.push(Node {
            name,
            op: Op::Cast { to },
            inputs: vec![Some(from)],
            outputs: vec![Some(made)],
        });
        made
    }

    fn narrow_weight(&mut self, value: ValueId, weight: WeightId) -> ValueId {
        let to = self.to;
        let made = *self.narrow_weights.entry(weight).or_insert_with(|| {
            let Weight { name, value } = &self.weights[weight.0 as usize];
            let narrow = Weight { name: format!("{name}.{to}"), value: narrowed(value, to) };
            self.weights.push(narrow);
            WeightId(self.weights.len() as u32 - 1)
        });
        let info = self.graph.value(value).clone();
        self.graph.add_value(ValueInfo { source: Source::Weight(made), dtype: Some(to), ..info })
    }

    /// Clients see outputs by name, in the types that the model declares.
    fn outputs(&mut self) {
        let mut renamed = HashSet::new();
        for index in 0..self.graph.outputs.len() {
            let output = self.graph.outputs[index];
            if !self.is_real(output) {
                continue;
            }
            let wide = self.version(output, DType::F32);
            self.graph.outputs[index] = wide;
            if wide != output && renamed.insert(output) {
                let ValueInfo { name, dims, .. } = self.graph.value(output).clone();
                self.graph.values[output.0 as usize].name = format!("{name}.{}", self.to);
                let info = &mut self.graph.values[wide.0 as usize];
                (info.name, info.dims) = (name, dims);
            }
        }
    }
}

fn narrowed(value: &Literal, to: DType) -> Literal {
    let reals: Vec<f32> = value.to_vec();
    if to == DType::F16 {
        let values: Vec<f16> = reals.into_iter().map(f16::from_f32).collect();
        Literal::from_values(to, value.shape(), &values)
    } else {
        let values: Vec<bf16> = reals.into_iter().map(bf16::from_f32).collect();
        Literal::from_values(to, value.shape(), &values)
    }
}

/// Operators that compute in `f32` whatever their neighbours do.
fn stays(op: &Op) -> bool {
    match op {
        Op::Unary(unary) => matches!(
            unary,
            Unary::Exp
                | Unary::Log
                | Unary::Reciprocal
                | Unary::Sqrt
                | Unary::Cosh
                | Unary::Sinh
                | Unary::Tan
        ),
        Op::Binary(binary) => matches!(binary, Binary::Pow | Binary::Div | Binary::Mod { .. }),
        Op::Reduce { reduce, .. } => !matches!(reduce, Reduce::Mean | Reduce::Max | Reduce::Min),
        Op::CumSum { .. }
        | Op::CumProd { .. }
        | Op::Range
        | Op::Resize(_)
        | Op::RoiAlign { .. }
        | Op::GridSample { .. }
        | Op::AffineGrid { .. }
        | Op::NonMaxSuppression { .. }
        | Op::Dft { .. }
        | Op::Stft { .. }
        | Op::HannWindow { .. }
        | Op::HammingWindow { .. }
        | Op::BlackmanWindow { .. }
        | Op::MelWeightMatrix { .. }
        | Op::LpNormalization { .. }
        | Op::LpPool { .. }
        | Op::GlobalLpPool { .. }
        | Op::MeanVarianceNormalization { .. }
        | Op::Lrn { .. }
        | Op::LogSoftmax { .. }
        | Op::Det
        | Op::Rnn(_)
        | Op::QuantizeLinear { .. }
        | Op::DequantizeLinear { .. }
        | Op::DynamicQuantizeLinear
        | Op::QLinearMatMul
        | Op::QLinearConv(_)
        | Op::If { .. }
        | Op::Loop { .. }
        | Op::Scan(_)
        // A position or a class that ties with another must not change.
        | Op::ArgMax { .. }
        | Op::ArgMin { .. }
        | Op::TopK { .. } => true,
        _ => false,
    }
}
