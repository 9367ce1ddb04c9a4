//! What a task of the demo needs: a way to ask models, and a way to tell people what came back.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use sublet_graph::{DType, Literal};

/// Named tensors, in or out.
pub type Tensors = BTreeMap<String, Literal>;

/// Asks a served model; each implementation speaks one protocol.
pub trait Ask {
    fn ask(&mut self, model: &str, inputs: Vec<(&str, Literal)>) -> Result<Tensors>;
}

/// The elements of an `f32` output and its shape.
pub fn floats(outputs: &Tensors, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
    let literal = outputs.get(name).with_context(|| format!("no output {name}"))?;
    ensure!(literal.dtype() == DType::F32, "{name} is {}, not f32", literal.dtype());
    Ok((literal.to_vec(), literal.shape().to_vec()))
}

/// Index and value of the largest element.
pub fn largest(values: &[f32]) -> (usize, f32) {
    values
        .iter()
        .copied()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best })
}
