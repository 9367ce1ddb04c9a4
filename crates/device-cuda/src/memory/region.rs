//! One model's weights on the device: fixed addresses, the pages behind them, and which segments are there.

use super::Pages;
use super::pinned::PinnedImage;
use crate::driver::{Address, CudaError, Event, Mapping, Reservation};
use crate::lane::breathe;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use sublet_device::{DeviceError, Image};
use sublet_units::PageId;

/// Looks at segments that are not enqueued yet before a thread sleeps: about a millisecond's.
const LOOKS_BEFORE_SLEEP: u32 = 500;

/// The place of a model's weights. Its addresses never change, so what was captured with them stays valid.
pub struct Region {
    pub pinned: Arc<PinnedImage>,
    reservation: Option<Arc<Reservation>>,
    /// By page of the region. A mapping stays when its page is taken away, until the page is given to another model: one
    /// that is given the same pages again needs no mapping.
    mapped: Mutex<Vec<Option<(PageId, Mapping)>>>,
    segments: Mutex<Vec<SegmentState>>,
    changed: Condvar,
}

#[derive(Clone)]
enum SegmentState {
    Absent,
    /// A load of it was asked for; its copy is not enqueued yet.
    Expected,
    /// Its copy is enqueued; the event tells when it is done.
    Enqueued(Arc<Event>),
    Resident,
    /// Its copy failed; it is not there and nothing will bring it.
    Failed(DeviceError),
}

/// How a run learns that leading segments are there.
pub enum Arrival {
    Resident,
    /// They are there once this event has happened.
    After(Arc<Event>),
}

impl Region {
    /// Reserves addresses for an image; nothing is mapped.
    pub fn new(pinned: Arc<PinnedImage>, page_bytes: usize) -> Result<Region, CudaError> {
        let layout = &pinned.image.layout;
        let pages = layout.bytes.as_usize().div_ceil(page_bytes);
        let reservation = match pages {
            0 => None,
            pages => Some(Arc::new(Reservation::new(pages * page_bytes)?)),
        };
        let segments = vec![SegmentState::Absent; layout.segments.len()];
        Ok(Region {
            reservation,
            mapped: Mutex::new((0..pages).map(|_| None).collect()),
            segments: Mutex::new(segments),
            changed: Condvar::new(),
            pinned,
        })
    }

    pub fn image(&self) -> &Arc<Image> {
        &self.pinned.image
    }

    /// Where the image's first byte lies; 0 for a model without weights.
    pub fn address(&self) -> Address {
        self.reservation.as_ref().map_or(0, |reservation| reservation.address)
    }

    /// Whether this page is behind page `index` of the region.
    pub fn is_mapped(&self, index: usize, id: PageId) -> bool {
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped[index].as_ref().is_some_and(|(there, _)| *there == id)
    }

    /// Puts a page behind page `index` of the region. Cheap when it is there already.
    ///
    /// Nothing may be in flight that reads what lay there before.
    pub fn map(&self, index: usize, id: PageId, pages: &Pages) -> Result<(), CudaError> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut mapped[index];
        if slot.as_ref().is_some_and(|(there, _)| *there == id) {
            return Ok(());
        }
        // The old mapping goes first: two cannot be at one address.
        *slot = None;
        let reservation = self.reservation.as_ref().expect("a region with pages has addresses");
        let offset = index * pages.page_bytes;
        *slot = Some((id, Mapping::new(reservation, offset, pages.page(id), pages.ordinal)?));
        Ok(())
    }

    /// Takes a mapping away whose page was given to somebody else.
    pub fn unmap(&self, index: usize, id: PageId) {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if mapped[index].as_ref().is_some_and(|(there, _)| *there == id) {
            mapped[index] = None;
        }
    }

    /// Notes that a load of these segments was asked for.
    pub fn expect(&self, segments: Range<u32>) {
        for state in &mut self.lock()[as_indices(segments)] {
            if !matches!(state, SegmentState::Resident | SegmentState::Enqueued(_)) {
                *state = SegmentState::Expected;
            }
        }
    }

    pub fn is_resident(&self, segment: u32) -> bool {
        matches!(self.lock()[segment as usize], SegmentState::Resident)
    }

    /// Notes that the copy of a segment is enqueued up to `event`, which is recorded.
    pub fn enqueued(&self, segment: u32, event: Arc<Event>) {
        self.lock()[segment as usize] = SegmentState::Enqueued(event);
        self.changed.notify_all();
    }

    /// Notes that a segment is there.
    pub fn arrived(&self, segment: u32) {
        let state = &mut self.lock()[segment as usize];
        if matches!(state, SegmentState::Enqueued(_)) {
            *state = SegmentState::Resident;
        }
    }

    /// The segments among these that were coming will not come.
    pub fn fail(&self, segments: Range<u32>, error: &DeviceError) {
        for state in &mut self.lock()[as_indices(segments)] {
            if matches!(state, SegmentState::Expected | SegmentState::Enqueued(_)) {
                *state = SegmentState::Failed(error.clone());
            }
        }
        self.changed.notify_all();
    }

    pub fn fail_all(&self, error: &DeviceError) {
        self.fail(0..self.image().layout.segments.len() as u32, error);
    }

    /// Takes these segments away. Returns their bytes that were there.
    pub fn evict(&self, segments: Range<u32>) -> u64 {
        let mut bytes = 0;
        let mut states = self.lock();
        for index in as_indices(segments) {
            if matches!(states[index], SegmentState::Resident) {
                bytes += self.image().layout.segments[index].len as u64;
            }
            states[index] = SegmentState::Absent;
        }
        self.changed.notify_all();
        bytes
    }

    /// Whether the first `segments` segments are there.
    pub fn has(&self, segments: u32) -> bool {
        let states = self.lock();
        states[..segments as usize].iter().all(|state| matches!(state, SegmentState::Resident))
    }

    /// Waits until the copies of the first `segments` segments are at least enqueued. Copies are enqueued in order, so
    /// the last one's event stands for all.
    ///
    /// # Errors
    /// That of a copy, or [`DeviceError::Invalid`] when one is neither resident nor coming.
    pub fn wait_for(&self, segments: u32) -> Result<Arrival, DeviceError> {
        let mut looks = 0;
        let mut states = self.lock();
        'again: loop {
            let mut arrival = Arrival::Resident;
            for (index, state) in states[..segments as usize].iter().enumerate() {
                match state {
                    SegmentState::Resident => {}
                    SegmentState::Enqueued(event) => arrival = Arrival::After(event.clone()),
                    SegmentState::Failed(error) => return Err(error.clone()),
                    SegmentState::Absent => {
                        return Err(DeviceError::Invalid {
                            what: "weights that are neither resident nor being loaded".into(),
                            place: format!("segment {index}"),
                        });
                    }
                    SegmentState::Expected => {
                        looks += 1;
                        states = self.wait_a_little(states, looks);
                        continue 'again;
                    }
                }
            }
            return Ok(arrival);
        }
    }

    /// The link has usually got to it in less time than waking this thread would take.
    fn wait_a_little<'a>(
        &'a self,
        states: MutexGuard<'a, Vec<SegmentState>>,
        looks: u32,
    ) -> MutexGuard<'a, Vec<SegmentState>> {
        if looks > LOOKS_BEFORE_SLEEP {
            return self.changed.wait(states).unwrap_or_else(PoisonError::into_inner);
        }
        drop(states);
        breathe();
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SegmentState>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn as_indices(segments: Range<u32>) -> Range<usize> {
    segments.start as usize..segments.end as usize
}
