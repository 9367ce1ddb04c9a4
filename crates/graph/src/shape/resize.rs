//! Output sizes and scales of ONNX Resize (<https://onnx.ai/onnx/operators/onnx__Resize.html>).

use super::{axes, dims, invalid};
use crate::{InferError, KeepAspect, Resize};

/// How one axis is resized.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ResizeAxis {
    pub input: usize,
    pub output: usize,
    /// Output size over input size, as the coordinate transform uses it.
    pub scale: f64,
    /// Start and end of the region of interest, relative to the input.
    pub roi: (f32, f32),
}

/// Resizing of each axis of `input`; axes not in `resize.axes` keep their size.
///
/// Exactly one of `scales` and `sizes` must be given, with an entry per resized axis.
pub fn resize_geometry(
    resize: &Resize,
    input: &[usize],
    roi: Option<&[f32]>,
    scales: Option<&[f32]>,
    sizes: Option<&[i64]>,
) -> Result<Vec<ResizeAxis>, InferError> {
    let rank = input.len();
    let resized = match resize.axes.is_empty() {
        true => (0..rank).collect(),
        false => axes(&resize.axes, rank)?,
    };
    let count = resized.len();
    let mut result: Vec<ResizeAxis> = input
        .iter()
        .map(|&size| ResizeAxis { input: size, output: size, scale: 1.0, roi: (0.0, 1.0) })
        .collect();
    if let Some(roi) = roi.filter(|roi| !roi.is_empty()) {
        if roi.len() != 2 * count {
            return invalid(format!("roi {roi:?} must have {} entries", 2 * count));
        }
        for (entry, &at) in resized.iter().enumerate() {
            result[at].roi = (roi[entry], roi[count + entry]);
        }
    }
    match (scales, sizes) {
        (Some(scales), None) => {
            if scales.len() != count {
                return invalid(format!("scales {scales:?} must have {count} entries"));
            }
            for (&scale, &at) in scales.iter().zip(&resized) {
                let output = (input[at] as f32 * scale).floor();
                if !(scale > 0.0 && output < isize::MAX as f32) {
                    return invalid(format!("scale {scale} of an axis of {}", input[at]));
                }
                result[at].output = output as usize;
                result[at].scale = f64::from(scale);
            }
        }
        (None, Some(sizes)) => {
            if sizes.len() != count {
                return invalid(format!("sizes {sizes:?} must have {count} entries"));
            }
            let sizes = dims(sizes)?;
            if let Some(&at) = resized.iter().find(|&&at| input[at] == 0) {
                return invalid(format!("axis {at} of {input:?} is empty and has no scale"));
            }
            let scales: Vec<f64> = sizes
                .iter()
                .zip(&resized)
                .map(|(&size, &at)| size as f64 / input[at] as f64)
                .collect();
            let common = match resize.keep_aspect {
                KeepAspect::Stretch => None,
                KeepAspect::NotLarger => scales.iter().copied().reduce(f64::min),
                KeepAspect::NotSmaller => scales.iter().copied().reduce(f64::max),
            };
            for (entry, &at) in resized.iter().enumerate() {
                let axis = &mut result[at];
                axis.scale = common.unwrap_or(scales[entry]);
                axis.output = match common {
                    None => sizes[entry],
                    // Rounded half up.
                    Some(scale) => (scale * input[at] as f64 + 0.5).floor() as usize,
                };
            }
        }
        _ => return invalid("needs either scales or sizes".to_owned()),
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CoordinateTransform, Interpolation, NearestMode};

    fn resize(axes: &[i64], keep_aspect: KeepAspect) -> Resize {
        Resize {
            mode: Interpolation::Nearest,
            coordinates: CoordinateTransform::HalfPixel,
            nearest: NearestMode::Floor,
            antialias: false,
            axes: axes.to_vec(),
            exclude_outside: false,
            extrapolation: 0.0,
            keep_aspect,
        }
    }

    fn outputs(result: Result<Vec<ResizeAxis>, InferError>) -> Option<Vec<usize>> {
        Some(result.ok()?.into_iter().map(|axis| axis.output).collect())
    }

    #[test]
    fn sizes_and_scales() {
        let stretch = resize(&[], KeepAspect::Stretch);
        let by_scale = |scales: &[f32]| {
            outputs(resize_geometry(&stretch, &[1, 1, 10, 3], None, Some(scales), None))
        };
        // 10 · 0.7 is 7 in single precision.
        assert_eq!(by_scale(&[1.0, 1.0, 0.7, 2.0]), Some(vec![1, 1, 7, 6]));
        assert_eq!(by_scale(&[1.0, 1.0, 0.0, 2.0]), None);
        assert_eq!(by_scale(&[1.0, 1.0, f32::NAN, f32::INFINITY]), None);
        assert_eq!(by_scale(&[1.0]), None);
        let larger = resize(&[2, 3], KeepAspect::NotLarger);
        let by_size = |sizes: &[i64]| {
            outputs(resize_geometry(&larger, &[1, 1, 2, 4], None, None, Some(sizes)))
        };
        assert_eq!(by_size(&[7, 8]), Some(vec![1, 1, 4, 8]));
        assert_eq!(by_size(&[-1, 8]), None);
    }
}
