//! Non-maximum suppression: for each batch and class the boxes of highest score that do not overlap a better one.

use super::operands::{floats, input, integers, invalid, optional};
use crate::{KernelError, Tensor, View};
use sublet_graph::DType;

/// Inputs as ONNX: boxes `[batch, boxes, 4]`, scores `[batch, classes, boxes]`, most boxes per class, overlap
/// threshold, score threshold. Result `[chosen, 3]`: batch, class, box.
pub fn non_max_suppression(
    inputs: &[Option<View<'_>>],
    center_point_box: bool,
) -> Result<Tensor, KernelError> {
    let (boxes, scores) = (input(inputs, 0)?, input(inputs, 1)?);
    let (&[batches, count, 4], &[score_batches, classes, score_count]) =
        (boxes.shape, scores.shape)
    else {
        return Err(invalid(format!("boxes {:?} and scores {:?}", boxes.shape, scores.shape)));
    };
    if batches != score_batches || count != score_count {
        return Err(invalid(format!("boxes {:?} and scores {:?}", boxes.shape, scores.shape)));
    }
    let most = match optional(inputs, 2) {
        Some(most) => integers(most)?.first().copied().unwrap_or(0).max(0) as usize,
        None => 0,
    };
    let threshold = |index| -> Result<Option<f32>, KernelError> {
        Ok(optional(inputs, index).map(floats).transpose()?.and_then(|x| x.first().copied()))
    };
    let overlap_max = threshold(3)?.unwrap_or(0.0);
    let score_min = threshold(4)?;
    let corners: Vec<Corners> = floats(boxes)?
        .chunks_exact(4)
        .map(|four| Corners::new([four[0], four[1], four[2], four[3]], center_point_box))
        .collect();
    let scores = floats(scores)?;
    let mut chosen: Vec<i64> = Vec::new();
    for batch in 0..batches {
        let corners = &corners[batch * count..(batch + 1) * count];
        for class in 0..classes {
            let start = (batch * classes + class) * count;
            let kept =
                suppress(corners, &scores[start..start + count], most, overlap_max, score_min);
            chosen.extend(kept.iter().flat_map(|&at| [batch as i64, class as i64, at as i64]));
        }
    }
    let mut y = Tensor::zeroed(DType::I64, &[chosen.len() / 3, 3])?;
    y.buffer.copy_from_slice(bytemuck::cast_slice(&chosen));
    Ok(y)
}

/// The kept boxes of one class, best first; of equal scores the smaller index first.
fn suppress(
    corners: &[Corners],
    scores: &[f32],
    most: usize,
    overlap_max: f32,
    score_min: Option<f32>,
) -> Vec<usize> {
    if most == 0 {
        return Vec::new();
    }
    let mut candidates: Vec<usize> =
        (0..scores.len()).filter(|&at| score_min.is_none_or(|min| scores[at] > min)).collect();
    candidates.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut kept: Vec<usize> = Vec::new();
    for at in candidates {
        if kept.iter().all(|&better| !corners[at].overlaps(&corners[better], overlap_max)) {
            kept.push(at);
            if kept.len() == most {
                break;
            }
        }
    }
    kept
}

#[derive(Clone, Copy)]
struct Corners {
    low: [f32; 2],
    high: [f32; 2],
}

impl Corners {
    /// Two opposite corners in any order, or centre and size.
    fn new([a, b, c, d]: [f32; 4], center_point_box: bool) -> Self {
        if center_point_box {
            let (x, y) = (c / 2.0, d / 2.0);
            return Corners { low: [a - x, b - y], high: [a + x, b + y] };
        }
        Corners { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
    }

    fn area(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Whether intersection over union exceeds the threshold; boxes without area overlap nothing.
    fn overlaps(&self, other: &Corners, threshold: f32) -> bool {
        let side = |axis: usize| {
            self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis])
        };
        let (height, width) = (side(0), side(1));
        if height <= 0.0 || width <= 0.0 || self.area() <= 0.0 || other.area() <= 0.0 {
            return false;
        }
        let intersection = height * width;
        intersection / (self.area() + other.area() - intersection) > threshold
    }
}
