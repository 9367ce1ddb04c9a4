//! Products of integers: exact, wrapping at the width of the result.
//!
//! A plain tiled kernel: such products are small, or quantised models that are not held up by them alone.

use super::ctype::stored;
use super::map::{Access, Map, map};
use super::operands::{input, optional, output};
use super::product::{Axes, Batches};
use super::target::{Launch, Target};
use crate::blas::{Compute, Matrix, Product};
use crate::driver::{Address, LaunchShape};
use crate::lower::{Emitter, LowerError, Value};
use crate::program::Argument;
use sublet_graph::{DType, Literal};

/// Rows and columns of a block's tile, as the kernel has it.
const TILE: usize = 16;

/// Emits `Op::MatMul` of integers, or of bytes into `i32` with zero points.
pub fn matmul(
    emitter: &mut Emitter<'_>,
    batches: &Batches,
    a: &Value,
    b: &Value,
    zeros: [Option<&Value>; 2],
    y: &Value,
) -> Result<(), LowerError> {
    let &Batches { m, k, n, .. } = batches;
    let zeros = [zero(zeros[0], m, "rows")?, zero(zeros[1], n, "columns")?];
    let product = Product::dense(a.dtype, [m, n, k], Compute::I32);
    if y.elements() == 0 {
        return Ok(());
    }
    let of = [a, b, y].map(|value| (value.address, value.dtype));
    emit(emitter, &product, &batches.axes, of, zeros)
}

/// Emits `Op::MatMulInteger`: a, b, zero points of a (one, or one per row) and of b (one, or one per column).
pub fn matmul_integer(
    emitter: &mut Emitter<'_>,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (a, b, y) = (input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?);
    let batches = Batches::new(&a.shape, &b.shape)?;
    matmul(emitter, &batches, a, b, [optional(inputs, 2), optional(inputs, 3)], y)
}

/// Emits `Op::QLinearMatMul`: a, its scale and zero point, b, its scale and zero point, the result's scale and zero
/// point.
pub fn quantised_matmul(
    emitter: &mut Emitter<'_>,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (a, b, y) = (input(inputs, 0)?, input(inputs, 3)?, output(outputs, 0)?);
    let batches = Batches::new(&a.shape, &b.shape)?;
    let address = emitter.scratch(y.elements() * DType::I32.size());
    let sums = Value { dtype: DType::I32, address, known: None, ..y.clone() };
    matmul(emitter, &batches, a, b, [optional(inputs, 2), optional(inputs, 5)], &sums)?;
    let rank = y.shape.len();
    let rows = if a.shape.len() > 1 { rank.checked_sub(2) } else { None };
    let columns = if b.shape.len() > 1 { rank.checked_sub(1) } else { None };
    let scales =
        [(input(inputs, 1)?, rows), (input(inputs, 4)?, columns), (input(inputs, 6)?, None)];
    requantise(emitter, &sums, scales, optional(inputs, 7), y)
}

/// Emits `y = saturate(round(sums · left · right / result) + zero)`. Each scale with the axis that it has a value per
/// index of, unless it is one value.
pub fn requantise(
    emitter: &mut Emitter<'_>,
    sums: &Value,
    scales: [(&Value, Option<usize>); 3],
    zero: Option<&Value>,
    y: &Value,
) -> Result<(), LowerError> {
    let steps =
        |value: &Value| -> Vec<i64> { value.strides().iter().map(|&step| step as i64).collect() };
    let mut loads = vec![Access { address: sums.address, dtype: DType::I32, strides: steps(sums) }];
    for (scale, axis) in scales {
        loads.push(along(scale, axis, &y.shape)?);
    }
    if let Some(zero) = zero {
        loads.push(along(zero, None, &y.shape)?);
    }
    let zero = if zero.is_some() { "(f32)x4" } else { "0.0f" };
    let body = format!(
        "    const f32 scale = x1 * x2 / x3;\n    y0 = saturate<{}>(rintf((f32)x0 * scale) + {zero});\n",
        stored(y.dtype)
    );
    let stores = vec![Access { address: y.address, dtype: y.dtype, strides: steps(y) }];
    let dims = y.shape.clone();
    map(emitter, Map { name: "requantise", dims, loads, stores, body, fault: None })
}

fn along(value: &Value, axis: Option<usize>, shape: &[usize]) -> Result<Access, LowerError> {
    let mut strides = vec![0; shape.len()];
    match (value.elements(), axis) {
        (1, _) => {}
        (count, Some(axis)) if shape.get(axis) == Some(&count) => strides[axis] = 1,
        (count, _) => {
            return Err(LowerError::unsupported(format!("{count} scales for a result {shape:?}")));
        }
    }
    Ok(Access { address: value.address, dtype: value.dtype, strides })
}

/// Emits `Op::Gemm` of integers.
pub fn gemm(
    emitter: &mut Emitter<'_>,
    [alpha, beta]: [f32; 2],
    [trans_a, trans_b]: [bool; 2],
    [a, b]: [&Value; 2],
    c: Option<&Value>,
    y: &Value,
) -> Result<(), LowerError> {
    let &[m, n] = y.shape.as_slice() else {
        return Err(LowerError::Invalid(format!("Gemm into shape {:?}", y.shape)));
    };
    if alpha.fract() != 0.0 || beta.fract() != 0.0 {
        return Err(LowerError::unsupported("Gemm of integers by fractions"));
    }
    let k = a.shape.get(usize::from(!trans_a)).copied().unwrap_or(0);
    let mut product = Product::dense(a.dtype, [m, n, k], Compute::I32);
    if trans_a {
        product.a = Matrix::columns(m);
    }
    if trans_b {
        product.b = Matrix::columns(k);
    }
    if y.elements() == 0 {
        return Ok(());
    }
    multiply(emitter, &product, &Axes::new([]), [a.address, b.address, y.address])?;
    if alpha == 1.0 && c.is_none() {
        return Ok(());
    }
    let own = Access { address: y.address, dtype: y.dtype, strides: vec![n as i64, 1] };
    let of = stored(y.dtype);
    let mut loads = vec![own.clone()];
    let mut value = format!("Mul<{of}>(({of}){}ll, x0)", alpha as i64);
    if let Some(c) = c {
        let strides = super::fused::broadcast_strides(c, &y.shape)?;
        loads.push(Access { address: c.address, dtype: c.dtype, strides });
        value = format!("Add<{of}>({value}, Mul<{of}>(({of}){}ll, x1))", beta as i64);
    }
    let body = format!("    y0 = {value};\n");
    let dims = vec![m, n];
    map(emitter, Map { name: "Gemm", dims, loads, stores: vec![own], body, fault: None })
}

/// The address of a zero point and the step from one row or column to the next.
fn zero(
    value: Option<&Value>,
    count: usize,
    of: &str,
) -> Result<Option<(Address, usize)>, LowerError> {
    let Some(value) = value else { return Ok(None) };
    // Zeros that are known to be nothing need not be read.
    if value.known.as_ref().is_some_and(is_zero) {
        return Ok(None);
    }
    match value.elements() {
        1 => Ok(Some((value.address, 0))),
        points if points == count => Ok(Some((value.address, 1))),
        points => Err(LowerError::unsupported(format!("{points} zero points for {count} {of}"))),
    }
}

fn is_zero(literal: &Literal) -> bool {
    literal.bytes().iter().all(|&byte| byte == 0)
}

/// Emits products of one type of integers for each index of `axes`. Addresses of a, b and the result.
pub fn multiply(
    emitter: &mut Emitter<'_>,
    product: &Product,
    axes: &Axes,
    addresses: [Address; 3],
) -> Result<(), LowerError> {
    let of = addresses.map(|address| (address, product.dtype));
    emit(emitter, product, axes, of, [None, None])
}

fn emit(
    emitter: &mut Emitter<'_>,
    product: &Product,
    axes: &Axes,
    [a, b, y]: [(Address, DType); 3],
    zeros: [Option<(Address, usize)>; 2],
) -> Result<(), LowerError> {
    let &Product { m, n, k, .. } = product;
    let source = format!(
        "\ntypedef {} A;\ntypedef {} B;\ntypedef {} Y;\n{}",
        stored(a.1),
        stored(b.1),
        stored(y.1),
        include_str!("../../kernels/product_integer.cu")
    );
    let (strided, others) = axes.split(product);
    let [tall, wide] = [m * strided.rows, n].map(|size| size.div_ceil(TILE) as u32);
    // Grids are short along their last axes.
    let depth = u32::try_from(strided.count).ok().filter(|&depth| depth < 65_536 && wide < 65_536);
    let Some(depth) = depth else {
        return Err(LowerError::unsupported("a product of more than 65535 matrices of integers"));
    };
    for index in others.indices() {
        let [at_a, at_b, at_y] = others.offsets(&index);
        let at = |(address, dtype): (Address, DType), elements: usize| {
            Argument::Address(address + (elements * dtype.size()) as Address)
        };
        let size = |size: usize| Argument::I64(size as i64);
        // A matrix: elements from row to row, from column to column, from matrix to matrix.
        let steps = |matrix: &Matrix, batch: usize| {
            let (row, col) = if matrix.transposed { (1, matrix.step) } else { (matrix.step, 1) };
            [size(row), size(col), size(batch)]
        };
        let mut arguments = vec![at(a, at_a), at(b, at_b), at(y, at_y)];
        for zero in zeros {
            let (address, step) = zero.unwrap_or((0, 0));
            arguments.extend([Argument::Address(address), size(step)]);
        }
        arguments.extend([size(m * strided.rows), size(n), size(k), size(m)]);
        arguments.extend(steps(&product.a, strided.steps[0]));
        arguments.extend(steps(&product.b, strided.steps[1]));
        arguments.push(size(strided.steps[2]));
        emitter.launch(Launch {
            name: format!("product of integers {}x{n}x{k}", m * strided.rows),
            source: source.clone(),
            entry: "product_integer",
            shape: LaunchShape {
                grid: [tall, wide, depth],
                block: [TILE as u32, TILE as u32, 1],
                shared_bytes: 0,
            },
            arguments,
        })?;
    }
    Ok(())
}
