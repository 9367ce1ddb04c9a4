//! Problems that move elements: nothing is computed, so every bit must be right.

use super::builder::Builder;
use sublet_graph::{
    CoordinateTransform, DType, Interpolation, KeepAspect, Literal, NearestMode, Op, PadMode,
    Resize, ScatterReduction, ValueId,
};

/// Any type: the bytes are what counts.
fn input(b: &mut Builder, shape: &[usize]) -> (DType, ValueId) {
    let dtype = b.pick(&[DType::F32, DType::F32, DType::F16, DType::I64, DType::I32, DType::U8]);
    let value = b.values(dtype, shape);
    (dtype, b.input(value))
}

pub fn transpose(b: &mut Builder) {
    let shape = b.any_shape();
    let (_, x) = input(b, &shape);
    let mut perm: Vec<usize> = (0..shape.len()).collect();
    b.draw.shuffle(&mut perm);
    b.node(Op::Transpose { perm }, &[x]);
}

pub fn slice(b: &mut Builder) {
    let shape = b.any_shape();
    let (_, x) = input(b, &shape);
    let (mut starts, mut ends, mut axes, mut steps) = (vec![], vec![], vec![], vec![]);
    for (axis, &size) in shape.iter().enumerate() {
        if size < 2 || b.draw.u8(..3) == 0 {
            continue;
        }
        let size = size as i64;
        let (low, high) = (b.draw.i64(..size / 2), b.draw.i64(size / 2 + 1..=size));
        axes.push(axis as i64);
        steps.push(if b.draw.bool() { b.draw.i64(1..=3) } else { -b.draw.i64(1..=3) });
        let forward = steps[steps.len() - 1] > 0;
        // Backwards, the end may lie before the first element.
        starts.push(if forward { low - if b.draw.bool() { size } else { 0 } } else { high });
        ends.push(if forward {
            high
        } else if low == 0 {
            i64::MIN
        } else {
            low
        });
    }
    let inputs = [&starts, &ends, &axes, &steps].map(|values| b.integers(values));
    b.node(Op::Slice, &[x, inputs[0], inputs[1], inputs[2], inputs[3]]);
}

pub fn pad(b: &mut Builder) {
    let shape: Vec<usize> = b.any_shape().iter().map(|size| size + 3).collect();
    let (_, x) = input(b, &shape);
    let mode = b.pick(&[
        PadMode::Constant,
        PadMode::Constant,
        PadMode::Reflect,
        PadMode::Edge,
        PadMode::Wrap,
    ]);
    let pads: Vec<i64> = (0..2 * shape.len()).map(|_| b.draw.i64(0..=3)).collect();
    let pads = b.integers(&pads);
    b.node(Op::Pad { mode }, &[x, pads]);
}

pub fn concat(b: &mut Builder) {
    let mut shape = b.any_shape();
    let axis = b.draw.usize(..shape.len());
    let (dtype, first) = input(b, &shape);
    let mut inputs = vec![first];
    for _ in 0..b.draw.usize(1..=4) {
        shape[axis] = b.draw.usize(1..=20);
        let value = b.values(dtype, &shape);
        inputs.push(b.either(value));
    }
    b.node(Op::Concat { axis: axis as i64 }, &inputs);
}

pub fn split(b: &mut Builder) {
    let mut shape = b.any_shape();
    let axis = b.draw.usize(..shape.len());
    let sizes: Vec<i64> = (0..b.draw.usize(1..=4)).map(|_| b.draw.i64(1..=9)).collect();
    shape[axis] = sizes.iter().sum::<i64>() as usize;
    let (_, x) = input(b, &shape);
    let parts = sizes.len();
    let sizes = b.integers(&sizes);
    b.node_with(Op::Split { axis: axis as i64, parts }, vec![Some(x), Some(sizes)], parts);
}

/// Indices below a bound, some counted from the end.
fn indices(b: &mut Builder, shape: &[usize], bound: usize) -> Literal {
    let bound = bound as i64;
    let len: usize = shape.iter().product();
    let values: Vec<i64> = (0..len).map(|_| b.draw.i64(-bound..bound)).collect();
    Literal::i64(shape, &values)
}

pub fn gather(b: &mut Builder) {
    let shape = b.any_shape();
    let axis = b.draw.usize(..shape.len());
    let (_, x) = input(b, &shape);
    match b.draw.u8(..3) {
        0 => {
            let count = b.draw.usize(1..=30);
            let at = indices(b, &[count, 2], shape[axis]);
            let at = b.either(at);
            b.node(Op::Gather { axis: axis as i64 }, &[x, at]);
        }
        1 => {
            let mut places = shape.clone();
            places[axis] = b.draw.usize(1..=20);
            let at = indices(b, &places, shape[axis]);
            let at = b.input(at);
            b.node(Op::GatherElements { axis: axis as i64 }, &[x, at]);
        }
        _ => {
            let depth = b.draw.usize(1..=shape.len());
            let least = shape[..depth].iter().copied().min().unwrap_or(1);
            let count = b.draw.usize(1..=20);
            let at = indices(b, &[count, depth], least);
            let at = b.input(at);
            b.node(Op::GatherND { batch_dims: 0 }, &[x, at]);
        }
    }
}

/// No place is written twice, so that the order does not matter.
pub fn scatter(b: &mut Builder) {
    let shape = b.any_shape();
    let (dtype, x) = input(b, &shape);
    let rows = shape[0];
    let mut order: Vec<i64> = (0..rows as i64).collect();
    b.draw.shuffle(&mut order);
    let count = b.draw.usize(1..=rows);
    let mut updates = shape.clone();
    updates[0] = count;
    let reduction = ScatterReduction::None;
    let value = b.values(dtype, &updates);
    let value = b.input(value);
    if b.draw.bool() {
        let at = b.input(Literal::i64(&[count, 1], &order[..count]));
        b.node(Op::ScatterND { reduction }, &[x, at, value]);
    } else {
        let inner: usize = shape[1..].iter().product();
        let places: Vec<i64> = order[..count].iter().flat_map(|&row| vec![row; inner]).collect();
        let at = b.input(Literal::i64(&updates, &places));
        b.node(Op::ScatterElements { axis: 0, reduction }, &[x, at, value]);
    }
}

pub fn shapes(b: &mut Builder) {
    match b.draw.u8(..5) {
        0 => {
            let shape = b.any_shape();
            let (_, x) = input(b, &shape);
            let repeats: Vec<i64> = shape.iter().map(|_| b.draw.i64(1..=3)).collect();
            let repeats = b.integers(&repeats);
            b.node(Op::Tile, &[x, repeats]);
        }
        1 => {
            let shape = b.any_shape();
            let narrow: Vec<usize> =
                shape.iter().map(|&size| if b.draw.bool() { 1 } else { size }).collect();
            let (_, x) = input(b, &narrow);
            let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
            let shape = b.integers(&shape);
            b.node(Op::Expand, &[x, shape]);
        }
        2 => {
            let block = b.draw.usize(2..=3);
            let channels = block * block * b.draw.usize(1..=4);
            let shape = [b.draw.usize(1..=2), channels, b.draw.usize(1..=9), b.draw.usize(1..=9)];
            let (_, x) = input(b, &shape);
            let column_row_depth = b.draw.bool();
            b.node(Op::DepthToSpace { block, column_row_depth }, &[x]);
        }
        3 => {
            let block = b.draw.usize(2..=3);
            let shape =
                [2, b.draw.usize(1..=4), block * b.draw.usize(1..=5), block * b.draw.usize(1..=5)];
            let (_, x) = input(b, &shape);
            b.node(Op::SpaceToDepth { block }, &[x]);
        }
        _ => {
            let shape = [b.draw.usize(1..=3), b.draw.usize(2..=40), b.draw.usize(2..=40)];
            let (_, x) = input(b, &shape);
            let upper = b.draw.bool();
            b.node(Op::Trilu { upper }, &[x]);
        }
    }
}

pub fn resize(b: &mut Builder) {
    b.computes(DType::F32);
    let shape =
        [b.draw.usize(1..=2), b.draw.usize(1..=4), b.draw.usize(2..=14), b.draw.usize(2..=14)];
    let value = b.values(DType::F32, &shape);
    let x = b.input(value);
    let resize = Resize {
        mode: b.pick(&[
            Interpolation::Nearest,
            Interpolation::Linear,
            Interpolation::Cubic { a: -0.75 },
        ]),
        coordinates: b.pick(&[
            CoordinateTransform::HalfPixel,
            CoordinateTransform::PytorchHalfPixel,
            CoordinateTransform::AlignCorners,
            CoordinateTransform::Asymmetric,
        ]),
        nearest: b.pick(&[NearestMode::RoundPreferFloor, NearestMode::Floor]),
        antialias: false,
        axes: Vec::new(),
        exclude_outside: false,
        extrapolation: 0.0,
        keep_aspect: KeepAspect::Stretch,
    };
    let sizes =
        [shape[0], shape[1], b.draw.usize(2..=30), b.draw.usize(2..=30)].map(|size| size as i64);
    let sizes = b.integers(&sizes);
    b.node_with(Op::Resize(resize), vec![Some(x), None, None, Some(sizes)], 1);
}
