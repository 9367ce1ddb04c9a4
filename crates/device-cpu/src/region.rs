//! One model's weights on the device: which segments are there, and waiting for those that are coming.

use crate::memory::Memory;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use sublet_device::{AlignedBuffer, DeviceError, Image};

/// The place of a model's weights on the device.
pub struct Region {
    pub image: Arc<Image>,
    segments: Mutex<Vec<SegmentState>>,
    changed: Condvar,
}

#[derive(Clone)]
pub enum SegmentState {
    Absent,
    /// Its copy is enqueued or under way.
    Loading,
    Resident(Arc<AlignedBuffer>),
    /// Its copy failed; it is not there and nothing will bring it.
    Failed(DeviceError),
}

impl Region {
    pub fn new(image: Arc<Image>) -> Self {
        let segments = vec![SegmentState::Absent; image.layout.segments.len()];
        Region { image, segments: Mutex::new(segments), changed: Condvar::new() }
    }

    /// Notes that copies of these segments are enqueued.
    pub fn expect(&self, segments: Range<u32>) {
        for state in &mut self.lock()[as_indices(segments)] {
            if !matches!(state, SegmentState::Resident(_)) {
                *state = SegmentState::Loading;
            }
        }
    }

    pub fn is_resident(&self, segment: u32) -> bool {
        matches!(self.lock()[segment as usize], SegmentState::Resident(_))
    }

    /// A segment has arrived. Returns the buffer when nobody waits for the segment any more.
    pub fn arrived(&self, segment: u32, buffer: Arc<AlignedBuffer>) -> Option<Arc<AlignedBuffer>> {
        let state = &mut self.lock()[segment as usize];
        if !matches!(state, SegmentState::Loading) {
            return Some(buffer);
        }
        *state = SegmentState::Resident(buffer);
        self.changed.notify_all();
        None
    }

    /// The segments among these that were coming will not come.
    pub fn fail(&self, segments: Range<u32>, error: &DeviceError) {
        for state in &mut self.lock()[as_indices(segments)] {
            if matches!(state, SegmentState::Loading) {
                *state = SegmentState::Failed(error.clone());
            }
        }
        self.changed.notify_all();
    }

    /// All segments that were coming will not come.
    pub fn fail_all(&self, error: &DeviceError) {
        self.fail(0..self.image.layout.segments.len() as u32, error);
    }

    /// Gives the memory of these segments back.
    pub fn evict(&self, segments: Range<u32>, memory: &Memory) {
        for state in &mut self.lock()[as_indices(segments)] {
            if let SegmentState::Resident(buffer) = std::mem::replace(state, SegmentState::Absent) {
                memory.give(buffer);
            }
        }
        self.changed.notify_all();
    }

    pub fn evict_all(&self, memory: &Memory) {
        self.evict(0..self.image.layout.segments.len() as u32, memory);
    }

    /// Adds to `have`, the leading segments gathered so far, those that follow and are resident.
    pub fn gather(&self, have: &mut Vec<Arc<AlignedBuffer>>) {
        let segments = self.lock();
        for state in &segments[have.len()..] {
            let SegmentState::Resident(buffer) = state else { break };
            have.push(buffer.clone());
        }
    }

    /// Waits for the segment.
    ///
    /// # Errors
    /// That of its copy, or [`DeviceError::Invalid`] when it is neither resident nor coming.
    pub fn wait_for(&self, segment: u32) -> Result<Arc<AlignedBuffer>, DeviceError> {
        let mut segments = self.lock();
        loop {
            match &segments[segment as usize] {
                SegmentState::Resident(buffer) => return Ok(buffer.clone()),
                SegmentState::Failed(error) => return Err(error.clone()),
                SegmentState::Absent => {
                    return Err(DeviceError::Invalid {
                        what: "weights that are neither resident nor being loaded".into(),
                        place: format!("segment {segment}"),
                    });
                }
                SegmentState::Loading => {
                    segments = self.changed.wait(segments).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SegmentState>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_indices(segments: Range<u32>) -> Range<usize> {
    segments.start as usize..segments.end as usize
}
