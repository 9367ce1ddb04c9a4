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

/// Maps of one kernel at most.
const PARTS_MAX: usize = 16;

/// Emits the kernel. Elements of the stores must be distinct.
pub fn map(target: &mut dyn Target, map: Map<'_>) -> Result<(), LowerError> {
    let name = map.name.to_owned();
    maps(target, &name, vec![map])
}

/// Emits several maps that do not depend on each other, as few kernels.
pub fn maps(target: &mut dyn Target, name: &str, maps: Vec<Map<'_>>) -> Result<(), LowerError> {
    let mut parts: Vec<Part<'_>> =
        maps.into_iter().filter(|map| !map.dims.contains(&0)).map(Part::new).collect();
    while !parts.is_empty() {
        let rest = parts.split_off(parts.len().min(PARTS_MAX));
        launch(target, name, &parts)?;
        parts = rest;
    }
    Ok(())
}

/// A map with its axes arranged.
struct Part<'a> {
    map: Map<'a>,
    pack: usize,
    threads: usize,
}

impl<'a> Part<'a> {
    fn new(mut map: Map<'a>) -> Self {
        arrange(&mut map);
        let pack = pack(&map);
        let elements: usize = map.dims.iter().product();
        let flat = map.dims.len() == 1;
        let threads = if flat { elements.div_ceil(pack) } else { elements / pack };
        Part { map, pack, threads }
    }

    fn is_flat(&self) -> bool {
        self.map.dims.len() == 1
    }
}

fn launch(target: &mut dyn Target, name: &str, parts: &[Part<'_>]) -> Result<(), LowerError> {
    let wide = parts.iter().any(|part| needs_wide_index(&part.map));
    let mut arguments: Vec<Argument> = Vec::new();
    let number = |value: usize| match wide {
        true => Argument::I64(value as i64),
        false => Argument::I32(value as i32),
    };
    let threads: usize = parts.iter().map(|part| part.threads).sum();
    let block = if threads >= 2 * THREADS_WANTED { 256 } else { 128 };
    let mut blocks = 0;
    for part in parts {
        let map = &part.map;
        for access in map.loads.iter().chain(&map.stores) {
            arguments.push(Argument::Address(access.address));
        }
        if let Some(what) = map.fault {
            let (fault, code) = target.fault(what);
            arguments.extend([Argument::Address(fault), Argument::U32(code)]);
        }
        if part.is_flat() {
            arguments.push(number(map.dims[0]));
        }
        // Where the part's blocks start.
        if parts.len() > 1 {
            arguments.push(number(blocks));
        }
        blocks += part.threads.div_ceil(block);
    }
    let grid = u32::try_from(blocks).ok().filter(|&grid| grid < 1 << 31);
    let grid = grid.ok_or_else(|| LowerError::unsupported("so many elements"))?;
    target.launch(Launch {
        name: name.to_owned(),
        source: source(parts, wide),
        entry: "map",
        shape: LaunchShape { grid: [grid, 1, 1], block: [block as u32, 1, 1], shared_bytes: 0 },
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
        (flat || map.dims[inner].is_multiple_of(pack))
            && contiguous.iter().all(|access| {
                let bytes = (pack * access.dtype.size()) as u64;
                access.address.is_multiple_of(bytes)
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

fn source(parts: &[Part<'_>], wide: bool) -> String {
    let mut text = String::new();
    let w = &mut text;
    let index = if wide { "i64" } else { "i32" };
    let _ = writeln!(w, "\ntypedef {index} Index;");
    let (mut parameters, mut calls) = (Vec::new(), String::new());
    for (number, part) in parts.iter().enumerate() {
        function(w, part, number);
        let (mut names, map) = (Vec::new(), &part.map);
        for (at, load) in map.loads.iter().enumerate() {
            parameters.push(format!("const {}* p{number}_{at}", stored(load.dtype)));
            names.push(format!("p{number}_{at}"));
        }
        for (at, store) in map.stores.iter().enumerate() {
            parameters.push(format!("{}* q{number}_{at}", stored(store.dtype)));
            names.push(format!("q{number}_{at}"));
        }
        if map.fault.is_some() {
            parameters.push(format!("u32* fault{number}, u32 code{number}"));
            names.push(format!("fault{number}, code{number}"));
        }
        if part.is_flat() {
            parameters.push(format!("const Index n{number}"));
            names.push(format!("n{number}"));
        }
        let names = names.join(", ");
        if parts.len() == 1 {
            let _ = writeln!(calls, "    part0(blockIdx.x, {names});");
        } else {
            parameters.push(format!("const Index first{number}"));
            let next = match number + 1 < parts.len() {
                true => format!("if (blockIdx.x < first{}) ", number + 1),
                false => String::new(),
            };
            let other = if number == 0 { "" } else { "else " };
            let _ = writeln!(
                calls,
                "    {other}{next}part{number}((Index)blockIdx.x - first{number}, {names});"
            );
        }
    }
    let _ = writeln!(w, "KERNEL map({}) {{\n{calls}}}", parameters.join(", "));
    text
}

/// The function of one element, and that of a thread.
fn function(w: &mut String, part: &Part<'_>, number: usize) {
    let (map, pack) = (&part.map, part.pack);
    let mut parameters: Vec<String> = Vec::new();
    for (at, load) in map.loads.iter().enumerate() {
        parameters.push(format!("const {} x{at}", computed(load.dtype)));
    }
    for (at, store) in map.stores.iter().enumerate() {
        parameters.push(format!("{}& y{at}", computed(store.dtype)));
    }
    let faults = if map.fault.is_some() { ", u32* fault, u32 code" } else { "" };
    let pass_faults = if map.fault.is_some() { ", fault, code" } else { "" };
    let _ = writeln!(
        w,
        "static INLINE void element{number}({}{faults}) {{\n{}}}",
        parameters.join(", "),
        map.body
    );
    let mut parameters: Vec<String> = Vec::new();
    for (at, load) in map.loads.iter().enumerate() {
        parameters.push(format!("const {}* p{at}", stored(load.dtype)));
    }
    for (at, store) in map.stores.iter().enumerate() {
        parameters.push(format!("{}* q{at}", stored(store.dtype)));
    }
    let count = if part.is_flat() { ", const Index n" } else { "" };
    let _ = writeln!(
        w,
        "static INLINE void part{number}(const Index block, {}{faults}{count}) {{",
        parameters.join(", ")
    );
    let _ = writeln!(w, "    const Index thread = block * blockDim.x + threadIdx.x;");
    coordinates(w, map, pack);
    for (at, access) in map.loads.iter().enumerate() {
        let _ = writeln!(w, "    p{at} += {};", offset(access));
    }
    for (at, access) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    q{at} += {};", offset(access));
    }
    if part.is_flat() && pack > 1 {
        let _ = writeln!(w, "    if (c0 + {pack} <= n) {{");
        packed(w, map, pack, number, pass_faults);
        let _ = writeln!(w, "    }} else {{");
        let _ = writeln!(w, "    for (int j = 0; c0 + j < n; ++j) {{");
        single(w, map, number, pass_faults);
        let _ = writeln!(w, "    }}\n    }}");
    } else if pack > 1 {
        packed(w, map, pack, number, pass_faults);
    } else {
        let _ = writeln!(w, "    const int j = 0;");
        single(w, map, number, pass_faults);
    }
    let _ = writeln!(w, "}}");
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
fn packed(w: &mut String, map: &Map<'_>, pack: usize, number: usize, pass_faults: &str) {
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
    element(w, map, number, &get, pass_faults);
    for (at, store) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    b{at}.at[j] = Io<{}>::put(y{at});", stored(store.dtype));
    }
    let _ = writeln!(w, "    }}");
    for (at, store) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    store_pack<{}, {pack}>(q{at}, b{at});", stored(store.dtype));
    }
}

/// The body for element `j` along the innermost axis.
fn single(w: &mut String, map: &Map<'_>, number: usize, pass_faults: &str) {
    let inner = map.dims.len() - 1;
    let place = |access: &Access| format!("[j * (Index)({}ll)]", access.strides[inner]);
    let get =
        |at: usize, load: &Access| format!("Io<{}>::get(p{at}{})", stored(load.dtype), place(load));
    element(w, map, number, &get, pass_faults);
    for (at, store) in map.stores.iter().enumerate() {
        let put = format!("Io<{}>::put(y{at})", stored(store.dtype));
        let _ = writeln!(w, "    q{at}{} = {put};", place(store));
    }
}

fn element(
    w: &mut String,
    map: &Map<'_>,
    number: usize,
    get: &dyn Fn(usize, &Access) -> String,
    faults: &str,
) {
    let mut arguments: Vec<String> =
        map.loads.iter().enumerate().map(|(at, load)| get(at, load)).collect();
    for (at, store) in map.stores.iter().enumerate() {
        let _ = writeln!(w, "    {} y{at};", computed(store.dtype));
        arguments.push(format!("y{at}"));
    }
    let _ = writeln!(w, "    element{number}({}{faults});", arguments.join(", "));
}
