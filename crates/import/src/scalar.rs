//! Constants of shape `[]`.

use sublet_graph::{DType, Literal};

/// A number in an element type; `None` for the unsigned and small integers and `bool`, which no caller needs.
pub fn scalar(dtype: DType, value: f32) -> Option<Literal> {
    Some(match dtype {
        DType::F32 => Literal::f32(&[], &[value]),
        DType::F64 => Literal::from_values(dtype, &[], &[f64::from(value)]),
        DType::F16 => Literal::from_values(dtype, &[], &[half::f16::from_f32(value)]),
        DType::BF16 => Literal::from_values(dtype, &[], &[half::bf16::from_f32(value)]),
        DType::I64 => Literal::i64(&[], &[value as i64]),
        DType::I32 => Literal::from_values(dtype, &[], &[value as i32]),
        _ => return None,
    })
}
