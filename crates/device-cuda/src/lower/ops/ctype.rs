//! Element types and constants as CUDA C++ writes them.

use sublet_graph::{DType, Literal};

/// The type of a stored element, as the prelude defines it.
pub fn stored(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::F64 => "f64",
        DType::I8 => "i8",
        DType::I16 => "i16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::U8 => "u8",
        DType::U16 => "u16",
        DType::U32 => "u32",
        DType::U64 => "u64",
        DType::Bool => "b8",
    }
}

/// The type that elements are computed in.
pub fn computed(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 | DType::BF16 => "f32",
        DType::Bool => "bool",
        other => stored(other),
    }
}

/// A type of the same size whose elements are moved bit by bit.
pub fn bits(dtype: DType) -> DType {
    match dtype.size() {
        1 => DType::U8,
        2 => DType::U16,
        4 => DType::U32,
        _ => DType::U64,
    }
}

/// The integer type of so many bytes: 1, 2, 4 or 8.
pub fn bits_of_size(bytes: usize) -> Option<DType> {
    match bytes {
        1 => Some(DType::U8),
        2 => Some(DType::U16),
        4 => Some(DType::U32),
        8 => Some(DType::U64),
        _ => None,
    }
}

/// An f32 constant, exactly.
pub fn f32_constant(value: f32) -> String {
    format!("f32_bits(0x{:08x}u)", value.to_bits())
}

pub fn f64_constant(value: f64) -> String {
    format!("f64_bits(0x{:016x}ull)", value.to_bits())
}

/// An attribute, which is an f32, in the type that a float type is computed in.
pub fn attribute(value: f32, dtype: DType) -> String {
    match dtype {
        DType::F64 => f64_constant(f64::from(value)),
        _ => f32_constant(value),
    }
}

/// Element `index` of a literal as a constant of its computed type.
pub fn constant(literal: &Literal, index: usize) -> String {
    let dtype = literal.dtype();
    let size = dtype.size();
    let bytes = &literal.bytes()[index * size..(index + 1) * size];
    let mut word = [0u8; 8];
    word[..size].copy_from_slice(bytes);
    let raw = u64::from_le_bytes(word);
    match dtype {
        DType::F32 => f32_constant(f32::from_bits(raw as u32)),
        DType::F16 => f32_constant(half::f16::from_bits(raw as u16).to_f32()),
        DType::BF16 => f32_constant(half::bf16::from_bits(raw as u16).to_f32()),
        DType::F64 => f64_constant(f64::from_bits(raw)),
        DType::Bool => (if raw == 0 { "false" } else { "true" }).to_owned(),
        integer => format!("({})0x{raw:x}ull", stored(integer)),
    }
}
