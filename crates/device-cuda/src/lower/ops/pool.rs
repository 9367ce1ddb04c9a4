//! Pooling over windows and over whole images.

use super::ctype::{computed, stored};
use super::indexed::{Indexed, index_type};
use super::operands::{input, optional};
use super::reduce;
use super::target::{Launch, Target};
use crate::driver::LaunchShape;
use crate::lower::{LowerError, Value};
use crate::program::Argument;
use std::fmt::Write;
use sublet_graph::shape::{Window, pool_geometry};
use sublet_graph::{DType, Pool, Reduce};

/// What is done with the elements of a window, as bodies of functions.
struct Fold {
    name: &'static str,
    start: String,
    step: String,
    finish: String,
    padding: bool,
}

/// x; outputs: maxima, their places (optional).
pub fn max(
    target: &mut dyn Target,
    pool: &Pool,
    column_major: bool,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    if x.dtype == DType::Bool {
        return Err(LowerError::unsupported("MaxPool of booleans"));
    }
    let axes = pool_geometry(pool, &x.shape)?;
    if let Some(y) = optional(outputs, 0) {
        let c = computed(x.dtype);
        let fold = Fold {
            name: "max_pool",
            start: format!("return Limits<{c}>::low();"),
            step: format!("return Max<{c}>(acc, x);"),
            finish: "return acc;".into(),
            padding: false,
        };
        slide(target, &fold, &axes, x, y)?;
    }
    match optional(outputs, 1) {
        Some(places) => places_of_max(target, column_major, &axes, x, places),
        None => Ok(()),
    }
}

pub fn average(
    target: &mut dyn Target,
    pool: &Pool,
    count_include_pad: bool,
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    float(x)?;
    let c = computed(x.dtype);
    let fold = Fold {
        name: "average_pool",
        start: "return 0;".into(),
        step: "return acc + x;".into(),
        finish: format!("return acc / ({c})count;"),
        padding: count_include_pad,
    };
    slide(target, &fold, &pool_geometry(pool, &x.shape)?, x, y)
}

pub fn lp(
    target: &mut dyn Target,
    pool: &Pool,
    p: i64,
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    float(x)?;
    let (power, root) = norm(p, computed(x.dtype));
    let fold = Fold {
        name: "lp_pool",
        start: "return 0;".into(),
        step: format!("return acc + {power};"),
        finish: format!("return {root};"),
        padding: false,
    };
    slide(target, &fold, &pool_geometry(pool, &x.shape)?, x, y)
}

/// Means or maxima of whole images.
pub fn global(
    target: &mut dyn Target,
    kind: Reduce,
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    float(x)?;
    if x.shape.len() < 2 {
        return Err(LowerError::Invalid(format!("global pooling of shape {:?}", x.shape)));
    }
    let axes: Vec<usize> = (2..x.shape.len()).collect();
    reduce::over(target, kind, x, &axes, y)
}

/// The power of `x` that is summed, and the root of the sum `acc`, in the norm `(Σ |x|ᵖ)^(1/p)`.
pub fn norm(p: i64, c: &str) -> (String, String) {
    match p {
        1 => (format!("Abs<{c}>(x)"), "acc".into()),
        2 => ("x * x".into(), "Sqrt(acc)".into()),
        _ => (
            format!("real_pow(Abs<{c}>(x), ({c}){p})"),
            format!("real_pow(acc, ({c})1 / ({c}){p})"),
        ),
    }
}

fn float(x: &Value) -> Result<(), LowerError> {
    if x.dtype.is_float() {
        return Ok(());
    }
    Err(LowerError::unsupported(format!("pooling of {}", x.dtype)))
}

/// Input size, output size, kernel, stride, dilation and padding of three axes; missing ones have size one.
fn three(axes: &[Window]) -> Result<[Window; 3], LowerError> {
    if axes.len() > 3 {
        return Err(LowerError::unsupported(format!("a window over {} axes", axes.len())));
    }
    let one =
        Window { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, pad_begin: 0, pad_end: 0 };
    let missing = 3 - axes.len();
    Ok(std::array::from_fn(|axis| axis.checked_sub(missing).map_or(one, |axis| axes[axis])))
}

/// Strides along image, channel and the three spatial axes.
fn five(value: &Value) -> [usize; 5] {
    let strides = value.strides();
    let missing = 5 - strides.len();
    std::array::from_fn(|axis| match axis {
        0 | 1 => strides[axis],
        _ => (axis - 2).checked_sub(missing).map_or(0, |spatial| strides[spatial + 2]),
    })
}

const NAMES: [&str; 3] = ["Z", "Y", "X"];

fn define_windows(w: &mut String, windows: &[Window; 3]) {
    for (name, axis) in NAMES.iter().zip(windows) {
        for (what, value) in [
            ("I", axis.input),
            ("K", axis.kernel),
            ("S", axis.stride),
            ("D", axis.dilation),
            ("P", axis.pad_begin),
            ("E", axis.pad_end),
        ] {
            let _ = writeln!(w, "#define {what}_{name} ((Index){value})");
        }
    }
}

fn slide(
    target: &mut dyn Target,
    fold: &Fold,
    axes: &[Window],
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    let windows = three(axes)?;
    let shape_of = |value: &Value| -> Vec<usize> { value.shape.iter().skip(2).copied().collect() };
    let outputs: Vec<usize> = axes.iter().map(|axis| axis.output).collect();
    if x.shape.len() != axes.len() + 2 || y.shape[..2] != x.shape[..2] || shape_of(y) != outputs {
        return Err(LowerError::Invalid(format!("windows over {:?} into {:?}", x.shape, y.shape)));
    }
    if y.elements() == 0 {
        return Ok(());
    }
    let (from, to) = (five(x), five(y));
    let (n, c) = (x.shape[0], x.shape[1]);
    // Neighbouring channels together, where they lie together on both sides.
    let largest = x.dtype.size().max(y.dtype.size());
    let mut pack = if from[1] == 1 && to[1] == 1 { 16 / largest } else { 1 };
    let aligned = |pack: usize, value: &Value| {
        value.address.is_multiple_of((pack * value.dtype.size()) as u64)
    };
    while pack > 1 && !(c % pack == 0 && aligned(pack, x) && aligned(pack, y)) {
        pack /= 2;
    }
    let threads = y.elements() / pack;
    let index = index_type(x.elements().max(y.elements()));
    let mut text = String::new();
    let w = &mut text;
    let a = computed(x.dtype);
    let _ = writeln!(
        w,
        "\ntypedef {} T;\ntypedef {} U;\ntypedef {a} A;\ntypedef {index} Index;",
        stored(x.dtype),
        stored(y.dtype)
    );
    let _ = writeln!(w, "#define N ((Index){threads}ll)\n#define PACK {pack}");
    for (side, strides) in [("X", from), ("Y", to)] {
        for (axis, stride) in ["N", "C", "Z", "Y", "X"].iter().zip(strides) {
            let _ = writeln!(w, "#define {side}_{axis} ((Index){stride}ll)");
        }
    }
    define_windows(w, &windows);
    locate(w, to, [n, c, windows[0].output, windows[1].output, windows[2].output], pack);
    let within = if fold.padding { "p < size + end" } else { "p >= 0 && p < size" };
    let _ = writeln!(
        w,
        "static INLINE int counts(Index p, Index size, Index end) {{ return {within}; }}\n\
         static INLINE A start() {{ {} }}\n\
         static INLINE A step(A acc, A x) {{ {} }}\n\
         static INLINE A finish(A acc, int count) {{ {} }}",
        fold.start, fold.step, fold.finish
    );
    text.push_str(include_str!("../../kernels/pool.cu"));
    target.launch(Launch {
        name: fold.name.into(),
        source: text,
        entry: "pool",
        shape: LaunchShape::linear(threads, 128),
        arguments: vec![Argument::Address(x.address), Argument::Address(y.address)],
    })
}

/// A function from a thread to the indices of its (first) output, neighbouring threads taking neighbouring outputs.
fn locate(w: &mut String, to: [usize; 5], dims: [usize; 5], pack: usize) {
    let names = ["n", "c", "z", "y", "x"];
    let mut order: Vec<usize> = (0..5).collect();
    // Axes of one index have strides that say nothing.
    order.sort_by_key(|&axis| if dims[axis] == 1 { 0 } else { to[axis] });
    let _ = writeln!(
        w,
        "static INLINE void locate(Index thread, Index& n, Index& c, Index& z, Index& y, Index& x) {{"
    );
    for axis in order {
        let (dim, scale) = if axis == 1 { (dims[1] / pack, pack) } else { (dims[axis], 1) };
        let name = names[axis];
        let _ = writeln!(
            w,
            "    {name} = thread % (Index){dim}ll * {scale}; thread /= (Index){dim}ll;"
        );
    }
    let _ = writeln!(w, "}}");
}

/// Where the first maximum of each window stands in the flattened input.
fn places_of_max(
    target: &mut dyn Target,
    column_major: bool,
    axes: &[Window],
    x: &Value,
    places: &Value,
) -> Result<(), LowerError> {
    let windows = three(axes)?;
    let [depth, height, width] = windows.map(|window| window.input);
    let steps = if column_major { [1, depth, depth * height] } else { [height * width, width, 1] };
    let from = five(x);
    let c = computed(x.dtype);
    let rank = axes.len();
    let mut declarations = String::new();
    define_windows(&mut declarations, &windows);
    let mut body = String::new();
    for (axis, name) in NAMES.iter().enumerate() {
        let place = match (axis + rank).checked_sub(3) {
            Some(spatial) => format!("c{}", spatial + 2),
            None => "(Index)0".to_owned(),
        };
        let _ = writeln!(body, "    const Index o{name} = {place} * S_{name} - P_{name};");
    }
    let read = |axis: usize| format!("(i64){}", from[axis]);
    let _ = writeln!(
        body,
        "    bool any = false; {c} best = 0; i64 place = 0;
    for (int kz = 0; kz < K_Z; ++kz) for (int ky = 0; ky < K_Y; ++ky) for (int kx = 0; kx < K_X; ++kx) {{
        const Index z = oZ + kz * D_Z, yy = oY + ky * D_Y, xx = oX + kx * D_X;
        if (z < 0 || z >= I_Z || yy < 0 || yy >= I_Y || xx < 0 || xx >= I_X) continue;
        const {c} value = Io<{}>::get(x[c0 * {} + c1 * {} + z * {} + yy * {} + xx * {}]);
        if (!any || value > best) {{ any = true; best = value; place = z * {}ll + yy * {}ll + xx * {}ll; }}
    }}
    y = (c0 * {}ll + c1) * {}ll + place;",
        stored(x.dtype),
        read(0),
        read(1),
        read(2),
        read(3),
        read(4),
        steps[0],
        steps[1],
        steps[2],
        x.shape[1],
        depth * height * width,
    );
    Indexed::new("places_of_max", places).input("x", x).declare(&declarations).emit(target, &body)
}
