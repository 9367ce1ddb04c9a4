//! Padding, cropping, resizing and sampling.

use super::ctype::{attribute, computed, f64_constant, stored};
use super::gather::{Constant, TABLE_MAX, by_tables};
use super::indexed::{Indexed, real_table, table};
use super::operands::{
    input, known_floats, known_integers, optional, optional_integers, strides_of,
};
use super::target::Target;
use crate::lower::{LowerError, Value};
use std::fmt::Write;
use sublet_graph::shape::{self, ResizeAxis, resize_geometry};
use sublet_graph::{
    CoordinateTransform, DType, GridPadding, Interpolation, NearestMode, PadMode, Resize,
};

/// Data, pads, constant value, axes. Negative pads crop, before anything is added.
pub fn pad(
    target: &mut dyn Target,
    mode: PadMode,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    let pads = known_integers(input(inputs, 1)?, "pads")?;
    let axes = optional_integers(inputs, 3, "axes of pads")?;
    let amounts = shape::pad_amounts(x.shape.len(), &pads, axes.as_deref())?;
    let constant = match optional(inputs, 2).filter(|value| value.elements() > 0) {
        Some(value) if value.dtype != x.dtype || value.elements() != 1 => {
            return Err(LowerError::Invalid(format!("padding of {}", value.dtype)));
        }
        Some(value) => Constant::At(value.address),
        None => Constant::Bits(0),
    };
    placed(target, "pad", x, &amounts, mode, &constant, y)
}

/// Crops or zero-pads around the centre.
pub fn center_crop_pad(target: &mut dyn Target, x: &Value, y: &Value) -> Result<(), LowerError> {
    let amounts: Vec<(i64, i64)> = x
        .shape
        .iter()
        .zip(&y.shape)
        .map(|(&from, &to)| {
            // Halves are rounded towards the start for both cropping and padding.
            let (from, to) = (from as i64, to as i64);
            let before = (to - from) / 2;
            (before, to - from - before)
        })
        .collect();
    placed(target, "crop", x, &amounts, PadMode::Constant, &Constant::Bits(0), y)
}

fn placed(
    target: &mut dyn Target,
    name: &str,
    x: &Value,
    amounts: &[(i64, i64)],
    mode: PadMode,
    constant: &Constant,
    y: &Value,
) -> Result<(), LowerError> {
    if x.shape.len() != y.shape.len() || amounts.len() != y.shape.len() {
        return Err(LowerError::Invalid(format!("pads of {:?} to {:?}", x.shape, y.shape)));
    }
    let mut maps = Vec::with_capacity(amounts.len());
    for ((&len, &amount), &out) in x.shape.iter().zip(amounts).zip(&y.shape) {
        maps.push(match amount {
            (0, 0) => None,
            _ if out > TABLE_MAX => {
                return Err(LowerError::unsupported(format!("padding to an axis of {out}")));
            }
            _ => Some(index_map(len, amount, mode, out)?),
        });
    }
    by_tables(target, name, x, y, &maps, constant)
}

/// The input index of each of `out` output indices of an axis of `len`; −1 for the constant.
fn index_map(
    len: usize,
    (before, after): (i64, i64),
    mode: PadMode,
    out: usize,
) -> Result<Vec<i64>, LowerError> {
    let first = (-before).max(0);
    let count = len as i64 - first - (-after).max(0);
    let sum = (len as i64).checked_add(before).and_then(|sum| sum.checked_add(after));
    if before < -(len as i64) || after < -(len as i64) || sum != Some(out as i64) {
        return Err(LowerError::Invalid(format!("pads ({before}, {after}) of an axis of {len}")));
    }
    if mode != PadMode::Constant && count <= 0 && out > 0 {
        return Err(LowerError::Invalid(format!("{mode:?} padding of an axis of {len}")));
    }
    let map = |index: i64| {
        let at = index - before.max(0);
        let inside = match mode {
            PadMode::Constant if (0..count).contains(&at) => at,
            PadMode::Constant => return -1,
            PadMode::Edge => at.clamp(0, count - 1),
            PadMode::Wrap => at.rem_euclid(count),
            PadMode::Reflect if count == 1 => 0,
            PadMode::Reflect => {
                let around = at.rem_euclid(2 * (count - 1));
                around.min(2 * (count - 1) - around)
            }
        };
        first + inside
    };
    Ok((0..out as i64).map(map).collect())
}

/// x, roi, scales, sizes; an empty tensor is as good as none.
pub fn resize(
    target: &mut dyn Target,
    options: &Resize,
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    let given = |index| optional(inputs, index).filter(|value: &&Value| value.elements() > 0);
    let roi = given(1).map(|roi| known_floats(roi, "a region to resize")).transpose()?;
    let scales = given(2).map(|scales| known_floats(scales, "scales to resize by")).transpose()?;
    let sizes = given(3).map(|sizes| known_integers(sizes, "sizes to resize to")).transpose()?;
    let axes =
        resize_geometry(options, &x.shape, roi.as_deref(), scales.as_deref(), sizes.as_deref())?;
    let fits = axes.len() == y.shape.len()
        && axes.iter().zip(&y.shape).all(|(axis, &len)| axis.output == len);
    if !fits || (x.elements() == 0 && y.elements() > 0) {
        return Err(LowerError::Invalid(format!("{:?} resized into {:?}", x.shape, y.shape)));
    }
    if axes.iter().any(|axis| !is_unchanged(options, axis) && axis.output > TABLE_MAX) {
        return Err(LowerError::unsupported("resizing to so long an axis"));
    }
    match options.mode {
        Interpolation::Nearest => {
            let maps: Vec<Option<Vec<i64>>> = axes
                .iter()
                .map(|axis| (!is_unchanged(options, axis)).then(|| nearest(options, axis)))
                .collect();
            let outside = bits_of(options.extrapolation, x.dtype)?;
            by_tables(target, "resize", x, y, &maps, &Constant::Bits(outside))
        }
        _ => interpolate(target, options, &axes, x, y),
    }
}

/// A number as the bits of an element.
fn bits_of(value: f32, dtype: DType) -> Result<u64, LowerError> {
    Ok(match dtype {
        DType::F32 => u64::from(value.to_bits()),
        DType::F64 => f64::from(value).to_bits(),
        DType::F16 => u64::from(half::f16::from_f32(value).to_bits()),
        DType::BF16 => u64::from(half::bf16::from_f32(value).to_bits()),
        DType::Bool => u64::from(value != 0.0),
        _ if value == 0.0 => 0,
        other => return Err(LowerError::unsupported(format!("extrapolation of {other}"))),
    })
}

/// Whether the axis comes out as it went in.
fn is_unchanged(options: &Resize, axis: &ResizeAxis) -> bool {
    let whole =
        options.coordinates != CoordinateTransform::TfCropAndResize || axis.roi == (0.0, 1.0);
    axis.input == axis.output && (axis.scale - 1.0).abs() < 1e-9 && whole
}

fn is_outside(options: &Resize, axis: &ResizeAxis, at: f64) -> bool {
    options.coordinates == CoordinateTransform::TfCropAndResize
        && !(0.0..=(axis.input as f64 - 1.0)).contains(&at)
}

fn nearest(options: &Resize, axis: &ResizeAxis) -> Vec<i64> {
    let index = |output: usize| {
        let at = coordinate(options.coordinates, axis, output);
        let nearest = match options.nearest {
            NearestMode::Floor => at.floor(),
            NearestMode::Ceil => at.ceil(),
            NearestMode::RoundPreferFloor => (at - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (at + 0.5).floor(),
        };
        match is_outside(options, axis, at) {
            true => -1,
            false => (nearest as i64).clamp(0, axis.input as i64 - 1),
        }
    };
    (0..axis.output).map(index).collect()
}

/// The place in the input that an output index stands for.
fn coordinate(transform: CoordinateTransform, axis: &ResizeAxis, index: usize) -> f64 {
    let (index, input) = (index as f64, axis.input as f64);
    // Not rounded down to a whole number.
    let output = axis.scale * input;
    let half_pixel = (index + 0.5) / axis.scale - 0.5;
    match transform {
        CoordinateTransform::HalfPixel => half_pixel,
        CoordinateTransform::PytorchHalfPixel if output == 1.0 => -0.5,
        CoordinateTransform::PytorchHalfPixel => half_pixel,
        CoordinateTransform::HalfPixelSymmetric => {
            input / 2.0 * (1.0 - axis.output as f64 / output) + half_pixel
        }
        CoordinateTransform::AlignCorners if output == 1.0 => 0.0,
        CoordinateTransform::AlignCorners => index * (input - 1.0) / (output - 1.0),
        CoordinateTransform::Asymmetric => index / axis.scale,
        CoordinateTransform::TfCropAndResize => {
            let (start, end) = (f64::from(axis.roi.0), f64::from(axis.roi.1));
            let along = if output == 1.0 { 0.5 } else { index / (output - 1.0) };
            (start + along * (end - start)) * (input - 1.0)
        }
    }
}

/// For each output index of an axis, `count` input indices and their weights.
struct Taps {
    count: usize,
    indices: Vec<i64>,
    weights: Vec<f64>,
    outside: Vec<bool>,
}

fn taps(options: &Resize, axis: &ResizeAxis) -> Taps {
    // Antialiasing widens the kernel when shrinking.
    let squeeze = if options.antialias { axis.scale.min(1.0) } else { 1.0 };
    let reach = if options.mode == Interpolation::Linear { 1.0 } else { 2.0 };
    let first = (-reach / squeeze).floor() as i64 + 1;
    let count = (2 - 2 * first) as usize;
    let mut taps = Taps { count, indices: Vec::new(), weights: Vec::new(), outside: Vec::new() };
    let last = axis.input as i64 - 1;
    for index in 0..axis.output {
        let at = coordinate(options.coordinates, axis, index);
        taps.outside.push(is_outside(options, axis, at));
        // The neighbour on the left, strictly: the distance to it is in (0, 1].
        let left = at.ceil() - 1.0;
        let (distance, start) = (at - left, left as i64 + first);
        let places: Vec<i64> = (0..count as i64).map(|tap| start + tap).collect();
        let weight =
            |tap: usize| match options.exclude_outside && !(0..=last).contains(&places[tap]) {
                true => 0.0,
                false => kernel(options.mode, squeeze * ((first + tap as i64) as f64 - distance)),
            };
        let weights: Vec<f64> = (0..count).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let normalise = (options.exclude_outside || options.antialias) && total != 0.0;
        taps.indices.extend(places.iter().map(|&place| place.clamp(0, last)));
        taps.weights.extend(weights.iter().map(|w| if normalise { w / total } else { *w }));
    }
    taps
}

/// The weight of an input at a distance from the output's place.
fn kernel(mode: Interpolation, distance: f64) -> f64 {
    let x = distance.abs();
    match mode {
        Interpolation::Cubic { a } => {
            // Keys, Cubic convolution interpolation for digital image processing, equation 15.
            let a = f64::from(a);
            if x <= 1.0 {
                ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
            } else {
                0.0
            }
        }
        _ => (1.0 - x).clamp(0.0, 1.0),
    }
}

/// Weighted sums over all changed axes at once.
fn interpolate(
    target: &mut dyn Target,
    options: &Resize,
    axes: &[ResizeAxis],
    x: &Value,
    y: &Value,
) -> Result<(), LowerError> {
    if x.dtype == DType::Bool {
        return Err(LowerError::unsupported("Resize of booleans"));
    }
    // Integers are blended in double precision and rounded.
    let c = if x.dtype.is_float() { computed(x.dtype) } else { "f64" };
    let strides = strides_of(&x.shape);
    let mut kernel = Indexed::new("resize", y).input("x", x);
    let mut body =
        format!("    bool outside = false; i64 from = 0; {c} total = 0; const {c} weight = 1;\n");
    let mut loops = String::new();
    let mut closes = String::new();
    let (mut offset, mut weight) = (String::from("from"), String::from("weight"));
    for (axis, of) in axes.iter().enumerate() {
        let stride = strides[axis];
        if is_unchanged(options, of) {
            let _ = writeln!(body, "    from += c{axis} * {stride}ll;");
            continue;
        }
        let taps = taps(options, of);
        let count = taps.count;
        if taps.indices.len() > 4 * TABLE_MAX {
            return Err(LowerError::unsupported("resizing with so many weights"));
        }
        kernel = kernel
            .declare(&table(&format!("places{axis}"), &taps.indices))
            .declare(&real_table(&format!("weights{axis}"), &taps.weights));
        if taps.outside.iter().any(|&outside| outside) {
            let flags: Vec<i64> = taps.outside.iter().map(|&outside| i64::from(outside)).collect();
            kernel = kernel.declare(&table(&format!("outside{axis}"), &flags));
            let _ = writeln!(body, "    if (outside{axis}[c{axis}]) outside = true;");
        }
        let _ = writeln!(
            loops,
            "    for (int t{axis} = 0; t{axis} < {count}; ++t{axis}) {{
        const {c} w{axis} = {weight} * ({c})weights{axis}_at(c{axis} * {count} + t{axis});
        const i64 o{axis} = {offset} + places{axis}[c{axis} * {count} + t{axis}] * {stride}ll;"
        );
        closes.push('}');
        (offset, weight) = (format!("o{axis}"), format!("w{axis}"));
    }
    let element = format!("({c})Io<{}>::get(x[{offset}])", stored(x.dtype));
    let _ = writeln!(body, "{loops}    total += {element} * {weight};\n    {closes}");
    let extrapolation = format!("({c}){}", f64_constant(f64::from(options.extrapolation)));
    let _ = writeln!(body, "    if (outside) total = {extrapolation};");
    let _ = match x.dtype.is_float() {
        true => writeln!(body, "    y = total;"),
        false => writeln!(body, "    y = saturate<{}>(rint(total));", computed(x.dtype)),
    };
    kernel.emit(target, &body)
}

/// x `[n, c, in…]`, grid `[n, out…, rank]` with coordinates in −1 … 1, last axis of the image first; y `[n, c, out…]`.
pub fn grid_sample(
    target: &mut dyn Target,
    (mode, padding, align_corners): (Interpolation, GridPadding, bool),
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, grid) = (input(inputs, 0)?, input(inputs, 1)?);
    let bad = || LowerError::Invalid(format!("a grid of {:?} over {:?}", grid.shape, x.shape));
    let rank = x.shape.len().checked_sub(2).filter(|&rank| rank > 0).ok_or_else(bad)?;
    let points: usize = y.shape.iter().skip(2).product();
    let dims = &x.shape[2..];
    if grid.shape.last() != Some(&rank) || grid.elements() != x.shape[0] * points * rank {
        return Err(bad());
    }
    if !x.dtype.is_float() || !grid.dtype.is_float() || rank > 3 {
        return Err(LowerError::unsupported(format!("GridSample of {}", x.dtype)));
    }
    if y.elements() > 0 && dims.contains(&0) {
        return Err(bad());
    }
    let (width, mode_number, a) = match mode {
        Interpolation::Nearest => (1, 0, 0.0),
        Interpolation::Linear => (2, 1, 0.0),
        Interpolation::Cubic { a } => (4, 2, a),
    };
    let padding = match padding {
        GridPadding::Zeros => 0,
        GridPadding::Border => 1,
        GridPadding::Reflection => 2,
    };
    let declarations = format!(
        "#define MODE {mode_number}\n#define PADDING {padding}\n#define CORNERS {}\n#define CUBIC_A {}\n{}",
        i32::from(align_corners),
        attribute(a, DType::F32),
        include_str!("../../kernels/grid_sample.cuh"),
    );
    let c = computed(x.dtype);
    let plane: usize = dims.iter().product();
    let mut body = format!(
        "    const i64 point = c0 * {points}ll + i % {points}ll; {c} total = 0;
    const i64 from = (c0 * {}ll + c1) * {plane}ll;\n",
        x.shape[1]
    );
    let strides = strides_of(dims);
    let mut loops = String::new();
    let mut closes = String::new();
    let (mut offset, mut weight) = (String::from("from"), String::from("1.0f"));
    for (axis, &dim) in dims.iter().enumerate() {
        // The grid lists the last axis first.
        let place = rank - 1 - axis;
        let _ = writeln!(
            body,
            "    Taps taps{axis}; taps_of(taps{axis}, {dim}, (f32)Io<{}>::get(grid[point * {rank} + {place}]));",
            stored(grid.dtype)
        );
        let _ = writeln!(
            loops,
            "    for (int t{axis} = 0; t{axis} < {width}; ++t{axis}) {{ if (taps{axis}.at[t{axis}] < 0) continue;
        const f32 w{axis} = {weight} * taps{axis}.weight[t{axis}];
        const i64 o{axis} = {offset} + taps{axis}.at[t{axis}] * {}ll;",
            strides[axis]
        );
        closes.push('}');
        (offset, weight) = (format!("o{axis}"), format!("w{axis}"));
    }
    let element = format!("Io<{}>::get(x[{offset}])", stored(x.dtype));
    let _ = writeln!(
        body,
        "{loops}    total += {element} * ({c}){weight};\n    {closes}\n    y = total;"
    );
    Indexed::new("grid_sample", y)
        .input("x", x)
        .input("grid", grid)
        .declare(&declarations)
        .emit(target, &body)
}
