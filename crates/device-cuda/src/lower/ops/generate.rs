//! Values made from few numbers: constants, ranges, one-hot rows, diagonals, triangles.

use super::ctype::{bits, computed, constant, stored};
use super::indexed::{Indexed, table};
use super::operands::{around, input, optional};
use super::target::Target;
use crate::lower::{LowerError, Value};
use sublet_graph::{DType, shape};

/// Every element is the same bits.
pub fn constant_of_shape(target: &mut dyn Target, word: u64, y: &Value) -> Result<(), LowerError> {
    if word == 0 {
        target.fill(y.address, 0, y.bytes());
        return Ok(());
    }
    let of = stored(bits(y.dtype));
    Indexed::new("constant", y).bits().emit(target, &format!("    y = ({of}){word:#x}ull;"))
}

/// Integers that are known.
pub fn numbers(target: &mut dyn Target, values: &[i64], y: &Value) -> Result<(), LowerError> {
    if y.elements() != values.len() || y.dtype != DType::I64 {
        return Err(LowerError::Invalid(format!("{} sizes into {:?}", values.len(), y.shape)));
    }
    Indexed::new("numbers", y)
        .declare(&table("numbers", values))
        .emit(target, "    y = numbers[i];")
}

/// Start, limit, step: `start + i · step`, in double precision for floats.
pub fn range(
    target: &mut dyn Target,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (start, delta) = (input(inputs, 0)?, input(inputs, 2)?);
    if [start, delta].iter().any(|value| value.dtype != y.dtype || value.elements() != 1) {
        return Err(LowerError::Invalid("start and step of a range are of its type".into()));
    }
    let (c, t) = (computed(y.dtype), stored(y.dtype));
    let body = match y.dtype {
        DType::Bool => return Err(LowerError::unsupported("a range of booleans")),
        dtype if dtype.is_float() => format!(
            "    y = ({c})((f64)Io<{t}>::get(start[0]) + (f64)i * (f64)Io<{t}>::get(delta[0]));"
        ),
        _ => format!("    y = Add<{c}>(start[0], Mul<{c}>(({c})i, delta[0]));"),
    };
    Indexed::new("range", y).input("start", start).input("delta", delta).emit(target, &body)
}

/// Indices, depth, values (off and on).
pub fn one_hot(
    target: &mut dyn Target,
    along: i64,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (indices, values) = (input(inputs, 0)?, input(inputs, 2)?);
    let axis = shape::axis(along, y.shape.len())?;
    let (outer, depth, inner) = around(&y.shape, axis);
    if values.dtype != y.dtype || values.elements() != 2 || indices.elements() != outer * inner {
        return Err(LowerError::Invalid("one-hot needs an off and an on value".into()));
    }
    if indices.dtype == DType::Bool {
        return Err(LowerError::unsupported("one-hot rows of booleans"));
    }
    let rows = depth * inner;
    let body = format!(
        "    const i64 at = i / {rows}ll * {inner}ll + i % {inner}ll;
    f64 hot = trunc((f64)Io<{}>::get(indices[at]));
    if (hot < 0) hot += {depth}.0;
    y = values[hot == (f64)c{axis} ? 1 : 0];",
        stored(indices.dtype)
    );
    Indexed::new("one_hot", y)
        .bits()
        .input("indices", indices)
        .input_as("values", values, bits(values.dtype))
        .emit(target, &body)
}

/// Ones on the `k`-th diagonal of a matrix.
pub fn eye_like(target: &mut dyn Target, k: i64, y: &Value) -> Result<(), LowerError> {
    if y.shape.len() != 2 {
        return Err(LowerError::Invalid(format!("{:?} is not a matrix", y.shape)));
    }
    let c = computed(y.dtype);
    // A diagonal beyond any matrix is like one just beyond.
    let k = k.clamp(-(1 << 62), 1 << 62);
    let body = format!("    y = (i64)c1 - (i64)c0 == ({k}ll) ? ({c})1 : ({c})0;");
    Indexed::new("eye_like", y).emit(target, &body)
}

/// Data, k: matrices with the part below (`upper`) or above the `k`-th diagonal set to zero.
pub fn trilu(
    target: &mut dyn Target,
    upper: bool,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, k) = (input(inputs, 0)?, optional(inputs, 1));
    let Some(row) = x.shape.len().checked_sub(2) else {
        return Err(LowerError::Invalid(format!("{:?} holds no matrices", x.shape)));
    };
    let column = row + 1;
    let mut kernel = Indexed::new("trilu", y).bits().input_as("x", x, bits(x.dtype));
    let diagonal = match k {
        None => "0".to_owned(),
        Some(Value { known: Some(known), .. }) if known.len() == 1 => constant(known, 0),
        Some(k) if k.dtype == DType::I64 && k.elements() == 1 => {
            kernel = kernel.input("k", k);
            "k[0]".to_owned()
        }
        Some(k) => return Err(LowerError::Invalid(format!("a diagonal of {}", k.dtype))),
    };
    let keeps = if upper { ">=" } else { "<=" };
    let body = format!(
        "    const i64 diagonal = Clip<i64>((i64)({diagonal}), -(1ll << 62), 1ll << 62);
    y = (i64)c{column} {keeps} (i64)c{row} + diagonal ? x[i] : 0;"
    );
    kernel.emit(target, &body)
}
