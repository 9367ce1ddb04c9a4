//! Undoing window operations: columns back to an image, pooled maxima back to where they came from.

use super::ctype::{bits, computed, stored};
use super::indexed::Indexed;
use super::operands::{input, known_integers};
use super::target::Target;
use crate::lower::{LowerError, Order, Value};
use std::fmt::Write;
use sublet_graph::{DType, shape};

/// Columns `[n, c · block, count]`, image shape, block shape. Overlapping columns add up in `y` `[n, c, image…]`.
pub fn col2im(
    target: &mut dyn Target,
    [dilations, pads, strides]: [&[usize]; 3],
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    let image = shape::dims(&known_integers(input(inputs, 1)?, "the shape of an image")?)?;
    let block = shape::dims(&known_integers(input(inputs, 2)?, "the shape of a block")?)?;
    let rank = image.len();
    let or = |list: &[usize], len: usize, value: usize| match list.is_empty() {
        true => vec![value; len],
        false => list.to_vec(),
    };
    let (dilations, strides) = (or(dilations, rank, 1), or(strides, rank, 1));
    let pads = or(pads, 2 * rank, 0);
    let bad = || LowerError::Invalid(format!("columns {:?} to {image:?} by {block:?}", x.shape));
    let fits = [block.len(), dilations.len(), strides.len()].iter().all(|&len| len == rank)
        && pads.len() == 2 * rank
        && rank > 0
        && !strides.contains(&0)
        && !block.contains(&0);
    if !fits {
        return Err(bad());
    }
    if !x.dtype.is_float() {
        return Err(LowerError::unsupported(format!("Col2Im of {}", x.dtype)));
    }
    let mut counts = Vec::with_capacity(rank);
    for axis in 0..rank {
        let padded = image[axis] + pads[axis] + pads[rank + axis];
        let reach = dilations[axis] * (block[axis] - 1) + 1;
        counts.push(padded.checked_sub(reach).ok_or_else(bad)? / strides[axis] + 1);
    }
    let (taps, columns): (usize, usize) = (block.iter().product(), counts.iter().product());
    let channels = y.shape[1];
    if x.shape != [y.shape[0], channels * taps, columns] || y.shape[2..] != image[..] {
        return Err(bad());
    }
    let c = computed(x.dtype);
    let mut body = format!(
        "    {c} total = 0;
    for (i64 tap = 0; tap < {taps}ll; ++tap) {{
        i64 rest_ = tap, column = 0, step = 1; bool good = true;\n"
    );
    for axis in (0..rank).rev() {
        let _ = writeln!(
            body,
            "        {{ i64 at = c{} + {} - rest_ % {}ll * {}ll; rest_ /= {}ll;
          if (at < 0 || at % {stride}ll != 0 || at / {stride}ll >= {count}ll) good = false;
          column += at / {stride}ll * step; step *= {count}ll; }}",
            axis + 2,
            pads[axis],
            block[axis],
            dilations[axis],
            block[axis],
            stride = strides[axis],
            count = counts[axis],
        );
    }
    let _ = writeln!(
        body,
        "        if (good) total += Io<{}>::get(x[((c0 * {channels}ll + c1) * {taps}ll + tap) * {columns}ll + column]);
    }}
    y = total;",
        stored(x.dtype)
    );
    Indexed::new("col2im", y).input("x", x).emit(target, &body)
}

/// Pooled values, and for each its element number in the (unpadded, flattened) input of the pooling, which may be smaller
/// than `y`: then it fills the start of each axis. Of several values for one element the last one stays.
pub fn max_unpool(
    target: &mut dyn Target,
    [kernel, strides, pads]: [&[usize]; 3],
    inputs: &[Option<Value>],
    y: &Value,
) -> Result<(), LowerError> {
    let (x, indices) = (input(inputs, 0)?, input(inputs, 1)?);
    let rank = kernel.len();
    let bad = || LowerError::Invalid(format!("{:?} unpooled into {:?}", x.shape, y.shape));
    let fits = x.shape.len() == rank + 2
        && y.shape.len() == x.shape.len()
        && (strides.is_empty() || strides.len() == rank)
        && (pads.is_empty() || pads.len() == 2 * rank)
        && indices.shape == x.shape
        && indices.dtype == DType::I64;
    if !fits {
        return Err(bad());
    }
    let mut pooled = x.shape[..2].to_vec();
    for (axis, &kernel) in kernel.iter().enumerate() {
        let stride = strides.get(axis).copied().unwrap_or(1);
        let padding = pads.get(axis).unwrap_or(&0) + pads.get(rank + axis).unwrap_or(&0);
        let len = x.shape[axis + 2].saturating_sub(1) * stride + kernel;
        pooled.push(len.checked_sub(padding).ok_or_else(bad)?);
    }
    if pooled.iter().zip(&y.shape).any(|(pooled, len)| pooled > len) {
        return Err(bad());
    }
    let elements: usize = pooled.iter().product();
    if elements >= 1 << 31 || x.elements() >= 1 << 31 {
        return Err(LowerError::unsupported("unpooling of so many elements"));
    }
    // Which value each element takes, one more than its number: the largest number of several, whoever comes first.
    let address = target.scratch(elements * 4);
    target.fill(address, 0, elements * 4);
    let (dtype, order) = (DType::I32, Order::RowMajor);
    let winners = Value { dtype, shape: vec![elements], order, address, known: None };
    let done = target.scratch(x.elements());
    let done =
        Value { dtype: DType::U8, shape: x.shape.clone(), order, address: done, known: None };
    Indexed::new("unpool_places", &done)
        .input("indices", indices)
        .input("winners", &winners)
        .fault("an index of an unpooled element is out of range")
        .emit(
            target,
            &format!(
                "    const i64 at = indices[i];
    if (at < 0 || at >= {elements}ll) report(fault, code); else atomicMax((int*)winners + at, (int)i + 1);
    y = 1;"
            ),
        )?;
    let mut body = String::from("    i64 at = 0; bool inside = true;\n");
    for (axis, dim) in pooled.iter().enumerate() {
        let _ = writeln!(
            body,
            "    if (c{axis} >= {dim}ll) inside = false; at = at * {dim}ll + c{axis};"
        );
    }
    body.push_str(
        "    const i32 winner = inside ? winners[at] : 0;\n    y = winner ? x[winner - 1] : 0;",
    );
    Indexed::new("max_unpool", y)
        .bits()
        .input_as("x", x, bits(x.dtype))
        .input("winners", &winners)
        .emit(target, &body)
}
