//! Rewrites that keep what a model computes: folding of constants, fusion, removal of what nobody reads; and, where it is
//! asked for, a cast to lower precision.
//!
//! A rule looks at one node, the last of its pattern, and turns it into something better; what it no longer reads
//! dies by itself. Rules repeat until none applies. Products, norms and activations may round differently
//! afterwards, and zeros may change their sign; everything else stays bit for bit.

mod activation;
mod affine;
mod attention;
mod branch;
mod common;
mod compact;
mod denormal;
mod editor;
mod fold;
mod gelu;
mod guard;
mod identity;
mod layout;
mod linear;
mod norm;
mod pattern;
mod precision;
mod probe;
mod quantized;
mod residual;
mod unary;

pub use precision::Precision;

use crate::{Evaluate, Graph, Model, Node, check};
use editor::{Editor, Weights};
use probe::Probes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What to rewrite.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RewriteOptions {
    /// Compute what depends on weights alone.
    pub fold: bool,
    /// Join operators.
    pub fuse: bool,
    /// Fold a dequantised weight too: faster runs, up to four times the bytes to swap in.
    pub dequantize: bool,
    /// Make weights of products zero where they are too small for a normal number.
    pub flush_denormals: bool,
    /// No folded constant may be larger than this.
    pub folded_bytes_max: usize,
    /// Cast weights and computation from `f32` to a type of half its size.
    pub precision: Option<Precision>,
}

impl Default for RewriteOptions {
    fn default() -> Self {
        RewriteOptions {
            fold: true,
            fuse: true,
            dequantize: false,
            flush_denormals: true,
            folded_bytes_max: 256 << 20,
            precision: None,
        }
    }
}

/// What was rewritten.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// How often each rule applied.
    pub counts: BTreeMap<&'static str, usize>,
    /// Nodes, nested ones included, before and after.
    pub nodes: (usize, usize),
    /// Bytes of weights before and after.
    pub weight_bytes: (usize, usize),
}

impl Report {
    /// How often a rule applied.
    pub fn count(&self, rule: &str) -> usize {
        self.counts.get(rule).copied().unwrap_or(0)
    }
}

/// `nodes 412 → 96, weights 10.1 → 10.0 MB: affine 12, fold 30`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.weight_bytes;
        let mb = |bytes: usize| bytes as f64 / 1e6;
        write!(f, "nodes {} → {}", self.nodes.0, self.nodes.1)?;
        write!(f, ", weights {:.1} → {:.1} MB", mb(before), mb(after))?;
        for (index, (rule, count)) in self.counts.iter().enumerate() {
            write!(f, "{}{rule} {count}", if index == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// Looks at one live node; true when it changed something.
type Apply = fn(&mut Editor, usize) -> bool;

/// Rules in the order in which they are tried: what simplifies first, then canonical forms, then what builds on them.
const CLEANUPS: &[(&str, Apply)] = &[
    ("branch", branch::branch),
    ("identity", identity::identity),
    ("common", common::common),
    ("transpose", layout::transpose),
    ("reshape", layout::reshape),
    ("softmax", layout::softmax),
    ("matrices", layout::matrices),
    ("guard", guard::guard),
];

const FUSIONS: &[(&str, Apply)] = &[
    ("hard-sigmoid", unary::hard_sigmoid),
    ("gated-unary", unary::gated),
    ("gelu", gelu::gelu),
    ("layer-norm", norm::layer_norm),
    ("rms-norm", norm::rms_norm),
    ("quantized-matmul", quantized::matmul),
    ("linear", linear::linear),
    ("linear-bias", linear::bias),
    ("affine", affine::affine),
    ("attention", attention::attention),
    ("attention-heads", attention::heads),
    ("residual", residual::residual),
    ("activation", activation::activation),
];

/// A bound on repetition; real models settle in a handful of rounds.
const ROUNDS_MAX: usize = 32;

/// Rewrites a model in place. Element types must have been inferred.
///
/// # Panics
/// When the model is not well formed (see [`check`]).
pub fn rewrite(model: &mut Model, evaluator: &dyn Evaluate, options: &RewriteOptions) -> Report {
    let nodes_before = count_nodes(&model.graph);
    let bytes_before = model.weight_bytes();
    // Before the rules, for equal nodes read equal weights; and after, for rules make weights.
    let mut merged = compact::merge_weights(model);
    compact::drop_weights(model);
    let mut rewriter = Rewriter {
        weights: Weights::new(std::mem::take(&mut model.weights)),
        evaluator,
        options,
        counts: BTreeMap::new(),
    };
    rewriter.graph(&mut model.graph, true);
    let Rewriter { weights, mut counts, .. } = rewriter;
    model.weights = weights.into_list();
    merged += compact::merge_weights(model);
    if merged > 0 {
        counts.insert("same-weight", merged);
    }
    compact::drop_weights(model);
    if options.flush_denormals {
        let flushed = denormal::flush(model);
        if flushed > 0 {
            counts.insert("denormal", flushed);
        }
    }
    if let Some(precision) = options.precision {
        let cast = precision::cast(model, precision);
        if cast > 0 {
            counts.insert("precision", cast);
        }
        compact::merge_weights(model);
        compact::drop_values(&mut model.graph);
        compact::drop_weights(model);
    }
    if let Err(error) = check(model) {
        panic!("rewriting broke the model: {error}");
    }
    Report {
        counts,
        nodes: (nodes_before, count_nodes(&model.graph)),
        weight_bytes: (bytes_before, model.weight_bytes()),
    }
}

struct Rewriter<'a> {
    weights: Weights,
    evaluator: &'a dyn Evaluate,
    options: &'a RewriteOptions,
    counts: BTreeMap<&'static str, usize>,
}

impl Rewriter<'_> {
    /// Rewrites a graph and the bodies in it. The names of an outermost graph's outputs are what clients see.
    fn graph(&mut self, graph: &mut Graph, outermost: bool) {
        compact::merge_values(graph);
        for _ in 0..ROUNDS_MAX {
            let folded = if self.options.fold { self.fold(graph, outermost) } else { 0 };
            if folded + self.round(graph, outermost) == 0 {
                break;
            }
        }
        for index in 0..graph.nodes.len() {
            for body in graph.nodes[index].op.bodies_mut() {
                self.graph(body, false);
            }
        }
        compact::drop_values(graph);
    }

    fn round(&mut self, graph: &mut Graph, outermost: bool) -> usize {
        // Nothing is known of the sizes that a body works on.
        let probes = match outermost {
            true => Probes::new(graph, self.weights.list(), self.evaluator),
            false => Probes::default(),
        };
        let fusions = if self.options.fuse { FUSIONS } else { &[] };
        let mut editor = Editor::new(graph, &mut self.weights, probes, outermost);
        let mut total = 0;
        for &(rule, apply) in CLEANUPS.iter().chain(fusions) {
            let mut count = 0;
            for node in 0..editor.node_count() {
                if editor.is_alive(node) && apply(&mut editor, node) {
                    count += 1;
                }
            }
            if count > 0 {
                *self.counts.entry(rule).or_default() += count;
            }
            total += count;
        }
        editor.finish();
        total
    }

    fn fold(&mut self, graph: &mut Graph, outermost: bool) -> usize {
        let mut editor = Editor::new(graph, &mut self.weights, Probes::default(), outermost);
        let count = fold::fold(&mut editor, self.evaluator, self.options);
        editor.finish();
        if count > 0 {
            *self.counts.entry("fold").or_default() += count;
        }
        count
    }
}

fn count_nodes(graph: &Graph) -> usize {
    let nested = |node: &Node| node.op.bodies().into_iter().map(count_nodes).sum::<usize>();
    graph.nodes.iter().map(|node| 1 + nested(node)).sum()
}
