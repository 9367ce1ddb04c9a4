//! Quantisation with a scale for every block, and with a range that the run finds.

use super::ctype::{computed, stored};
use super::elementwise::Spread;
use super::fused::Program;
use super::indexed::Indexed;
use super::operands::{around, input, optional};
use super::reduce;
use super::target::Target;
use crate::lower::{LowerError, Order, Value};
use sublet_graph::{DType, Reduce, shape};

/// x, scale, zero point (optional), the latter two shaped like x with one entry for `block` of its along the axis.
pub fn blocked(
    target: &mut dyn Target,
    quantises: bool,
    along: i64,
    block: usize,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, scale, zero) = (input(inputs, 0)?, input(inputs, 1)?, optional(inputs, 2));
    let axis = shape::axis(along, x.shape.len())?;
    let (_, len, inner) = around(&x.shape, axis);
    let blocks = len.div_ceil(block);
    let fits = scale.shape.len() == x.shape.len()
        && scale.shape[axis] == blocks
        && zero.is_none_or(|zero| zero.elements() == scale.elements());
    if !fits || !scale.dtype.is_float() {
        return Err(LowerError::Invalid(format!("scales {:?} for {:?}", scale.shape, x.shape)));
    }
    let small = |dtype| matches!(dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16);
    let types = match quantises {
        true => small(y.dtype) && (x.dtype.is_float() || x.dtype == DType::I32),
        false => (small(x.dtype) || x.dtype == DType::I32) && y.dtype.is_float(),
    };
    if !types {
        return Err(LowerError::unsupported(format!("blocks of {} to {}", x.dtype, y.dtype)));
    }
    let mut kernel = Indexed::new("quantize_blocks", y).input("x", x).input("scales", scale);
    let zero_text = match zero {
        Some(zero) => {
            kernel = kernel.input("zeros", zero);
            format!("(f32)Io<{}>::get(zeros[at])", stored(zero.dtype))
        }
        None => "0.0f".to_owned(),
    };
    let result = match quantises {
        true => format!("Quantize<{}>(value, scale, zero)", computed(y.dtype)),
        false => format!("({})((value - zero) * scale)", computed(y.dtype)),
    };
    let body = format!(
        "    const i64 line = i / {inner}ll;
    const i64 at = (line / {len}ll * {blocks}ll + line % {len}ll / {block}ll) * {inner}ll + i % {inner}ll;
    const f32 value = (f32)Io<{}>::get(x[i]), scale = (f32)Io<{}>::get(scales[at]), zero = {zero_text};
    y = {result};",
        stored(x.dtype),
        stored(scale.dtype),
    );
    kernel.emit(target, &body)
}

/// x; outputs: y, scale, zero point. The range of all of x, widened to hold zero, becomes 0 to 255.
pub fn dynamic(
    target: &mut dyn Target,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    if x.dtype != DType::F32 {
        return Err(LowerError::unsupported(format!("DynamicQuantizeLinear of {}", x.dtype)));
    }
    let axes: Vec<usize> = (0..x.shape.len()).collect();
    let mut extreme = |kind: Reduce| -> Result<Value, LowerError> {
        let address = target.scratch(4);
        let (dtype, order) = (DType::F32, Order::RowMajor);
        let value = Value { dtype, shape: Vec::new(), order, address, known: None };
        reduce::over(target, kind, x, &axes, &value)?;
        Ok(value)
    };
    let (low, high) = (extreme(Reduce::Min)?, extreme(Reduce::Max)?);
    for (index, y) in outputs.iter().enumerate() {
        let Some(y) = y else { continue };
        let mut program = Program::over(&y.shape);
        let low = program.load(&low, Spread::Broadcast)?;
        let high = program.load(&high, Spread::Broadcast)?;
        let low = program.variable(&format!("Min<f32>(0.0f, {})", low.text), DType::F32).text;
        let high = program.variable(&format!("Max<f32>(0.0f, {})", high.text), DType::F32).text;
        let range = format!("({high} == {low} ? 1.0f : {high} - {low})");
        let scale = program.variable(&format!("{range} / 255.0f"), DType::F32);
        let zero = format!("saturate<u8>(rintf(-{low} / {}))", scale.text);
        let zero = program.variable(&zero, DType::U8);
        let result = match index {
            0 => {
                let x = program.load(x, Spread::Broadcast)?;
                let rounded = format!("rintf({} / {}) + (f32){}", x.text, scale.text, zero.text);
                program.variable(&format!("saturate<u8>({rounded})"), DType::U8)
            }
            1 => scale,
            _ => zero,
        };
        program.store(y, &result);
        program.emit(target, "dynamic_quantize")?;
    }
    Ok(())
}
