//! Where each weight lies in the packed image, and how the image is cut into segments.

use serde::{Deserialize, Serialize};
use std::ops::Range;
use sublet_units::Bytes;

/// The packed image of a model's weights: every weight once, in order of first use, each aligned.
///
/// A weight never straddles segments, so a step waits for exactly the segments up to the last one it reads. A
/// weight larger than the largest segment size is a segment of its own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Layout {
    /// Indexed by `WeightId`.
    pub weights: Vec<WeightPlace>,
    pub segments: Vec<Segment>,
    /// Length of the image.
    pub bytes: Bytes,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct WeightPlace {
    /// Offset from the start of the image, a multiple of [`LayoutOptions::align`].
    pub offset: usize,
    /// Bytes, without padding.
    pub len: usize,
    pub segment: u32,
}

/// A contiguous run of weights that is copied as one and becomes ready as one.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Segment {
    pub offset: usize,
    pub len: usize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LayoutOptions {
    /// Alignment of each weight, in bytes.
    pub align: usize,
    /// Size of the first segment: small, so that the first step starts early.
    pub first: Bytes,
    /// Segments double in size up to this.
    pub largest: Bytes,
}

impl Default for LayoutOptions {
    fn default() -> Self {
        LayoutOptions { align: 256, first: Bytes::from_kib(512), largest: Bytes::from_mib(8) }
    }
}

impl Segment {
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }
}
