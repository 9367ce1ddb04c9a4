//! Half-precision floats: inputs are widened to `f32`, the kernel runs on those, results are rounded once.

use super::{parallel, simd::vectorise};
use crate::{KernelError, Tensor, View, ViewMut};
use half::{bf16, f16};
use sublet_graph::DType;

/// Runs `kernel` with every `f16` and `bf16` tensor replaced by one of `f32`.
pub fn through_f32(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
    kernel: impl FnOnce(&[Option<View<'_>>], &mut [Option<ViewMut<'_>>]) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let input_types = inputs.iter().flatten().map(|view| view.dtype);
    let output_types = outputs.iter().flatten().map(|view| view.dtype);
    if !input_types.chain(output_types).any(is_half) {
        return kernel(inputs, outputs);
    }
    let wide_inputs: Vec<Option<Tensor>> = inputs
        .iter()
        .map(|input| match input {
            Some(view) if is_half(view.dtype) => widen(view).map(Some),
            _ => Ok(None),
        })
        .collect::<Result<_, _>>()?;
    let input_views: Vec<Option<View<'_>>> = inputs
        .iter()
        .zip(&wide_inputs)
        .map(|(narrow, wide)| wide.as_ref().map(Tensor::view).or(*narrow))
        .collect();
    let mut wide_outputs: Vec<Option<Tensor>> = outputs
        .iter()
        .map(|output| match output {
            Some(view) if is_half(view.dtype) => Tensor::zeroed(DType::F32, view.shape).map(Some),
            _ => Ok(None),
        })
        .collect::<Result<_, _>>()?;
    let mut output_views: Vec<Option<ViewMut<'_>>> = outputs
        .iter_mut()
        .zip(&mut wide_outputs)
        .map(|(narrow, wide)| match (wide, narrow) {
            (Some(wide), _) => Some(wide.view_mut()),
            (None, Some(narrow)) => Some(ViewMut {
                dtype: narrow.dtype,
                shape: narrow.shape,
                bytes: &mut *narrow.bytes,
            }),
            (None, None) => None,
        })
        .collect();
    kernel(&input_views, &mut output_views)?;
    drop(output_views);
    for (narrow, wide) in outputs.iter_mut().zip(&wide_outputs) {
        if let (Some(narrow), Some(wide)) = (narrow, wide) {
            round(wide.view().values(), narrow);
        }
    }
    Ok(())
}

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

fn widen(view: &View<'_>) -> Result<Tensor, KernelError> {
    let mut wide = Tensor::zeroed(DType::F32, view.shape)?;
    let mut wide_view = wide.view_mut();
    let out = wide_view.values::<f32>();
    if view.dtype == DType::F16 {
        let values = view.values::<f16>();
        parallel::chunks(out, |start, part| {
            vectorise(
                #[inline(always)]
                || {
                    part.iter_mut().zip(&values[start..]).for_each(|(out, x)| *out = x.to_f32());
                },
            );
        });
    } else {
        let values = view.values::<bf16>();
        parallel::chunks(out, |start, part| {
            part.iter_mut().zip(&values[start..]).for_each(|(out, x)| *out = x.to_f32());
        });
    }
    Ok(wide)
}

fn round(values: &[f32], out: &mut ViewMut<'_>) {
    if out.dtype == DType::F16 {
        parallel::chunks(out.values::<f16>(), |start, part| {
            part.iter_mut().zip(&values[start..]).for_each(|(out, &x)| *out = f16::from_f32(x));
        });
    } else {
        parallel::chunks(out.values::<bf16>(), |start, part| {
            part.iter_mut().zip(&values[start..]).for_each(|(out, &x)| *out = bf16::from_f32(x));
        });
    }
}
