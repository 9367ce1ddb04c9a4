//! Operators that put elements elsewhere: transpose, expand, tile, concat, split, slice, rearrangements of blocks, and
//! copies between orders.

use super::ctype::{bits, stored};
use super::map::{Access, Map, arrange, maps};
use super::operands::{
    input, is_row_major, known_integers, optional_integers, row_major, strides_of,
};
use super::target::{Launch, Target};
use crate::driver::{Address, LaunchShape};
use crate::lower::{LowerError, Value};
use crate::program::Argument;
use sublet_graph::{DType, shape};

type Values<'a> = &'a [Option<Value>];

/// The same elements under another shape.
pub fn reshape(target: &mut dyn Target, x: &Value, y: &Value) -> Result<(), LowerError> {
    if x.bytes() != y.bytes() || x.dtype != y.dtype {
        return Err(LowerError::Invalid(format!(
            "{:?} cannot be viewed as {:?}",
            x.shape, y.shape
        )));
    }
    if x.shape == y.shape {
        return copy(target, "copy", x, y);
    }
    let flat = Value { shape: x.shape.clone(), ..row_major(y, "a reshape")?.clone() };
    let flat = Value { order: crate::lower::Order::RowMajor, ..flat };
    copy(target, "copy", x, &flat)
}

/// Elements of one value to another of the same shape, each in its own order.
pub fn copy(target: &mut dyn Target, name: &str, x: &Value, y: &Value) -> Result<(), LowerError> {
    let from = signed(&x.strides());
    rearrange(target, name, x.dtype, &y.shape, (x.address, from), (y.address, signed(&y.strides())))
}

/// An empty `perm` reverses the axes.
pub fn transpose(
    target: &mut dyn Target,
    x: &Value,
    perm: &[usize],
    y: &Value,
) -> Result<(), LowerError> {
    let perm = shape::transpose(x.shape.len(), perm)?;
    let strides = x.strides();
    let from = perm.iter().map(|&axis| strides[axis] as i64).collect();
    let to = signed(&y.strides());
    rearrange(target, "transpose", x.dtype, &y.shape, (x.address, from), (y.address, to))
}

/// Broadcasts `x` to the shape of `y`.
pub fn expand(target: &mut dyn Target, x: &Value, y: &Value) -> Result<(), LowerError> {
    let from = super::fused::broadcast_strides(x, &y.shape)?;
    let to = signed(&y.strides());
    rearrange(target, "expand", x.dtype, &y.shape, (x.address, from), (y.address, to))
}

pub fn tile(target: &mut dyn Target, inputs: Values<'_>, y: &Value) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    let repeats = known_integers(input(inputs, 1)?, "repeats")?;
    let fits = repeats.len() == x.shape.len()
        && repeats.iter().zip(&x.shape).zip(&y.shape).all(|((&repeat, &from), &to)| {
            usize::try_from(repeat).is_ok_and(|repeat| repeat * from == to)
        });
    if !fits {
        return Err(LowerError::Invalid(format!("repeats {repeats:?} of {:?}", x.shape)));
    }
    let (mut dims, mut from, mut to) = (Vec::new(), Vec::new(), Vec::new());
    for (axis, &repeat) in repeats.iter().enumerate() {
        let (own, result) = (x.strides()[axis] as i64, y.strides()[axis] as i64);
        let dim = x.shape[axis];
        dims.extend([repeat as usize, dim]);
        from.extend([0, own]);
        to.extend([dim as i64 * result, result]);
    }
    rearrange(target, "tile", x.dtype, &dims, (x.address, from), (y.address, to))
}

pub fn concat(
    target: &mut dyn Target,
    inputs: Values<'_>,
    along: i64,
    y: &Value,
) -> Result<(), LowerError> {
    let axis = shape::axis(along, y.shape.len())?;
    let strides = y.strides();
    let mut copies = Copies::new("concat", y.dtype);
    let mut start = 0;
    for x in inputs.iter().flatten() {
        let to = y.address + (start * strides[axis] * y.dtype.size()) as u64;
        let (from, to) = ((x.address, signed(&x.strides())), (to, signed(&strides)));
        start += x.shape[axis];
        copies.add(&x.shape, from, to);
    }
    if start != y.shape[axis] {
        return Err(LowerError::Invalid(format!("{start} of {} indices", y.shape[axis])));
    }
    copies.emit(target)
}

/// Parts along an axis.
pub fn split(
    target: &mut dyn Target,
    x: &Value,
    along: i64,
    outputs: Values<'_>,
    sizes: &[usize],
) -> Result<(), LowerError> {
    let axis = shape::axis(along, x.shape.len())?;
    let strides = x.strides();
    let mut copies = Copies::new("split", x.dtype);
    let mut start = 0;
    for (size, y) in sizes.iter().zip(outputs) {
        if let Some(y) = y {
            let from = x.address + (start * strides[axis] * x.dtype.size()) as u64;
            let (from, to) = ((from, signed(&strides)), (y.address, signed(&y.strides())));
            copies.add(&y.shape, from, to);
        }
        start += size;
    }
    copies.emit(target)
}

/// Data, starts, ends, axes, steps.
pub fn slice(target: &mut dyn Target, inputs: Values<'_>, y: &Value) -> Result<(), LowerError> {
    let x = input(inputs, 0)?;
    let starts = known_integers(input(inputs, 1)?, "starts of a slice")?;
    let ends = known_integers(input(inputs, 2)?, "ends of a slice")?;
    let axes = optional_integers(inputs, 3, "axes of a slice")?;
    let steps = optional_integers(inputs, 4, "steps of a slice")?;
    let ranges = shape::slice_ranges(&x.shape, &starts, &ends, axes.as_deref(), steps.as_deref())?;
    let dims: Vec<usize> = ranges.iter().map(|range| range.len).collect();
    if dims != y.shape {
        return Err(LowerError::Invalid(format!("a slice {dims:?} into {:?}", y.shape)));
    }
    let mut start = 0;
    let mut from = Vec::with_capacity(dims.len());
    for (range, stride) in ranges.iter().zip(x.strides()) {
        start += range.start * stride;
        // The step of a single element is never taken, and may be too large to multiply.
        let step = if range.len > 1 { range.step } else { 1 };
        from.push(step * stride as i64);
    }
    let from = (x.address + (start * x.dtype.size()) as u64, from);
    rearrange(target, "slice", x.dtype, &dims, from, (y.address, signed(&y.strides())))
}

/// `[n, c, h, w]` to `[n, c/b², h·b, w·b]`.
pub fn depth_to_space(
    target: &mut dyn Target,
    x: &Value,
    block: usize,
    column_row_depth: bool,
    y: &Value,
) -> Result<(), LowerError> {
    let (&[n, c, h, w], true) = (&x.shape[..], block > 0) else {
        return Err(LowerError::Invalid(format!("{:?} in blocks of {block}", x.shape)));
    };
    let depth = c / (block * block);
    let [sn, sc, sh, sw] = four(x);
    let [tn, tc, th, tw] = four(y);
    let (b, area) = (block as i64, (block * block) as i64);
    let (depth_step, block_step) =
        if column_row_depth { (area * sc, sc) } else { (sc, depth as i64 * sc) };
    let dims = [n, depth, h, block, w, block];
    let from = vec![sn, depth_step, sh, b * block_step, sw, block_step];
    let to = vec![tn, tc, b * th, th, b * tw, tw];
    rearrange(target, "depth_to_space", x.dtype, &dims, (x.address, from), (y.address, to))
}

/// `[n, c, h, w]` to `[n, c·b², h/b, w/b]`.
pub fn space_to_depth(
    target: &mut dyn Target,
    x: &Value,
    block: usize,
    y: &Value,
) -> Result<(), LowerError> {
    let (&[n, c, h, w], true) = (&x.shape[..], block > 0) else {
        return Err(LowerError::Invalid(format!("{:?} in blocks of {block}", x.shape)));
    };
    let [sn, sc, sh, sw] = four(x);
    let [tn, tc, th, tw] = four(y);
    let b = block as i64;
    let dims = [n, block, block, c, h / block, w / block];
    let from = vec![sn, sh, sw, sc, b * sh, b * sw];
    let channels = c as i64 * tc;
    let to = vec![tn, b * channels, channels, tc, th, tw];
    rearrange(target, "space_to_depth", x.dtype, &dims, (x.address, from), (y.address, to))
}

fn four(value: &Value) -> [i64; 4] {
    let strides = signed(&value.strides());
    std::array::from_fn(|axis| strides.get(axis).copied().unwrap_or(0))
}

pub fn signed(strides: &[usize]) -> Vec<i64> {
    strides.iter().map(|&stride| stride as i64).collect()
}

/// Copies the elements at every index of `dims` from one place to another: address and strides in elements of each.
pub fn rearrange(
    target: &mut dyn Target,
    name: &str,
    dtype: DType,
    dims: &[usize],
    from: (Address, Vec<i64>),
    to: (Address, Vec<i64>),
) -> Result<(), LowerError> {
    let mut copies = Copies::new(name, dtype);
    copies.add(dims, from, to);
    copies.emit(target)
}

/// Copies of one type that do not depend on each other, done by as few kernels as possible.
pub struct Copies<'a> {
    name: &'a str,
    /// The bits that are moved.
    dtype: DType,
    copies: Vec<Map<'a>>,
}

impl<'a> Copies<'a> {
    pub fn new(name: &'a str, dtype: DType) -> Self {
        Copies { name, dtype: bits(dtype), copies: Vec::new() }
    }

    /// Adds a copy, as [`rearrange`].
    pub fn add(&mut self, dims: &[usize], from: (Address, Vec<i64>), to: (Address, Vec<i64>)) {
        if dims.contains(&0) {
            return;
        }
        let dtype = self.dtype;
        let access = |(address, strides): (Address, Vec<i64>)| Access { address, dtype, strides };
        let mut copy = Map {
            name: self.name,
            dims: dims.to_vec(),
            loads: vec![access(from)],
            stores: vec![access(to)],
            body: "    y0 = x0;\n".to_owned(),
            fault: None,
        };
        arrange(&mut copy);
        self.copies.push(copy);
    }

    pub fn emit(self, target: &mut dyn Target) -> Result<(), LowerError> {
        if let [only] = &self.copies[..] {
            let (load, store) = (&only.loads[0], &only.stores[0]);
            if only.dims.len() == 1 && load.strides == [1] && store.strides == [1] {
                target.copy(store.address, load.address, only.dims[0] * self.dtype.size());
                return Ok(());
            }
        }
        let mut plain = Vec::new();
        for copy in self.copies {
            match tile_axis(&copy) {
                Some(axis) => tiled(target, &copy, axis)?,
                None => plain.push(copy),
            }
        }
        maps(target, self.name, plain)
    }
}

/// The axis that lies contiguously in the input, when it is not the one of the output and both are long.
fn tile_axis(moved: &Map<'_>) -> Option<usize> {
    let last = moved.dims.len() - 1;
    let (load, store) = (&moved.loads[0].strides, &moved.stores[0].strides);
    let axis = load[..last].iter().position(|&stride| stride == 1)?;
    let long = |axis: usize| moved.dims[axis] >= 16;
    let large = moved.dims.iter().product::<usize>() >= 1 << 14;
    (store[last] == 1 && load[last].abs() > 1 && long(axis) && long(last) && large).then_some(axis)
}

fn tiled(target: &mut dyn Target, moved: &Map<'_>, axis: usize) -> Result<(), LowerError> {
    let last = moved.dims.len() - 1;
    let (load, store) = (&moved.loads[0], &moved.stores[0]);
    let (a, b) = (moved.dims[axis], moved.dims[last]);
    let mut outer = String::new();
    let mut blocks = a.div_ceil(32) * b.div_ceil(32);
    for at in (0..last).rev().filter(|&at| at != axis) {
        let (dim, from, to) = (moved.dims[at], load.strides[at], store.strides[at]);
        outer.push_str(&format!(
            "    from += rest % {dim}ll * ({from}ll); to += rest % {dim}ll * ({to}ll); rest /= {dim}ll;\n"
        ));
        blocks *= dim;
    }
    let grid = u32::try_from(blocks).ok().filter(|&blocks| blocks < 1 << 31);
    let grid = grid.ok_or_else(|| LowerError::unsupported("a transpose of so many elements"))?;
    let source = format!(
        "\ntypedef {} T;\ntypedef i64 Index;\n\
         #define A {a}ll\n#define B {b}ll\n#define FROM_B {}ll\n#define TO_A {}ll\n\
         static INLINE void outer(Index rest, Index& from, Index& to) {{\n{outer}}}\n{}",
        stored(load.dtype),
        load.strides[last],
        store.strides[axis],
        include_str!("../../kernels/transpose.cu"),
    );
    target.launch(Launch {
        name: moved.name.to_owned(),
        source,
        entry: "transpose",
        shape: LaunchShape { grid: [grid, 1, 1], block: [256, 1, 1], shared_bytes: 0 },
        arguments: vec![Argument::Address(load.address), Argument::Address(store.address)],
    })
}

/// The value in row-major order: itself, or a copy in scratch memory.
pub fn in_row_major(target: &mut dyn Target, x: &Value) -> Result<Value, LowerError> {
    let address = match is_row_major(x) {
        true => x.address,
        false => {
            let address = target.scratch(x.bytes());
            let (from, to) = (signed(&x.strides()), signed(&strides_of(&x.shape)));
            rearrange(target, "order", x.dtype, &x.shape, (x.address, from), (address, to))?;
            address
        }
    };
    Ok(Value { address, order: crate::lower::Order::RowMajor, ..x.clone() })
}
