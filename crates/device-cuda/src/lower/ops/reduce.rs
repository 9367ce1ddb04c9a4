//! Reductions over any axes, and positions of extreme values.

use super::ctype::{computed, stored};
use super::operands::{input, optional_integers, output};
use super::target::{Launch, Target};
use crate::driver::LaunchShape;
use crate::lower::{LowerError, Value};
use crate::program::Argument;
use std::fmt::Write;
use sublet_graph::{DType, Reduce, shape};

/// What is accumulated, as C++.
struct Fold {
    /// Type of the accumulator, with its definition where it needs one.
    accumulator: String,
    define: String,
    start: String,
    /// From `acc`, the element `x` of computed type, and its number `r`.
    step: String,
    /// From `a` and `b`.
    merge: String,
    /// From `acc`: the result in its computed type.
    finish: String,
    log_sum_exp: bool,
}

/// Data, axes (optional).
pub fn reduce(
    target: &mut dyn Target,
    kind: Reduce,
    noop_with_empty_axes: bool,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (x, y) = (input(inputs, 0)?, output(outputs, 0)?);
    let axes = optional_integers(inputs, 1, "axes of a reduction")?;
    let axes = shape::reduce_axes(x.shape.len(), axes.as_deref(), noop_with_empty_axes)?;
    over(target, kind, x, &axes, y)
}

/// The mean, maximum, … over some axes (increasing).
pub fn over(
    target: &mut dyn Target,
    kind: Reduce,
    x: &Value,
    axes: &[usize],
    y: &Value,
) -> Result<(), LowerError> {
    let count: usize = axes.iter().map(|&axis| x.shape[axis]).product();
    let fold = fold(kind, x.dtype, count)?;
    emit(target, &format!("reduce_{kind:?}").to_lowercase(), &fold, x, axes, y)
}

/// The norm `(Σ |x|ᵖ)^(1/p)` over some axes (increasing).
pub fn lp(
    target: &mut dyn Target,
    p: i64,
    x: &Value,
    axes: &[usize],
    y: &Value,
) -> Result<(), LowerError> {
    if !x.dtype.is_float() {
        return Err(LowerError::unsupported(format!("norms of {}", x.dtype)));
    }
    let c = computed(x.dtype);
    let (power, root) = super::pool::norm(p, c);
    let fold = Fold {
        accumulator: c.to_owned(),
        define: String::new(),
        start: "return 0;".into(),
        step: format!("return acc + {power};"),
        merge: "return a + b;".into(),
        finish: format!("return {root};"),
        log_sum_exp: false,
    };
    emit(target, "reduce_norm", &fold, x, axes, y)
}

/// The index of the largest or smallest value along an axis.
pub fn arg_extreme(
    target: &mut dyn Target,
    along: i64,
    largest: bool,
    last: bool,
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    let axis = shape::axis(along, x.shape.len())?;
    if x.shape[axis] == 0 && y.elements() > 0 {
        return Err(LowerError::Invalid("no values to choose the extreme one from".into()));
    }
    let c = computed(x.dtype);
    let beats = if largest { ">" } else { "<" };
    let tie = if last { ">" } else { "<" };
    let fold = Fold {
        accumulator: "Best".into(),
        define: format!(
            "struct Best {{ {c} value; i64 at; }};\n\
             static INLINE Best better(Best a, Best b) {{\n\
             if (a.at < 0) return b;\n    if (b.at < 0) return a;\n\
             const bool a_nan = is_nan<{c}>(a.value), b_nan = is_nan<{c}>(b.value);\n\
             if (a_nan != b_nan) return a_nan ? a : b;\n\
             if (!a_nan && a.value != b.value) return a.value {beats} b.value ? a : b;\n\
             return a.at {tie} b.at ? a : b;\n}}"
        ),
        start: "Best none; none.value = 0; none.at = -1; return none;".into(),
        step: "Best other; other.value = x; other.at = r; return better(acc, other);".into(),
        merge: "return better(a, b);".into(),
        finish: "return acc.at;".into(),
        log_sum_exp: false,
    };
    emit(target, if largest { "arg_max" } else { "arg_min" }, &fold, x, &[axis], y)
}

fn fold(kind: Reduce, dtype: DType, count: usize) -> Result<Fold, LowerError> {
    let c = computed(dtype);
    let float = dtype.is_float();
    let bool_too = matches!(kind, Reduce::Max | Reduce::Min);
    if dtype == DType::Bool && !bool_too {
        return Err(LowerError::unsupported(format!("{kind:?} of booleans")));
    }
    // The logarithm of a sum of powers of integers is computed in double precision.
    let a = if kind == Reduce::LogSumExp && !float { "f64" } else { c };
    let add = format!("return Add<{c}>(a, b);");
    let (start, step, merge) = match kind {
        Reduce::Max => (
            format!("return Limits<{c}>::low();"),
            format!("return Max<{c}>(acc, x);"),
            format!("return Max<{c}>(a, b);"),
        ),
        Reduce::Min => (
            format!("return Limits<{c}>::high();"),
            format!("return Min<{c}>(acc, x);"),
            format!("return Min<{c}>(a, b);"),
        ),
        Reduce::Prod => (
            "return 1;".to_owned(),
            format!("return Mul<{c}>(acc, x);"),
            format!("return Mul<{c}>(a, b);"),
        ),
        Reduce::L1 => ("return 0;".to_owned(), format!("return Add<{c}>(acc, Abs<{c}>(x));"), add),
        Reduce::L2 | Reduce::SumSquare => {
            ("return 0;".to_owned(), format!("return Add<{c}>(acc, Mul<{c}>(x, x));"), add)
        }
        Reduce::Sum | Reduce::Mean | Reduce::LogSum => {
            ("return 0;".to_owned(), format!("return Add<{c}>(acc, x);"), add)
        }
        Reduce::LogSumExp => {
            ("return 0;".to_owned(), "return acc;".to_owned(), "return a + b;".to_owned())
        }
    };
    let of_f64 = |expression: String| format!("return saturate<{c}>({expression});");
    let finish = match kind {
        Reduce::Mean if float => format!("return acc / ({c}){count}ull;"),
        Reduce::Mean => of_f64(format!("(f64)acc / (f64){}ull", count.max(1))),
        Reduce::L2 if float => "return Sqrt(acc);".to_owned(),
        Reduce::L2 => of_f64("Sqrt((f64)acc)".to_owned()),
        Reduce::LogSum if float => "return Log(acc);".to_owned(),
        Reduce::LogSum => of_f64("Log((f64)acc)".to_owned()),
        Reduce::LogSumExp if !float => of_f64("acc".to_owned()),
        _ => "return acc;".to_owned(),
    };
    let log_sum_exp = kind == Reduce::LogSumExp;
    let accumulator = a.to_owned();
    Ok(Fold { accumulator, define: String::new(), start, step, merge, finish, log_sum_exp })
}

/// Axes as lengths and strides, outermost in memory first.
type Axes = Vec<(usize, usize)>;

fn emit(
    target: &mut dyn Target,
    name: &str,
    fold: &Fold,
    x: &Value,
    reduced: &[usize],
    y: &Value,
) -> Result<(), LowerError> {
    let strides = x.strides();
    let kept: Vec<usize> = (0..x.shape.len()).filter(|axis| !reduced.contains(axis)).collect();
    let outputs: usize = kept.iter().map(|&axis| x.shape[axis]).product();
    if outputs != y.elements() {
        return Err(LowerError::Invalid(format!("{:?} reduced to {:?}", x.shape, y.shape)));
    }
    if outputs == 0 {
        return Ok(());
    }
    // The result's strides along the kept axes: in order, whether reduced axes are kept as ones or not.
    let y_strides: Vec<usize> = if y.shape.len() == x.shape.len() {
        kept.iter().map(|&axis| y.strides()[axis]).collect()
    } else {
        y.strides()
    };
    let mut outer: Vec<(usize, usize, usize)> = kept
        .iter()
        .zip(&y_strides)
        .map(|(&axis, &to)| (x.shape[axis], strides[axis], to))
        .filter(|&(dim, ..)| dim > 1)
        .collect();
    outer.sort_by_key(|&(_, from, _)| std::cmp::Reverse(from));
    let mut inner: Axes = reduced
        .iter()
        .map(|&axis| (x.shape[axis], strides[axis]))
        .filter(|&(dim, _)| dim > 1)
        .collect();
    // An index along an axis counts in the order of the shape, which only one reduced axis at a time asks for.
    inner.sort_by_key(|&(_, stride)| std::cmp::Reverse(stride));
    let along = match (inner.last(), outer.last()) {
        (Some(&(_, inner)), Some(&(_, outer, _))) => inner < outer,
        _ => true,
    };
    let count: usize = reduced.iter().map(|&axis| x.shape[axis]).product();
    let (lanes, outs) = division(count, along);
    let source = source(fold, x, y, &outer, &inner, (outputs, count), (along, lanes, outs));
    let grid = u32::try_from(outputs.div_ceil(outs)).ok().filter(|&grid| grid < 1 << 31);
    let grid = grid.ok_or_else(|| LowerError::unsupported("a reduction to so many elements"))?;
    target.launch(Launch {
        name: name.to_owned(),
        source,
        entry: "reduce",
        shape: LaunchShape {
            grid: [grid, 1, 1],
            block: [(lanes * outs) as u32, 1, 1],
            shared_bytes: 0,
        },
        arguments: vec![Argument::Address(x.address), Argument::Address(y.address)],
    })
}

/// Threads for each output, and outputs of a block. The former depends on the number of elements alone, so that no result
/// depends on how many there are.
fn division(count: usize, along: bool) -> (usize, usize) {
    match (count, along) {
        (..=8, _) => (1, 128),
        (..=128, true) => (8, 16),
        (..=2048, true) => (32, 4),
        (..=65536, true) => (256, 1),
        (_, true) => (1024, 1),
        (..=16, false) => (1, 128),
        (..=1024, false) => (8, 32),
        (_, false) => (32, 32),
    }
}

fn source(
    fold: &Fold,
    x: &Value,
    y: &Value,
    outer: &[(usize, usize, usize)],
    inner: &Axes,
    (outputs, count): (usize, usize),
    (along, lanes, outs): (bool, usize, usize),
) -> String {
    let mut text = String::new();
    let w = &mut text;
    let index = super::indexed::index_type(x.elements().max(y.elements()));
    let a = &fold.accumulator;
    let _ = writeln!(
        w,
        "\ntypedef {} T;\ntypedef {} U;\ntypedef {index} Index;",
        stored(x.dtype),
        stored(y.dtype)
    );
    let _ = writeln!(w, "{}\ntypedef {a} A;", fold.define);
    let _ = writeln!(w, "#define N ((Index){outputs}ll)\n#define R ((Index){count}ll)");
    let along = i32::from(along);
    let _ = writeln!(w, "#define LANES {lanes}\n#define OUTS {outs}\n#define ALONG {along}");
    if fold.log_sum_exp {
        let _ = writeln!(w, "#define LOG_SUM_EXP");
    }
    let base = outer.iter().map(|&(dim, from, _)| (dim, from)).collect();
    let place = outer.iter().map(|&(dim, _, to)| (dim, to)).collect();
    let at = inner.clone();
    for (name, axes) in [("base", base), ("place", place), ("at", at)] {
        offsets(w, name, &axes);
    }
    let c = computed(x.dtype);
    let _ = writeln!(w, "static INLINE A start() {{ {} }}", fold.start);
    let _ = writeln!(w, "static INLINE A step(A acc, {c} x, Index r) {{ {} }}", fold.step);
    let _ = writeln!(w, "static INLINE A merge(A a, A b) {{ {} }}", fold.merge);
    let _ = writeln!(w, "static INLINE {} finish(A acc) {{ {} }}", computed(y.dtype), fold.finish);
    text.push_str(include_str!("../../kernels/reduce.cu"));
    text
}

/// A function from a number to the offset of the element of that number along some axes.
fn offsets(w: &mut String, name: &str, axes: &Axes) {
    let _ = writeln!(w, "static INLINE Index {name}(Index number) {{\n    Index offset = 0;");
    for &(dim, stride) in axes.iter().rev() {
        let _ = writeln!(
            w,
            "    offset += number % (Index){dim}ll * (Index){stride}ll; number /= (Index){dim}ll;"
        );
    }
    let _ = writeln!(w, "    return offset;\n}}");
}
