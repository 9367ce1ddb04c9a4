//! Which segments of one model are on one device, and in which pages.

use std::ops::Range;
use sublet_units::{Bytes, PageId};

/// The part of a model that a device holds: always a prefix `0..resident` that has arrived, followed by
/// `resident..reserved` that is on its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Residency {
    /// Size and pages of each segment in `0..reserved`.
    segments: Vec<(Bytes, Vec<PageId>)>,
    bytes: Bytes,
    resident: u32,
    pages: u32,
}

impl Residency {
    /// Number of leading segments that have arrived.
    pub fn resident(&self) -> u32 {
        self.resident
    }

    /// Segments that have pages and are on their way.
    pub fn loading(&self) -> Range<u32> {
        self.resident..self.segments.len() as u32
    }

    pub fn is_loading(&self) -> bool {
        !self.loading().is_empty()
    }

    /// Bytes of all its segments, arrived or not: where the next one would start.
    pub fn bytes(&self) -> Bytes {
        self.bytes
    }

    /// Pages of all its segments, arrived or not.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Pages of one segment that has pages.
    pub fn segment_pages(&self, segment: u32) -> &[PageId] {
        &self.segments[segment as usize].1
    }

    pub(crate) fn push_loading(&mut self, bytes: Bytes, pages: Vec<PageId>) {
        self.pages += pages.len() as u32;
        self.bytes += bytes;
        self.segments.push((bytes, pages));
    }

    pub(crate) fn arrived(&mut self, segment: u32) {
        assert!(self.is_loading(), "a segment arrived that nobody asked for");
        assert_eq!(segment, self.resident, "segments of a load arrive in order");
        self.resident += 1;
    }

    /// Takes the last segment off, arrived or not, and returns its pages.
    pub(crate) fn pop(&mut self) -> Vec<PageId> {
        let (bytes, pages) = self.segments.pop().expect("a segment to take off");
        self.bytes -= bytes;
        self.pages -= pages.len() as u32;
        self.resident = self.resident.min(self.segments.len() as u32);
        pages
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}
