//! Resampling of images.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid, unsupported};
use sublet_graph::{
    CoordinateTransform, GridPadding, Interpolation, KeepAspect, Literal, NearestMode, Op, Resize,
    ValueId,
};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "Resize" if cx.opset >= 11 => resize(cx)?,
        "Resize" => {
            cx.arity(2, 2, 1)?;
            let scales = cx.input(1)?;
            let nearest = nearest_of_resize_10(cx, scales)?;
            scale(cx, scales, nearest)?;
        }
        "Upsample" => upsample(cx)?,
        "GridSample" => grid_sample(cx)?,
        "AffineGrid" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::AffineGrid { align_corners: cx.flag("align_corners", false)? })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn resize(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(1, 4, 1)?;
    let resize = Resize {
        mode: match cx.string_or("mode", "nearest")? {
            "nearest" => Interpolation::Nearest,
            "linear" => Interpolation::Linear,
            "cubic" => Interpolation::Cubic { a: cx.float_or("cubic_coeff_a", -0.75)? },
            other => return invalid(format!("unknown mode `{other}`")),
        },
        coordinates: coordinates(cx)?,
        nearest: match cx.string_or("nearest_mode", "round_prefer_floor")? {
            "round_prefer_floor" => NearestMode::RoundPreferFloor,
            "round_prefer_ceil" => NearestMode::RoundPreferCeil,
            "floor" => NearestMode::Floor,
            "ceil" => NearestMode::Ceil,
            other => return invalid(format!("unknown `nearest_mode` `{other}`")),
        },
        antialias: cx.flag("antialias", false)?,
        axes: cx.ints("axes")?.unwrap_or(&[]).to_vec(),
        exclude_outside: cx.flag("exclude_outside", false)?,
        extrapolation: cx.float_or("extrapolation_value", 0.0)?,
        keep_aspect: match cx.string_or("keep_aspect_ratio_policy", "stretch")? {
            "stretch" => KeepAspect::Stretch,
            "not_larger" => KeepAspect::NotLarger,
            "not_smaller" => KeepAspect::NotSmaller,
            other => return invalid(format!("unknown `keep_aspect_ratio_policy` `{other}`")),
        },
    };
    // Exporters write the coefficient whatever the mode.
    cx.ignore(&["cubic_coeff_a"]);
    // The region matters to one transformation; an empty list of scales or sizes stands for none.
    let crops = resize.coordinates == CoordinateTransform::TfCropAndResize;
    let roi = cx.optional(1).filter(|_| crops);
    let scales = not_empty(cx, 2);
    let sizes = not_empty(cx, 3);
    if scales.is_none() == sizes.is_none() {
        return invalid("needs either scales or sizes");
    }
    cx.finish(Op::Resize(resize), vec![cx.optional(0), roi, scales, sizes])
}

fn not_empty(cx: &Lowering<'_, '_>, index: usize) -> Option<ValueId> {
    let is_empty = |value: &ValueId| cx.literal(*value).is_some_and(Literal::is_empty);
    cx.optional(index).filter(|value| !is_empty(value))
}

fn coordinates(cx: &Lowering<'_, '_>) -> Result<CoordinateTransform, Problem> {
    Ok(match cx.string_or("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => CoordinateTransform::HalfPixel,
        "half_pixel_symmetric" => CoordinateTransform::HalfPixelSymmetric,
        "pytorch_half_pixel" => CoordinateTransform::PytorchHalfPixel,
        "align_corners" => CoordinateTransform::AlignCorners,
        "asymmetric" => CoordinateTransform::Asymmetric,
        "tf_crop_and_resize" => CoordinateTransform::TfCropAndResize,
        other => return unsupported(format!("coordinate transformation `{other}`")),
    })
}

fn upsample(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    if cx.opset >= 9 {
        cx.arity(2, 2, 1)?;
        let scales = cx.input(1)?;
        return scale(cx, scales, NearestMode::Floor);
    }
    cx.arity(1, 1, 1)?;
    let height;
    let scales = match cx.floats("scales")? {
        Some(scales) => scales,
        None => {
            let (Some(h), Some(w)) = (cx.float("height_scale")?, cx.float("width_scale")?) else {
                return invalid("attribute `scales` is missing");
            };
            height = [1.0, 1.0, h, w];
            &height
        }
    };
    let scales = cx.constant(Literal::f32(&[scales.len()], scales));
    scale(cx, scales, NearestMode::Floor)
}

/// The first version took the nearest neighbour below when enlarging but above when shrinking, as ONNX Runtime does
/// it; the specification says nothing.
fn nearest_of_resize_10(cx: &Lowering<'_, '_>, scales: ValueId) -> Result<NearestMode, Problem> {
    if cx.string_or("mode", "nearest")? != "nearest" {
        return Ok(NearestMode::Floor);
    }
    let Some(known) = cx.literal(scales).and_then(Literal::to_f32s) else {
        return unsupported("nearest neighbour with computed scales before opset 11");
    };
    let shrinks = known.iter().any(|&scale| scale < 1.0);
    if shrinks && known.iter().any(|&scale| scale > 1.0) {
        return unsupported("enlarging and shrinking at once before opset 11");
    }
    Ok(if shrinks { NearestMode::Ceil } else { NearestMode::Floor })
}

/// What `Upsample`, and `Resize` in its first version, did: no shift of half a pixel.
fn scale(cx: &mut Lowering<'_, '_>, scales: ValueId, nearest: NearestMode) -> Result<(), Problem> {
    let mode = match cx.string_or("mode", "nearest")? {
        "nearest" => Interpolation::Nearest,
        "linear" | "bilinear" => Interpolation::Linear,
        other => return unsupported(format!("mode `{other}`")),
    };
    let resize = Resize {
        mode,
        coordinates: CoordinateTransform::Asymmetric,
        nearest,
        antialias: false,
        axes: Vec::new(),
        exclude_outside: false,
        extrapolation: 0.0,
        keep_aspect: KeepAspect::Stretch,
    };
    cx.finish(Op::Resize(resize), vec![cx.optional(0), None, Some(scales)])
}

fn grid_sample(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(2, 2, 1)?;
    cx.finish_same(Op::GridSample {
        mode: match cx.string_or("mode", "linear")? {
            "linear" | "bilinear" => Interpolation::Linear,
            "nearest" => Interpolation::Nearest,
            "cubic" | "bicubic" => Interpolation::Cubic { a: -0.75 },
            other => return invalid(format!("unknown mode `{other}`")),
        },
        padding: match cx.string_or("padding_mode", "zeros")? {
            "zeros" => GridPadding::Zeros,
            "border" => GridPadding::Border,
            "reflection" => GridPadding::Reflection,
            other => return invalid(format!("unknown padding `{other}`")),
        },
        align_corners: cx.flag("align_corners", false)?,
    })
}
