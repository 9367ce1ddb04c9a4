//! Kernels that compute every element of their outputs from elements at strided places: all arithmetic element by
//! element, and most of what moves elements about.
//!
//! The index space is brought into the order of the first output's elements, neighbouring axes along which everything
//! moves alike are merged, and several elements along the innermost axis are read and written at once where addresses
//! and strides allow.

use super::ctype::{computed, stored};
use super::target::{Launch, Target};
use crate::driver::{Address, LaunchShape};
use crate::lower::LowerError;
use crate::program::Argument;
use std::fmt::Write;
use sublet_graph::DType;

/// Elements of one operand: where the one at index zero lies, and how far it is to the next along each axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    pub address: Address,
    pub dtype: DType,
    /// In elements; 0 where the operand is broadcast, negative where it is read backwards.
    pub strides: Vec<i64>,
}

/// What is computed for every index of a space.
pub struct Map<'a> {
    pub name: &'a str,
    pub dims: Vec<usize>,
    pub loads: Vec<Access>,
    pub stores: Vec<Access>,
    /// Statements that assign `y0`, `y1`, … from `x0`, `x1`, …, which have the computed types of the operands. They
    /// may call functions with `fault, code`.
    pub body: String,
    /// What is wrong when the statements report a fault.
    pub fault: Option<&'a str>,
}

/// Threads that keep the device busy; below that, each takes fewer elements.
const THREADS_WANTED: usize = 132 * 256;
/// Bytes that one access moves at most.
const PACK_BYTES: usize = 16;

/// Emits the kernel. Elements of the stores must be distinct.
pub fn map(target: &mut dyn Target, mut map: Map<'_>) -> Result<(), LowerError> {
    if map.dims.contains(&0) {
        return Ok(());
    }
    arrange(&mut map);
    let pack = pack(&map);
    let wide = needs_wide_index(&map);
    let flat = map.dims.len() == 1;
    let elements: usize = map.dims.iter().product();
    let threads = if flat { elements.div_ceil(pack) } else { elements / pack };
    let mut arguments: Vec<Argument> = Vec::new();
    for access in map.loads.iter().chain(&map.stores) {
        arguments.push(Argument::Address(access.address));
    }
    if let Some(what) = map.fault {
        let (fault, code) = target.fault(what);
        arguments.extend([Argument::Address(fault), Argument::U32(code)]);
    }
    if flat {
        arguments.push(match wide {
            true => Argument::I64(elements as i64),
            false => Argument::I32(elements as i32),
        });
    }
    let block = if threads >= 2 * THREADS_WANTED { 256 } else { 128 };
    target.launch(Launch {
        name: map.name.to_owned(),
        source: source(&map, pack, wide),
        entry: "map",
        shape: LaunchShape::linear(threads, block),
        arguments,
    })
}

/// Sorts, drops and merges axes.
pub fn arrange(map: &mut Map<'_>) {
    let first = &map.stores[0].strides;
    let mut order: Vec<usize> = (0..map.dims.len()).filter(|&axis| map.dims[axis] > 1).collect();
    order.sort_by_key(|&axis| std::cmp::Reverse(first[axis]));
    let mut dims: Vec<usize> = Vec::new();
    let mut kept: Vec<usize> = Vec::new();
    let all: Vec<Vec<i64>> =
        map.loads.iter().chain(&map.stores).map(|access| access.strides.clone()).collect();
    for &axis in &order {
        let dim = map.dims[axis];
        let merges = kept.last().is_some_and(|&outer: &usize| {
            all.iter().all(|strides| strides[outer] == strides[axis] * dim as i64)
        });
        if merges {
            *dims.last_mut().expect("an axis to merge with") *= dim;
            *kept.last_mut().expect("an axis to merge with") = axis;
        } else {
            dims.push(dim);
            kept.push(axis);
        }
    }
    for access in map.loads.iter_mut().chain(&mut map.stores) {
        access.strides = kept.iter().map(|&axis| access.strides[axis]).collect();
    }
    if dims.is_empty() {
        dims.push(1);
        map.loads.iter_mut().for_each(|access| access.strides = vec![0]);
        map.stores.iter_mut().for_each(|access| access.strides = vec![1]);
    }
    map.dims = dims;
}

/// How many elements along the innermost axis one thread takes.
fn pack(map: &Map<'_>) -> usize {
    let inner = map.dims.len() - 1;
    let flat = inner == 0;
    let elements: usize = map.dims.iter().product();
    if map.stores.iter().any(|store| store.strides[inner] != 1) {
        return 1;
    }
    let contiguous: Vec<&Access> =
        map.loads.iter().chain(&map.stores).filter(|access| access.strides[inner] == 1).collect();
    let largest = contiguous.iter().map(|access| access.dtype.size()).max().unwrap_or(8);
    let fits = |pack: usize| {
        (flat || map.dims[inner] % pack == 0)
            && contiguous.iter().all(|access| {
                let bytes = (pack * access.dtype.size()) as u64;
                access.address % bytes == 0
                    && access.strides[..inner].iter().all(|stride| stride % pack as i64 == 0)
            })
    };
    let mut pack = PACK_BYTES / largest;
    // Many operands at once would spill.
    while pack > 1 && pack * contiguous.len() > 64 {
        pack /= 2;
    }
    while pack > 1 && (!fits(pack) || elements / pack < THREADS_WANTED) {
        pack /= 2;
    }
    pack
}

fn needs_wide_index(map: &Map<'_>) -> bool {
    let limit = i64::from(i32::MAX) - 4096;
    let reach = |access: &Access| -> i64 {
        let steps = access.strides.iter().zip(&map.dims);
        steps.map(|(stride, &dim)| stride.abs().saturating_mul(dim as i64)).sum()
    };
    let elements: usize = map.dims.iter().product();
    elements as i64 >= limit
        || map.loads.iter().chain(&map.stores).any(|access| reach(access) >= limit)
}

fn source(map: &Map<'_>, pack: usize, wide: bool) -> String {
    let mut text = String::new();
    let w = &mut text;
    let index = if wide { "i64" } else { "i32" };
    // The function of one element.
    let mut parameters: Vec<String> = Vec::new();
    for (at, load) in map.loads.iter().enumerate() {
        parameters.push(format!("const {} x{at}", computed(load.dtype)));
    }
    for (at, store) in map.stores.iter().enumerate() {
        parameters.push(format!("{}& y{at}", computed(store.dtype)));
    }
    let faults = if map.fault.is_some() { ", u32* fault, u32 code" } else { "" };
    let pass_faults = if map.fault.is_some() { ", fault, code" } else { "" };
    let _ = writeln!(w, "\ntypedef {index} Index;");
    let _ = writeln!(w, "static INLINE void element({}{faults}) {{", parameters.join(", "));
    let _ = writeln!(w, "{}}}", map.body);
    // The kernel.
    let mut parameters: Vec<String> = Vec::new();
    for (at, load) in map.loads.iter().enumerate() {
        parameters.push(format!("const {}* p{at}", stored(load.dtype)));
    }
    for (at, store) in map.stores.iter().enumerate() {
        parameters.push(format!("{}* q{at}", stored(store.dtype)));
    }
    let flat = map.dims.len() == 1;
    let count = if flat { ", const Index n" } else { "" };
    let _ = writeln!(w, "KERNEL map({}{faults}{count}) {{", parameters.join(", "));
    let _ = writeln!(w, "    const Index thread = (Index)blockIdx.x * blockDim.x + threadIdx.x;");
    coordinates(w, map, pack);
    for (at, access) in map.loads.iter().enumerate() {
        let _ = writeln!(w, "    p{at} += {};", offset(access));
    }
    for (at, access) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    q{at} += {};", offset(access));
    }
    if flat && pack > 1 {
        let _ = writeln!(w, "    if (c0 + {pack} <= n) {{");
        packed(w, map, pack, pass_faults);
        let _ = writeln!(w, "    }} else {{");
        let _ = writeln!(w, "    for (int j = 0; c0 + j < n; ++j) {{");
        single(w, map, pass_faults);
        let _ = writeln!(w, "    }}\n    }}");
    } else if pack > 1 {
        packed(w, map, pack, pass_faults);
    } else {
        let _ = writeln!(w, "    const int j = 0;");
        single(w, map, pass_faults);
    }
    let _ = writeln!(w, "}}");
    text
}

/// Declares `c0`, `c1`, …: the index of the thread's first element.
fn coordinates(w: &mut String, map: &Map<'_>, pack: usize) {
    let last = map.dims.len() - 1;
    if last == 0 {
        let _ = writeln!(w, "    const Index c0 = thread * {pack};");
        let _ = writeln!(w, "    if (c0 >= n) return;");
        return;
    }
    let elements: usize = map.dims.iter().product();
    let _ = writeln!(w, "    if (thread >= (Index){}ll) return;", elements / pack);
    let _ = writeln!(w, "    Index rest = thread;");
    for axis in (1..=last).rev() {
        let dim = if axis == last { map.dims[axis] / pack } else { map.dims[axis] };
        let scale = if axis == last { pack } else { 1 };
        let _ = writeln!(
            w,
            "    const Index c{axis} = rest % (Index){dim}ll * {scale}; rest /= (Index){dim}ll;"
        );
    }
    let _ = writeln!(w, "    const Index c0 = rest;");
}

fn offset(access: &Access) -> String {
    let terms: Vec<String> = access
        .strides
        .iter()
        .enumerate()
        .filter(|(_, stride)| **stride != 0)
        .map(|(axis, stride)| format!("c{axis} * (Index)({stride}ll)"))
        .collect();
    if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") }
}

/// The body for `pack` elements at once.
fn packed(w: &mut String, map: &Map<'_>, pack: usize, pass_faults: &str) {
    let inner = map.dims.len() - 1;
    for (at, load) in map.loads.iter().enumerate() {
        let of = stored(load.dtype);
        let _ = match load.strides[inner] {
            0 => writeln!(w, "    const {of} a{at} = *p{at};"),
            1 => {
                writeln!(w, "    const Pack<{of}, {pack}> a{at} = load_pack<{of}, {pack}>(p{at});")
            }
            stride => writeln!(
                w,
                "    Pack<{of}, {pack}> a{at};\n    for (int j = 0; j < {pack}; ++j) a{at}.at[j] = p{at}[j * (Index)({stride}ll)];"
            ),
        };
    }
    for (at, store) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    Pack<{}, {pack}> b{at};", stored(store.dtype));
    }
    let _ = writeln!(w, "#pragma unroll\n    for (int j = 0; j < {pack}; ++j) {{");
    let get = |at: usize, load: &Access| {
        let element = if load.strides[inner] == 0 { "" } else { ".at[j]" };
        format!("Io<{}>::get(a{at}{element})", stored(load.dtype))
    };
    element(w, map, &get, pass_faults);
    for (at, store) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    b{at}.at[j] = Io<{}>::put(y{at});", stored(store.dtype));
    }
    let _ = writeln!(w, "    }}");
    for (at, store) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    store_pack<{}, {pack}>(q{at}, b{at});", stored(store.dtype));
    }
}

/// The body for element `j` along the innermost axis.
fn single(w: &mut String, map: &Map<'_>, pass_faults: &str) {
    let inner = map.dims.len() - 1;
    let place = |access: &Access| format!("[j * (Index)({}ll)]", access.strides[inner]);
    let get =
        |at: usize, load: &Access| format!("Io<{}>::get(p{at}{})", stored(load.dtype), place(load));
    element(w, map, &get, pass_faults);
    for (at, store) in map.stores.iter().enumerate() {
        let put = format!("Io<{}>::put(y{at})", stored(store.dtype));
        let _ = writeln!(w, "    q{at}{} = {put};", place(store));
    }
}

fn element(w: &mut String, map: &Map<'_>, get: &dyn Fn(usize, &Access) -> String, faults: &str) {
    let mut arguments: Vec<String> =
        map.loads.iter().enumerate().map(|(at, load)| get(at, load)).collect();
    for (at, store) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    {} y{at};", computed(store.dtype));
        arguments.push(format!("y{at}"));
    }
    let _ = writeln!(w, "    element({}{faults});", arguments.join(", "));
}
