//! Weights too small for a normal `f32` become zero.
//!
//! Processors multiply such numbers a hundred times more slowly than others, and some trained models have hundreds of
//! thousands of them. In a product they add less than 1.2e-38 times an input: nothing that a sum of normal numbers shows.

use crate::{DType, Graph, Literal, Model, Op, WeightId};
use bytes::Bytes;

/// Flushes the denormal elements of weights that only products read. Returns how many weights had some.
pub(super) fn flush(model: &mut Model) -> usize {
    let mut uses = vec![Uses::default(); model.weights.len()];
    note(&model.graph, &mut uses);
    let mut flushed = 0;
    for (weight, uses) in model.weights.iter_mut().zip(uses) {
        if !uses.product || uses.other || weight.value.dtype() != DType::F32 {
            continue;
        }
        let values: Vec<f32> = weight.value.to_vec();
        if !values.iter().any(|value| value.is_subnormal()) {
            continue;
        }
        let zeroed = values.iter().map(|&value| if value.is_subnormal() { 0.0 } else { value });
        let bytes: Vec<u8> = zeroed.flat_map(f32::to_le_bytes).collect();
        let shape = weight.value.shape().to_vec();
        let value = Literal::new(DType::F32, shape, Bytes::from(bytes));
        weight.value = value.expect("as many elements as before");
        flushed += 1;
    }
    flushed
}

/// Who reads a weight.
#[derive(Clone, Copy, Default)]
struct Uses {
    product: bool,
    other: bool,
}

fn note(graph: &Graph, uses: &mut [Uses]) {
    let mut mark = |weight: Option<WeightId>, product: bool| {
        if let Some(weight) = weight {
            let uses = &mut uses[weight.0 as usize];
            uses.product |= product;
            uses.other |= !product;
        }
    };
    for node in &graph.nodes {
        for (index, input) in node.inputs.iter().enumerate() {
            let Some(input) = input else { continue };
            mark(graph.weight(*input), multiplies(&node.op, index));
        }
    }
    graph.outputs.iter().for_each(|&output| mark(graph.weight(output), false));
    graph.inputs.iter().for_each(|input| mark(input.default, false));
    for node in &graph.nodes {
        node.op.bodies().into_iter().for_each(|body| note(body, uses));
    }
}

/// Whether the operator multiplies this input and adds the products up.
fn multiplies(op: &Op, input: usize) -> bool {
    match op {
        Op::MatMul | Op::Gemm { .. } => input < 2,
        Op::Linear { .. } | Op::Conv { .. } | Op::ConvTranspose { .. } => input == 1,
        Op::Rnn(_) => matches!(input, 1 | 2),
        _ => false,
    }
}
