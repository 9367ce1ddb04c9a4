//! Reading and writing elements or slices at indices that are known only at run time.
//!
//! An index out of range is a fault of the request: nothing is read or written there.

use super::ctype::{bits_of_size, computed, stored};
use super::indexed::{Indexed, index_type, table};
use super::movement::reshape;
use super::operands::{around, input, optional, strides_of};
use super::target::{Launch, Target};
use crate::driver::{Address, LaunchShape};
use crate::lower::{LowerError, Value};
use crate::program::Argument;
use std::fmt::Write;
use sublet_graph::{DType, ScatterReduction, shape};

const OUT_OF_RANGE: &str = "an index is out of range";

/// `y[outer…, indices…, inner…]`.
pub fn gather(
    target: &mut dyn Target,
    along: i64,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, indices) = (input(inputs, 0)?, input(inputs, 1)?);
    let (outer, len, inner) = around(&x.shape, shape::axis(along, x.shape.len())?);
    let count = indices.elements();
    if outer * count * inner != y.elements() || len == 0 {
        let what = format!("{:?} at {:?} is not {:?}", x.shape, indices.shape, y.shape);
        return if y.elements() == 0 { Ok(()) } else { Err(LowerError::Invalid(what)) };
    }
    let place = format!(
        "    const i64 column = run % {count}ll, row = run / {count}ll;
    i64 at = indices[column];
    if (at < 0) at += {len}ll;
    if (at < 0 || at >= {len}ll) {{ good = false; return 0; }}
    return row * {len}ll + at;"
    );
    pick(target, "gather", x, indices, y, inner, &place)
}

/// Each tuple along the last axis of the indices names a slice of `x`, after `batch_dims` common axes.
pub fn gather_nd(
    target: &mut dyn Target,
    batch_dims: usize,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, indices) = (input(inputs, 0)?, input(inputs, 1)?);
    let bad = || LowerError::Invalid(format!("indices {:?} into {:?}", indices.shape, x.shape));
    let (&depth, tuples) = indices.shape.split_last().ok_or_else(bad)?;
    let end = batch_dims + depth;
    if end > x.shape.len()
        || batch_dims > tuples.len()
        || tuples[..batch_dims] != x.shape[..batch_dims]
    {
        return Err(bad());
    }
    if y.elements() == 0 {
        return Ok(());
    }
    let inner: usize = x.shape[end..].iter().product();
    let each: usize = tuples[batch_dims..].iter().product();
    let batch: usize = x.shape[batch_dims..end].iter().product();
    let mut place = format!("    i64 at, slice = 0;\n    const i64 tuple = run * {depth}ll;\n");
    tuple_offset(&mut place, &x.shape[batch_dims..end], "return 0");
    let _ = writeln!(place, "    return run / {each}ll * {batch}ll + slice;");
    pick(target, "gather_nd", x, indices, y, inner, &place)
}

/// Statements that make `slice` the row-major number of the slice that a tuple of indices names.
fn tuple_offset(body: &mut String, dims: &[usize], otherwise: &str) {
    for (position, dim) in dims.iter().enumerate() {
        let _ = writeln!(
            body,
            "    at = indices[tuple + {position}]; if (at < 0) at += {dim}ll;
    if (at < 0 || at >= {dim}ll) {{ good = false; {otherwise}; }}
    slice = slice * {dim}ll + at;"
        );
    }
}

/// Fills `y` with runs of `inner` elements of `x`; `place` is the body of a function from the number of a run to that of
/// the run of `x` that it is.
fn pick(
    target: &mut dyn Target,
    name: &str,
    x: &Value,
    indices: &Value,
    y: &Value,
    inner: usize,
    place: &str,
) -> Result<(), LowerError> {
    let run = inner * x.dtype.size();
    let fits = |unit: usize| {
        let aligned = |value: &Value| value.address.is_multiple_of(unit as u64);
        run.is_multiple_of(unit) && aligned(x) && aligned(y)
    };
    let mut unit = 16;
    while unit > 1 && !fits(unit) {
        unit /= 2;
    }
    let unit_type = bits_of_size(unit).map_or("Sixteen", stored);
    let (units, per_run) = (y.bytes() / unit, run / unit);
    let index = index_type(units.max(x.bytes() / unit));
    let source = format!(
        "\ntypedef {index} Index;\ntypedef {} I;\nstruct alignas(16) Sixteen {{ u64 at[2]; }};\n\
         static INLINE i64 place(const I* indices, i64 run, bool& good) {{\n{place}\n}}\n\
         KERNEL gather(const {unit_type}* x, const I* indices, {unit_type}* y, u32* fault, u32 code) {{
    const Index unit = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (unit >= (Index){units}ll) return;
    const Index run = unit / (Index){per_run}ll;
    bool good = true;
    const i64 from = place(indices, run, good);
    if (!good) {{ report(fault, code); return; }}
    y[unit] = x[(Index)from * (Index){per_run}ll + unit % (Index){per_run}ll];
}}\n",
        stored(indices_type(indices)?),
    );
    let (fault, code) = target.fault(OUT_OF_RANGE);
    target.launch(Launch {
        name: name.into(),
        source,
        entry: "gather",
        shape: LaunchShape::linear(units, 128),
        arguments: vec![
            Argument::Address(x.address),
            Argument::Address(indices.address),
            Argument::Address(y.address),
            Argument::Address(fault),
            Argument::U32(code),
        ],
    })
}

fn indices_type(indices: &Value) -> Result<DType, LowerError> {
    match indices.dtype {
        DType::I64 | DType::I32 => Ok(indices.dtype),
        other => Err(LowerError::Invalid(format!("indices of {other}"))),
    }
}

/// `indices` has the rank of `x`; each one replaces the index along an axis.
pub fn gather_elements(
    target: &mut dyn Target,
    along: i64,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, indices) = (input(inputs, 0)?, input(inputs, 1)?);
    let axis = shape::axis(along, x.shape.len())?;
    elements_fit(x, indices, axis)?;
    indices_type(indices)?;
    let offset = elements_offset(x, axis);
    let len = x.shape[axis];
    let bits = super::ctype::bits(x.dtype);
    Indexed::new("gather_elements", y)
        .bits()
        .input_as("x", x, bits)
        .input("indices", indices)
        .fault(OUT_OF_RANGE)
        .emit(
            target,
            &format!(
                "    i64 at = indices[i];
    if (at < 0) at += {len}ll;
    y = 0;
    if (at < 0 || at >= {len}ll) report(fault, code); else y = x[{offset}];"
            ),
        )
}

fn elements_fit(x: &Value, indices: &Value, axis: usize) -> Result<(), LowerError> {
    let fits = indices.shape.len() == x.shape.len()
        && (0..x.shape.len()).all(|other| other == axis || indices.shape[other] <= x.shape[other]);
    if fits {
        return Ok(());
    }
    Err(LowerError::Invalid(format!("indices {:?} into {:?}", indices.shape, x.shape)))
}

/// The offset in `x` of the element at `c0`, `c1`, … with `at` in place of the index along an axis.
fn elements_offset(x: &Value, axis: usize) -> String {
    let terms: Vec<String> = strides_of(&x.shape)
        .iter()
        .enumerate()
        .map(|(other, stride)| match other == axis {
            true => format!("at * {stride}ll"),
            false => format!("(i64)c{other} * {stride}ll"),
        })
        .collect();
    terms.join(" + ")
}

/// Data, indices and updates of one rank: each index replaces the one along an axis.
pub fn scatter_elements(
    target: &mut dyn Target,
    along: i64,
    reduction: ScatterReduction,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, indices, updates) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let axis = shape::axis(along, x.shape.len())?;
    elements_fit(x, indices, axis)?;
    if indices.shape != updates.shape || x.dtype != updates.dtype {
        return Err(LowerError::Invalid(format!("updates {:?} of {:?}", updates.shape, x.shape)));
    }
    let (outer, len, inner) = around(&x.shape, axis);
    let strides = strides_of(&x.shape);
    let own = strides_of(&indices.shape);
    reshape(target, x, y)?;
    if updates.elements() == 0 {
        return Ok(());
    }
    // Updates meet only along the axis: one thread takes all that share the other indices, in order.
    let (mut to, mut from) = (String::from("0"), String::from("0"));
    let mut locate = String::new();
    let lines: usize = indices
        .shape
        .iter()
        .enumerate()
        .filter(|&(at, _)| at != axis)
        .map(|(_, dim)| dim)
        .product();
    for (other, &dim) in indices.shape.iter().enumerate().rev().filter(|&(at, _)| at != axis) {
        let _ = writeln!(locate, "    const i64 c{other} = rest % {dim}ll; rest /= {dim}ll;");
        let _ = write!(to, " + c{other} * {}ll", strides[other]);
        let _ = write!(from, " + c{other} * {}ll", own[other]);
    }
    debug_assert_eq!(outer * len * inner, x.elements());
    let combine = combine(reduction, x.dtype)?;
    let body = format!(
        "    i64 rest = line;\n{locate}    T* to = y + ({to});\n    const i64 first = {from};
    for (i64 step = 0; step < {}ll; ++step) {{
        const i64 place = first + step * {}ll;
        i64 at = indices[place];
        if (at < 0) at += {len}ll;
        if (at < 0 || at >= {len}ll) {{ report(fault, code); continue; }}
        combine(to[at * {}ll], updates[place]);
    }}",
        indices.shape[axis], own[axis], strides[axis]
    );
    scatter_lines(target, "scatter_elements", [indices, updates, y], lines, &combine, &body)
}

/// How an update enters an element, as the body of `combine(T& to, T update)`.
fn combine(reduction: ScatterReduction, dtype: DType) -> Result<String, LowerError> {
    let (t, c) = (stored(dtype), computed(dtype));
    let name = match (reduction, dtype) {
        (ScatterReduction::None, _) => return Ok("to = update;".into()),
        (ScatterReduction::Add | ScatterReduction::Max, DType::Bool) => {
            return Ok("to.bits |= update.bits;".into());
        }
        (_, DType::Bool) => return Ok("to.bits &= update.bits;".into()),
        (ScatterReduction::Add, _) => "Add",
        (ScatterReduction::Mul, _) => "Mul",
        (ScatterReduction::Max, _) => "Max",
        (ScatterReduction::Min, _) => "Min",
    };
    if matches!(dtype, DType::F16 | DType::BF16) && reduction != ScatterReduction::None {
        // Sums of halves would be rounded at every step.
        return Err(LowerError::unsupported(format!("a scatter of {dtype} that combines")));
    }
    Ok(format!("to = Io<{t}>::put({name}<{c}>(Io<{t}>::get(to), Io<{t}>::get(update)));"))
}

/// A kernel with one thread for each of `lines` sets of elements that no other thread writes.
fn scatter_lines(
    target: &mut dyn Target,
    name: &str,
    [indices, updates, y]: [&Value; 3],
    lines: usize,
    combine: &str,
    body: &str,
) -> Result<(), LowerError> {
    let source = format!(
        "\ntypedef {} T;\ntypedef {} I;\n\
         static INLINE void combine(T& to, T update) {{ {combine} }}\n\
         KERNEL scatter(const I* indices, const T* updates, T* y, u32* fault, u32 code) {{
    const i64 line = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (line >= {lines}ll) return;\n{body}\n}}\n",
        stored(y.dtype),
        stored(indices_type(indices)?),
    );
    let (fault, code) = target.fault(OUT_OF_RANGE);
    target.launch(Launch {
        name: name.into(),
        source,
        entry: "scatter",
        shape: LaunchShape::linear(lines, 64),
        arguments: vec![
            Argument::Address(indices.address),
            Argument::Address(updates.address),
            Argument::Address(y.address),
            Argument::Address(fault),
            Argument::U32(code),
        ],
    })
}

/// Each tuple along the last axis of the indices names the slice of the data that the next slice of the updates goes to.
pub fn scatter_nd(
    target: &mut dyn Target,
    reduction: ScatterReduction,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, indices, updates) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let bad = || {
        let shapes = [&indices.shape, &updates.shape, &x.shape];
        LowerError::Invalid(format!("indices, updates and data {shapes:?}"))
    };
    let (&depth, tuples) = indices.shape.split_last().ok_or_else(bad)?;
    if depth > x.shape.len() || x.dtype != updates.dtype {
        return Err(bad());
    }
    let run: usize = x.shape[depth..].iter().product();
    let count: usize = tuples.iter().product();
    if updates.elements() != count * run {
        return Err(bad());
    }
    reshape(target, x, y)?;
    if updates.elements() == 0 {
        return Ok(());
    }
    // One thread for each element of a slice takes all updates, in order, so that the last of several wins.
    if count > 1 << 16 {
        return Err(LowerError::unsupported(format!("a scatter of {count} slices")));
    }
    let mut tuple = String::from("        i64 at, slice = 0; bool good = true;\n");
    let _ = writeln!(tuple, "        const i64 tuple = update * {depth}ll;");
    tuple_offset(&mut tuple, &x.shape[..depth], "report(fault, code); continue");
    let body = format!(
        "    for (i64 update = 0; update < {count}ll; ++update) {{\n{tuple}
        if (good) combine(y[slice * {run}ll + line], updates[update * {run}ll + line]);
    }}"
    );
    let combine = combine(reduction, x.dtype)?;
    scatter_lines(target, "scatter_nd", [indices, updates, y], run, &combine, &body)
}

/// Writes an update into a cache along an axis, from an index of its own for each batch on.
pub fn tensor_scatter(
    target: &mut dyn Target,
    along: i64,
    circular: bool,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (cache, update, starts) = (input(inputs, 0)?, input(inputs, 1)?, optional(inputs, 2));
    let axis = shape::axis(along, cache.shape.len())?;
    let fits = axis > 0
        && update.shape.len() == cache.shape.len()
        && cache.dtype == update.dtype
        && (0..cache.shape.len())
            .all(|other| other == axis || update.shape[other] == cache.shape[other])
        && update.shape[axis] <= cache.shape[axis]
        && starts.is_none_or(|starts| starts.elements() == cache.shape[0]);
    if !fits {
        return Err(LowerError::Invalid(format!("{:?} to {:?}", update.shape, cache.shape)));
    }
    let (_, len, inner) = around(&cache.shape, axis);
    let new = update.shape[axis];
    let bits = super::ctype::bits(cache.dtype);
    let start = match starts {
        Some(starts) => {
            indices_type(starts)?;
            "i64 start = starts[c0];"
        }
        None => "i64 start = 0;",
    };
    // Every element of the result asks whether the update has it.
    let place = match circular {
        true => format!(
            "start %= {len}ll; if (start < 0) start += {len}ll; i64 step = c{axis} - start; if (step < 0) step += {len}ll;"
        ),
        false => format!(
            "if (start < 0 || start + {new}ll > {len}ll) {{ report(fault, code); }} i64 step = c{axis} - start;"
        ),
    };
    let rows = new * inner;
    let mut kernel = Indexed::new("tensor_scatter", y)
        .bits()
        .input_as("cache", cache, bits)
        .input_as("update", update, bits)
        .fault(OUT_OF_RANGE);
    if let Some(starts) = starts {
        kernel = kernel.input("starts", starts);
    }
    kernel.emit(
        target,
        &format!(
            "    {start}\n    {place}
    const i64 outer = i / {}ll, within = i % {inner}ll;
    y = step >= 0 && step < {new}ll ? update[outer * {rows}ll + step * {inner}ll + within] : cache[i];",
            len * inner
        ),
    )
}

/// Reverses the first `lengths[b]` time steps of each batch entry `b`.
pub fn reverse_sequence(
    target: &mut dyn Target,
    batch_axis: i64,
    time_axis: i64,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, lengths) = (input(inputs, 0)?, input(inputs, 1)?);
    let batch = shape::axis(batch_axis, x.shape.len())?;
    let time = shape::axis(time_axis, x.shape.len())?;
    if batch.max(time) != 1 || batch == time {
        return Err(LowerError::Invalid("the batch and time axes are the first two".into()));
    }
    indices_type(lengths)?;
    if lengths.elements() != x.shape[batch] {
        return Err(LowerError::Invalid(format!("{} sequence lengths", lengths.elements())));
    }
    let (steps, stride) = (x.shape[time], strides_of(&x.shape)[time]);
    let bits = super::ctype::bits(x.dtype);
    Indexed::new("reverse_sequence", y)
        .bits()
        .input_as("x", x, bits)
        .input("lengths", lengths)
        .fault("a sequence length is out of range")
        .emit(
            target,
            &format!(
                "    i64 length = lengths[c{batch}];
    if (length < 0 || length > {steps}ll) {{ report(fault, code); length = 0; }}
    const i64 from = c{time} < length ? length - 1 - c{time} : c{time};
    y = x[i + (from - c{time}) * {stride}ll];"
            ),
        )
}

/// Elements whose places along each axis are in tables; −1: the constant.
pub fn by_tables(
    target: &mut dyn Target,
    name: &str,
    x: &Value,
    y: &Value,
    maps: &[Option<Vec<i64>>],
    constant: &Constant,
) -> Result<(), LowerError> {
    let strides = strides_of(&x.shape);
    let bits = super::ctype::bits(x.dtype);
    let mut kernel = Indexed::new(name, y).bits().input_as("x", x, bits);
    let mut body = String::from("    i64 from = 0; bool inside = true;\n");
    for (axis, map) in maps.iter().enumerate() {
        let stride = strides[axis];
        match map {
            None => {
                let _ = writeln!(body, "    from += c{axis} * {stride}ll;");
            }
            Some(map) => {
                kernel = kernel.declare(&table(&format!("map{axis}"), map));
                let _ = writeln!(
                    body,
                    "    {{ const i64 at = map{axis}[c{axis}]; if (at < 0) inside = false; else from += at * {stride}ll; }}"
                );
            }
        }
    }
    let constant = match constant {
        Constant::Bits(value) => format!("({}){value:#x}ull", stored(bits)),
        Constant::At(address) => {
            let value = Value { address: *address, ..x.clone() };
            kernel = kernel.input_as("constant", &value, bits);
            "constant[0]".to_owned()
        }
    };
    let _ = writeln!(body, "    y = inside ? x[from] : {constant};");
    kernel.emit(target, &body)
}

/// What stands where no element does.
pub enum Constant {
    Bits(u64),
    At(Address),
}

/// The largest number of entries that tables are written for.
pub const TABLE_MAX: usize = 1 << 14;
