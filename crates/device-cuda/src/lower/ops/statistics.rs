//! Normalisations that are not of contiguous rows, rotary embeddings, and choosing the largest.

use super::ctype::{attribute, computed, stored};
use super::elementwise::Spread;
use super::fused::Program;
use super::indexed::Indexed;
use super::operands::{around, input, optional, strides_of};
use super::reduce;
use super::target::{Launch, Target};
use crate::driver::LaunchShape;
use crate::lower::{LowerError, Order, Value};
use crate::program::Argument;
use sublet_graph::{DType, Reduce, shape};

/// `x / (bias + alpha / size · Σ x²)^beta` over neighbouring channels.
pub fn local_response(
    target: &mut dyn Target,
    (alpha, beta, bias): (f32, f32, f32),
    size: usize,
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    if x.shape.len() < 2 || size == 0 || !x.dtype.is_float() {
        return Err(LowerError::unsupported(format!("LRN of {} over {:?}", x.dtype, x.shape)));
    }
    let (c, t) = (computed(x.dtype), stored(x.dtype));
    let (channels, plane) = (x.shape[1], strides_of(&x.shape)[1]);
    let [alpha, beta, bias] = [alpha, beta, bias].map(|value| attribute(value, x.dtype));
    let body = format!(
        "    {c} sum = 0;
    const i64 first = c1 < {before} ? 0 : c1 - {before};
    const i64 last = c1 + {after} < {channels} - 1 ? c1 + {after} : {channels} - 1;
    for (i64 at = first; at <= last; ++at) {{
        const {c} other = Io<{t}>::get(x[i + (at - c1) * {plane}ll]);
        sum += other * other;
    }}
    y = Io<{t}>::get(x[i]) / real_pow({bias} + {alpha} / ({c}){size} * sum, {beta});",
        before = (size - 1) / 2,
        after = size / 2,
    );
    Indexed::new("lrn", y).input("x", x).emit(target, &body)
}

/// `(x − mean) / (deviation + 1e-9)` over the axes together.
pub fn mean_variance(
    target: &mut dyn Target,
    axes: &[i64],
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    if !x.dtype.is_float() {
        return Err(LowerError::unsupported(format!("normalisation of {}", x.dtype)));
    }
    let mut axes = shape::axes(axes, x.shape.len())?;
    axes.sort_unstable();
    // Statistics of halves are kept in single precision.
    let dtype = if x.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let mut kept = x.shape.clone();
    axes.iter().for_each(|&axis| kept[axis] = 1);
    let mut fresh = |shape: &[usize]| {
        let address = target.scratch(shape.iter().product::<usize>() * dtype.size());
        Value { dtype, shape: shape.to_vec(), order: Order::RowMajor, address, known: None }
    };
    let (mean, squares, variance) = (fresh(&kept), fresh(&x.shape), fresh(&kept));
    reduce::over(target, Reduce::Mean, x, &axes, &mean)?;
    let mut program = Program::over(&x.shape);
    let centred = |program: &mut Program| -> Result<String, LowerError> {
        let (x, mean) =
            (program.load(x, Spread::Broadcast)?, program.load(&mean, Spread::Broadcast)?);
        Ok(program.variable(&format!("{} - {}", x.text, mean.text), dtype).text)
    };
    let difference = centred(&mut program)?;
    let square = program.variable(&format!("{difference} * {difference}"), dtype);
    program.store(&squares, &square);
    program.emit(target, "squares")?;
    reduce::over(target, Reduce::Mean, &squares, &axes, &variance)?;
    let mut program = Program::over(&x.shape);
    let difference = centred(&mut program)?;
    let variance = program.load(&variance, Spread::Broadcast)?.text;
    let tiny = format!("({})1e-9", computed(dtype));
    let result = program.variable(&format!("{difference} / (Sqrt({variance}) + {tiny})"), dtype);
    program.store(y, &result);
    program.emit(target, "mean_variance")
}

/// x, cosines, sines, positions (optional). x is `[batch, heads, sequence, size]` or `[batch, sequence, heads · size]`.
pub fn rotary(
    target: &mut dyn Target,
    (interleaved, num_heads, rotary_dim): (bool, usize, usize),
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, cos, sin) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let positions = optional(inputs, 3);
    let (sequence, size, place) = match x.shape[..] {
        [_, _, sequence, size] => (sequence, size, "c0 * SEQUENCE + c2"),
        [_, sequence, hidden] if num_heads > 0 => {
            (sequence, hidden / num_heads, "c0 * SEQUENCE + c1")
        }
        _ => return Err(LowerError::Invalid(format!("rotary embedding of {:?}", x.shape))),
    };
    let turned = if rotary_dim == 0 { size } else { rotary_dim };
    let half = turned / 2;
    if turned > size
        || cos.shape != sin.shape
        || cos.shape.last() != Some(&half)
        || !x.dtype.is_float()
    {
        return Err(LowerError::Invalid(format!("rotary embedding by {:?}", cos.shape)));
    }
    let angles = cos.elements().checked_div(half).unwrap_or(0);
    let mut kernel = Indexed::new("rotary", y)
        .input("x", x)
        .input("cosines", cos)
        .input("sines", sin)
        .declare(&format!("#define SEQUENCE {sequence}ll"))
        .fault("a position is out of range");
    let row = match positions {
        Some(positions) if positions.elements() == x.shape[0] * sequence => {
            kernel = kernel.input("positions", positions);
            "positions[place]"
        }
        None if angles == x.shape[0] * sequence => "place",
        _ => return Err(LowerError::Invalid("positions that do not match".into())),
    };
    let (c, t) = (computed(x.dtype), stored(x.dtype));
    let (first, partner) = match interleaved {
        true => ("at % 2 == 0", "at / 2"),
        false => ("at < HALF", "at % HALF"),
    };
    let other = if interleaved { "1" } else { "HALF" };
    let body = format!(
        "    const i64 at = i % {size}ll, place = {place};
    const {c} own = Io<{t}>::get(x[i]);
    i64 row = {row};
    if (row < 0 || row >= {angles}ll) {{ report(fault, code); row = 0; }}
    if (at >= 2 * HALF) {{ y = own; }} else {{
        const i64 angle = row * HALF + {partner};
        const {c} cosine = ({c})Io<{}>::get(cosines[angle]), sine = ({c})Io<{}>::get(sines[angle]);
        y = {first} ? cosine * own - sine * Io<{t}>::get(x[i + {other}]) : sine * Io<{t}>::get(x[i - {other}]) + cosine * own;
    }}",
        stored(cos.dtype),
        stored(sin.dtype),
    );
    kernel.declare(&format!("#define HALF {half}ll")).emit(target, &body)
}

/// Lines longer than this are not searched for their largest elements: the work grows with the square.
const TOP_LEN_MAX: usize = 1 << 16;

/// Outputs: values and indices of the first in order along an axis; of equals the smaller index first. NaN counts as the
/// largest number.
pub fn top_k(
    target: &mut dyn Target,
    along: i64,
    largest: bool,
    x: &Value,
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let axis = shape::axis(along, x.shape.len())?;
    let (outer, len, inner) = around(&x.shape, axis);
    let Some(k) = outputs.iter().flatten().next().map(|output| output.shape[axis]) else {
        return Ok(());
    };
    if k > len {
        return Err(LowerError::Invalid(format!("the top {k} of {len}")));
    }
    if len > TOP_LEN_MAX {
        return Err(LowerError::unsupported(format!("the top {k} of {len}")));
    }
    if k == 0 || x.elements() == 0 {
        return Ok(());
    }
    let (c, t) = (computed(x.dtype), stored(x.dtype));
    let beats = if largest { ">" } else { "<" };
    // NaN is the largest number.
    let nan_first = if largest { "a_nan" } else { "b_nan" };
    let (values, indices) = (optional(outputs, 0), optional(outputs, 1));
    let stores = [
        values.map_or("", |_| "values[to] = x[at * INNER];"),
        indices.map_or("", |_| "indices[to] = at;"),
    ]
    .concat();
    let source = format!(
        "\ntypedef {t} T;\ntypedef {c} C;\n#define LEN {len}ll\n#define INNER {inner}ll\n\
         // Whether the element `a` at `i` comes before `b` at `j`.
static INLINE bool before(C a, i64 i, C b, i64 j) {{
    const bool a_nan = is_nan<C>(a), b_nan = is_nan<C>(b);
    if (a_nan != b_nan) return {nan_first};
    if (!a_nan && a != b) return a {beats} b;
    return i < j;
}}
KERNEL top_k(const T* x, T* values, i64* indices) {{
    const i64 thread = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= {count}ll) return;
    const i64 column = thread % INNER, at = thread / INNER % LEN, row = thread / INNER / LEN;
    x += row * LEN * INNER + column;
    const C own = Io<T>::get(x[at * INNER]);
    // The element's place is the number of those before it.
    i64 place = 0;
    for (i64 other = 0; other < LEN; ++other) {{
        if (before(Io<T>::get(x[other * INNER]), other, own, at)) ++place;
    }}
    if (place >= {k}ll) return;
    const i64 to = (row * {k}ll + place) * INNER + column;
    {stores}
}}\n",
        count = outer * len * inner,
    );
    let pointer = |value: Option<&Value>| Argument::Address(value.map_or(0, |v| v.address));
    target.launch(Launch {
        name: "top_k".into(),
        source,
        entry: "top_k",
        shape: LaunchShape::linear(outer * len * inner, 128),
        arguments: vec![Argument::Address(x.address), pointer(values), pointer(indices)],
    })
}

/// theta `[n, 2, 3]` or `[n, 3, 4]`; y `[n, (d,) h, w, 2 or 3]`: the map applied to the centres (or corners) of pixels.
pub fn affine_grid(
    target: &mut dyn Target,
    align_corners: bool,
    theta: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    let bad = || LowerError::Invalid(format!("an affine map {:?} to {:?}", theta.shape, y.shape));
    let (&rank, dims) = y.shape.split_last().ok_or_else(bad)?;
    if dims.is_empty() || theta.shape != [dims[0], rank, rank + 1] || dims.len() != rank + 1 {
        return Err(bad());
    }
    if !theta.dtype.is_float() {
        return Err(LowerError::unsupported(format!("AffineGrid of {}", theta.dtype)));
    }
    let t = stored(theta.dtype);
    let last = y.shape.len() - 1;
    let mut body = format!(
        "    const i64 map = ((i64)c0 * {rank} + c{last}) * {};\n    f64 sum = 0;\n",
        rank + 1
    );
    for place in 0..rank {
        // The last axis of the image is the first coordinate.
        let axis = rank - place;
        let dim = y.shape[axis];
        let at = match align_corners {
            true if dim == 1 => "0.0".to_owned(),
            true => format!("(2.0 * (f64)c{axis} / ({dim}.0 - 1.0) - 1.0)"),
            false => format!("((2.0 * (f64)c{axis} + 1.0) / {dim}.0 - 1.0)"),
        };
        body.push_str(&format!("    sum += (f64)Io<{t}>::get(theta[map + {place}]) * {at};\n"));
    }
    body.push_str(&format!("    sum += (f64)Io<{t}>::get(theta[map + {rank}]);\n    y = sum;"));
    Indexed::new("affine_grid", y).input("theta", theta).emit(target, &body)
}
