//! The operators that libraries compute: products, convolutions, attention.

use super::operands::is_row_major;
use super::{attention, conv, conv_integer, movement, product, product_einsum, product_integer};
use crate::lower::{Emitter, LowerError, Order, Value};
use sublet_graph::Op;

/// Emits one step.
pub fn emit(
    emitter: &mut Emitter<'_>,
    op: &Op,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    match op {
        Op::Conv { conv, activation } => conv::conv(emitter, conv, *activation, inputs, outputs),
        Op::ConvTranspose { conv, output_padding, output_shape } => {
            let shape = output_shape.as_deref();
            conv::conv_transpose(emitter, conv, output_padding, shape, inputs, outputs)
        }
        _ => row_major(emitter, op, inputs, outputs),
    }
}

/// The others see their operands in row-major order, but for heads of attention within longer rows.
fn row_major(
    emitter: &mut Emitter<'_>,
    op: &Op,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let mut plain = Vec::with_capacity(inputs.len());
    for value in inputs {
        plain.push(match value {
            Some(value) if !is_head(op, value) => Some(movement::in_row_major(emitter, value)?),
            other => other.clone(),
        });
    }
    let mut results = Vec::with_capacity(outputs.len());
    for value in outputs {
        results.push(match value {
            Some(value) if !is_row_major(value) => {
                let address = emitter.scratch(value.bytes());
                Some(Value { address, order: Order::RowMajor, ..value.clone() })
            }
            other => other.clone(),
        });
    }
    compute(emitter, op, &plain, &results)?;
    for (from, to) in results.iter().flatten().zip(outputs.iter().flatten()) {
        if from.address != to.address {
            movement::copy(emitter, "order", from, to)?;
        }
    }
    Ok(())
}

/// Whether an operator reads a value in the rows that it lies within.
fn is_head(op: &Op, value: &Value) -> bool {
    matches!(op, Op::Attention(_)) && matches!(value.order, Order::Within(_))
}

fn compute(
    emitter: &mut Emitter<'_>,
    op: &Op,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    match op {
        Op::MatMul => product::matmul(emitter, inputs, outputs),
        Op::Linear { activation } => product::linear(emitter, *activation, inputs, outputs),
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            product::gemm(emitter, [*alpha, *beta], [*trans_a, *trans_b], inputs, outputs)
        }
        Op::MatMulInteger => product_integer::matmul_integer(emitter, inputs, outputs),
        Op::QLinearMatMul => product_integer::quantised_matmul(emitter, inputs, outputs),
        Op::Einsum { equation } => product_einsum::einsum(emitter, equation, inputs, outputs),
        Op::Attention(op) => attention::attention(emitter, op, inputs, outputs),
        Op::ConvInteger(conv) => conv_integer::integer(emitter, conv, inputs, outputs),
        Op::QLinearConv(conv) => conv_integer::quantised(emitter, conv, inputs, outputs),
        other => Err(LowerError::unsupported(other.name())),
    }
}
