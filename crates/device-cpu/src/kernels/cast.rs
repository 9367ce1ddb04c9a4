//! Conversions between element types: floats to integers truncate and saturate, NaN becomes zero, integers to
//! narrower integers wrap, everything but zero is true.

use super::broadcast::map1;
use super::operands::{input, output};
use crate::{KernelError, View, ViewMut};
use half::{bf16, f16};
use sublet_graph::DType;

/// Computes [`sublet_graph::Op::Cast`] and [`sublet_graph::Op::CastLike`]: the output's type tells which.
pub fn run(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    if x.dtype == out.dtype {
        out.bytes.copy_from_slice(x.bytes);
        return Ok(());
    }
    match x.dtype {
        DType::F32 => from_f32(x.values(), out),
        DType::F64 => from_f64(x.values(), out),
        DType::F16 => from_half(x.values::<f16>(), out, f16::to_f32),
        DType::BF16 => from_half(x.values::<bf16>(), out, bf16::to_f32),
        DType::I8 => from_i8(x.values(), out),
        DType::I16 => from_i16(x.values(), out),
        DType::I32 => from_i32(x.values(), out),
        DType::I64 => from_i64(x.values(), out),
        DType::U8 => from_u8(x.values(), out),
        DType::U16 => from_u16(x.values(), out),
        DType::U32 => from_u32(x.values(), out),
        DType::U64 => from_u64(x.values(), out),
        DType::Bool => {
            let truth: Vec<u8> = x.bytes.iter().map(|&byte| u8::from(byte != 0)).collect();
            from_u8(&truth, out);
        }
    }
    Ok(())
}

macro_rules! from {
    ($name:ident, $T:ty, $zero:expr) => {
        fn $name(x: &[$T], out: &mut ViewMut<'_>) {
            macro_rules! to {
                ($U:ty) => {
                    map1(
                        x,
                        out.values::<$U>(),
                        #[inline(always)]
                        |x| x as $U,
                    )
                };
            }
            match out.dtype {
                DType::F32 => to!(f32),
                DType::F64 => to!(f64),
                DType::F16 => map1(x, out.values::<f16>(), |x| f16::from_f64(x as f64)),
                DType::BF16 => map1(x, out.values::<bf16>(), |x| bf16::from_f64(x as f64)),
                DType::I8 => to!(i8),
                DType::I16 => to!(i16),
                DType::I32 => to!(i32),
                DType::I64 => to!(i64),
                DType::U8 => to!(u8),
                DType::U16 => to!(u16),
                DType::U32 => to!(u32),
                DType::U64 => to!(u64),
                DType::Bool => map1(
                    x,
                    out.values::<u8>(),
                    #[inline(always)]
                    |x| u8::from(x != $zero),
                ),
            }
        }
    };
}

from!(from_f32, f32, 0.0);
from!(from_f64, f64, 0.0);
from!(from_i8, i8, 0);
from!(from_i16, i16, 0);
from!(from_i32, i32, 0);
from!(from_i64, i64, 0);
from!(from_u8, u8, 0);
from!(from_u16, u16, 0);
from!(from_u32, u32, 0);
from!(from_u64, u64, 0);

fn from_half<H: bytemuck::Pod>(x: &[H], out: &mut ViewMut<'_>, widen: impl Fn(H) -> f32) {
    let wide: Vec<f32> = x.iter().map(|&x| widen(x)).collect();
    if out.dtype == DType::F32 {
        out.values::<f32>().copy_from_slice(&wide);
    } else {
        from_f32(&wide, out);
    }
}
