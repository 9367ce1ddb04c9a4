//! Kernels with one thread for each line along an axis: running sums, norms, and the like.

use super::ctype::{computed, stored};
use super::operands::{around, input};
use super::pool::norm;
use super::target::{Launch, Target};
use crate::driver::LaunchShape;
use crate::lower::{LowerError, Value};
use crate::program::Argument;
use sublet_graph::{DType, Literal, shape};

/// Along which axis lines go.
enum Axis<'a> {
    Known(usize),
    /// Only the run tells: an integer in memory.
    At(&'a Value),
}

/// Emits a kernel that sees `x` and `y` at the start of a line of LEN elements that lie INNER apart. C: the type they are
/// computed in.
fn lines(
    target: &mut dyn Target,
    name: &str,
    x: &Value,
    y: &Value,
    axis: &Axis<'_>,
    body: &str,
) -> Result<(), LowerError> {
    if x.elements() == 0 {
        return Ok(());
    }
    if x.shape != y.shape || x.dtype != y.dtype {
        return Err(LowerError::Invalid(format!("{:?} to {:?}", x.shape, y.shape)));
    }
    let elements = x.elements();
    let rank = x.shape.len();
    let mut arguments = vec![Argument::Address(x.address), Argument::Address(y.address)];
    let (locate, parameter, count) = match axis {
        Axis::Known(axis) => {
            let (outer, len, inner) = around(&x.shape, *axis);
            (format!("    const i64 LEN = {len}ll, INNER = {inner}ll;"), "", outer * inner)
        }
        Axis::At(value) => {
            let (fault, code) = target.fault("an axis is out of range");
            arguments.push(Argument::Address(value.address));
            arguments.extend([Argument::Address(fault), Argument::U32(code)]);
            let mut locate = format!(
                "    i64 axis = axes[0], LEN = 1, INNER = 1;
    if (axis < 0) axis += {rank};
    if (axis < 0 || axis >= {rank}) {{ report(fault, code); return; }}\n"
            );
            for axis in 0..rank {
                let (_, len, inner) = around(&x.shape, axis);
                locate.push_str(&format!(
                    "    if (axis == {axis}) {{ LEN = {len}ll; INNER = {inner}ll; }}\n"
                ));
            }
            let least = x.shape.iter().min().copied().unwrap_or(1);
            let parameter = match value.dtype {
                DType::I32 => ", const i32* axes, u32* fault, u32 code",
                _ => ", const i64* axes, u32* fault, u32 code",
            };
            (locate, parameter, elements / least)
        }
    };
    let source = format!(
        "\ntypedef {} T;\ntypedef {} C;\n\
         KERNEL lines(const T* x, T* y{parameter}) {{
    const i64 line = (i64)blockIdx.x * blockDim.x + threadIdx.x;\n{locate}
    if (line >= {elements}ll / LEN) return;
    const i64 base = line / INNER * (LEN * INNER) + line % INNER;
    x += base;
    y += base;\n{body}\n}}\n",
        stored(x.dtype),
        computed(x.dtype),
    );
    target.launch(Launch {
        name: name.into(),
        source,
        entry: "lines",
        shape: LaunchShape::linear(count, 64),
        arguments,
    })
}

/// Data, axis: running sums, or products.
pub fn cumulative(
    target: &mut dyn Target,
    product: bool,
    (exclusive, reverse): (bool, bool),
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    let at = input(inputs, 1)?;
    let integer = matches!(at.dtype, DType::I32 | DType::I64) && at.elements() == 1;
    let axis = match at.known.as_ref().and_then(Literal::to_i64s).as_deref() {
        Some(&[axis]) => Axis::Known(shape::axis(axis, x.shape.len())?),
        None if integer && at.known.is_none() => Axis::At(at),
        other => return Err(LowerError::Invalid(format!("axes {other:?} of {}", at.dtype))),
    };
    if x.dtype == DType::Bool {
        return Err(LowerError::unsupported("running sums of booleans"));
    }
    let (start, combine) = if product { (1, "Mul") } else { (0, "Add") };
    let step = if reverse { "LEN - 1 - step" } else { "step" };
    let result = if exclusive { "acc" } else { "next" };
    let body = format!(
        "    C acc = {start};
    for (i64 step = 0; step < LEN; ++step) {{
        const i64 at = ({step}) * INNER;
        const C next = {combine}<C>(acc, Io<T>::get(x[at]));
        y[at] = Io<T>::put({result});
        acc = next;
    }}"
    );
    lines(target, "cumulative", x, y, &axis, &body)
}

/// Divides by the norm of a line; where that is zero, so is the result.
pub fn lp_normalization(
    target: &mut dyn Target,
    along: i64,
    p: i64,
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    if !x.dtype.is_float() {
        return Err(LowerError::unsupported(format!("LpNormalization of {}", x.dtype)));
    }
    let axis = shape::axis(along, x.shape.len())?;
    let (power, root) = norm(p, computed(x.dtype));
    let body = format!(
        "    C acc = 0;
    for (i64 step = 0; step < LEN; ++step) {{ const C x_ = Io<T>::get(x[step * INNER]); acc += {}; }}
    const C norm = {root};
    for (i64 step = 0; step < LEN; ++step) {{
        y[step * INNER] = Io<T>::put(norm == 0 ? (C)0 : Io<T>::get(x[step * INNER]) / norm);
    }}",
        power.replace("x", "x_").replace("Abs<f32>", "Abs<C>"),
    );
    lines(target, "lp_normalization", x, y, &Axis::Known(axis), &body)
}
