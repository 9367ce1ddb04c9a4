//! Convolutions of 8-bit integers: ConvInteger, QLinearConv.
//!
//! Computed in f64, where sums of such products are exact.

use super::conv;
use super::map::{Access, Map, map};
use super::operands::{input, optional, output};
use super::product_integer::requantise;
use crate::lower::{Emitter, LowerError, Order, Value};
use sublet_graph::{Activation, Conv, DType};

/// Emits `Op::ConvInteger`: x, w, zero point of x, zero points of w (one, or one per filter).
pub fn integer(
    emitter: &mut Emitter<'_>,
    conv: &Conv,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (x, w, y) = (input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?);
    let zeros = [optional(inputs, 2), optional(inputs, 3)];
    sums(emitter, conv, [x, w], zeros, None, y)
}

/// Emits `Op::QLinearConv`: x, its scale and zero point, w, its scale and zero point, the result's scale and zero
/// point, bias.
pub fn quantised(
    emitter: &mut Emitter<'_>,
    conv: &Conv,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (x, w, y) = (input(inputs, 0)?, input(inputs, 3)?, output(outputs, 0)?);
    let zeros = [optional(inputs, 2), optional(inputs, 5)];
    let address = emitter.scratch(y.elements() * DType::I32.size());
    let all = Value { dtype: DType::I32, address, known: None, ..y.clone() };
    sums(emitter, conv, [x, w], zeros, optional(inputs, 8), &all)?;
    let scales =
        [(input(inputs, 1)?, None), (input(inputs, 4)?, Some(1)), (input(inputs, 6)?, None)];
    requantise(emitter, &all, scales, optional(inputs, 7), y)
}

/// `conv(x − zero, w − zeros) + bias`, as `i32`.
fn sums(
    emitter: &mut Emitter<'_>,
    conv: &Conv,
    [x, w]: [&Value; 2],
    zeros: [Option<&Value>; 2],
    bias: Option<&Value>,
    y: &Value,
) -> Result<(), LowerError> {
    let x = widened(emitter, x, zeros[0])?;
    let w = widened(emitter, w, zeros[1])?;
    let bias = bias.map(|bias| widened(emitter, bias, None)).transpose()?;
    let address = emitter.scratch(y.elements() * DType::F64.size());
    let exact =
        Value { dtype: DType::F64, order: Order::RowMajor, address, known: None, ..y.clone() };
    let inputs = [Some(x), Some(w), bias];
    conv::conv(emitter, conv, Activation::None, &inputs, &[Some(exact.clone())])?;
    let access = |value: &Value| Access {
        address: value.address,
        dtype: value.dtype,
        strides: value.strides().iter().map(|&step| step as i64).collect(),
    };
    let kernel = Map {
        name: "narrow",
        dims: y.shape.clone(),
        loads: vec![access(&exact)],
        stores: vec![access(y)],
        body: "    y0 = (i32)(i64)rint(x0);\n".to_owned(),
        fault: None,
    };
    map(emitter, kernel)
}

/// `value − zero` as f64. Zero points are one, or one per index of the first axis.
fn widened(
    emitter: &mut Emitter<'_>,
    value: &Value,
    zero: Option<&Value>,
) -> Result<Value, LowerError> {
    let address = emitter.scratch(value.elements() * DType::F64.size());
    let wide =
        Value { dtype: DType::F64, order: Order::RowMajor, address, known: None, ..value.clone() };
    let mut loads = vec![Access {
        address: value.address,
        dtype: value.dtype,
        strides: value.strides().iter().map(|&step| step as i64).collect(),
    }];
    if let Some(zero) = zero {
        let mut strides = vec![0; value.shape.len()];
        match zero.elements() {
            1 => {}
            points if value.shape.first() == Some(&points) => strides[0] = 1,
            points => {
                let shape = &value.shape;
                return Err(LowerError::unsupported(format!("{points} zero points for {shape:?}")));
            }
        }
        loads.push(Access { address: zero.address, dtype: zero.dtype, strides });
    }
    let difference = if zero.is_some() { "(f64)x0 - (f64)x1" } else { "(f64)x0" };
    let strides = wide.strides().iter().map(|&step| step as i64).collect();
    let kernel = Map {
        name: "widen",
        dims: value.shape.clone(),
        loads,
        stores: vec![Access { address, dtype: DType::F64, strides }],
        body: format!("    y0 = {difference};\n"),
        fault: None,
    };
    map(emitter, kernel)?;
    Ok(wide)
}
