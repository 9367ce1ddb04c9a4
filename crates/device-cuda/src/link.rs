//! The link: one thread that maps pages and enqueues the copies of segments, in order, and reports their arrival.

use crate::driver::{CudaError, Event, Stream};
use crate::lane::{IDLE_SPINS, breathe};
use crate::link_rate::Streak;
use crate::memory::Region;
use crate::shared::Shared;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Weak};
use sublet_device::{Completion, DeviceError, Load};
use sublet_units::{LoadId, PageId};

/// Copies that are enqueued and whose end was not seen yet, at most: enough to keep the link busy.
const IN_FLIGHT_MAX: usize = 64;

/// The driver serves one thread at a time, and lanes have launches to make. Pauses between two looks at a copy on its
/// way: some ten microseconds.
const PAUSES: usize = 8;

/// Pauses before a further copy is enqueued behind so many bytes: some ten microseconds, in which the link is busy and a
/// lane launches what waits for the copy before.
const PAUSES_BEHIND: usize = 8;
const BEHIND_BYTES: usize = 256 << 10;

/// Copies that are enqueued between two looks at the first one on its way.
const LOOK_EVERY: usize = 4;

/// Unmapping holds the driver for tens of microseconds. It is done when nothing is on its way, or while so many bytes are
/// that nobody waits for their end soon.
const UNMAP_BEHIND_BYTES: usize = 16 << 20;

/// Stale mappings that may wait for that.
const STALE_MAX: usize = 1024;

/// A copy on its way.
struct Copy {
    load: LoadId,
    segment: u32,
    region: Arc<Region>,
    done: Arc<Event>,
    /// Where tracing is on: when the copy started.
    started: Option<Event>,
    bytes: usize,
}

/// A load whose segments are being enqueued.
struct Current {
    load: Load,
    region: Arc<Region>,
    /// Start of the pinned image.
    from: *const u8,
    next: u32,
}

/// Loads until all senders are gone.
pub fn run(shared: &Shared, loads: &Receiver<Load>) {
    let stream = match shared.context.make_current().and_then(|()| Stream::new(false)) {
        Ok(stream) => stream,
        Err(error) => return shared.lose(error.at("the link's stream")),
    };
    let mut link = Link {
        shared,
        stream,
        flying: VecDeque::new(),
        current: None,
        mapped: HashMap::new(),
        stale: VecDeque::new(),
        spare: Vec::new(),
        streak: Streak::default(),
    };
    let mut open = true;
    let mut idle = 0;
    while open || link.is_busy() {
        if link.current.is_none() && open {
            let next = if idle < IDLE_SPINS {
                loads.try_recv()
            } else {
                loads.recv().map_err(|_| TryRecvError::Disconnected)
            };
            match next {
                Ok(load) => link.begin(load),
                Err(TryRecvError::Disconnected) => open = false,
                Err(TryRecvError::Empty) => {}
            }
        }
        idle = if link.is_idle() { idle + 1 } else { 0 };
        link.advance();
    }
}

struct Link<'a> {
    shared: &'a Shared,
    stream: Stream,
    flying: VecDeque<Copy>,
    current: Option<Current>,
    /// Where each page was mapped last.
    mapped: HashMap<PageId, Mapped>,
    /// Mappings whose page was given to somebody else: taken away when there is nothing better to do.
    stale: VecDeque<(PageId, Mapped)>,
    /// Events of copies that have ended, to be used again: making one takes as long as enqueueing a copy.
    spare: Vec<Arc<Event>>,
    streak: Streak,
}

/// A page of a region.
struct Mapped {
    region: Weak<Region>,
    index: usize,
}

impl Link<'_> {
    fn is_idle(&self) -> bool {
        !self.is_busy() && self.stale.is_empty()
    }

    fn is_busy(&self) -> bool {
        self.current.is_some() || !self.flying.is_empty()
    }

    fn flying_bytes(&self) -> usize {
        self.flying.iter().map(|copy| copy.bytes).sum()
    }

    /// Enqueues the next segment, if there is one and room for it, and looks whether the oldest copy has ended.
    fn advance(&mut self) {
        if self.flying.len() < IN_FLIGHT_MAX
            && let Some(mut current) = self.current.take()
        {
            if self.flying_bytes() >= BEHIND_BYTES {
                (0..PAUSES_BEHIND).for_each(|_| breathe());
            }
            match self.enqueue(&current) {
                Ok(()) => {
                    current.next += 1;
                    if current.next < current.load.segments.end {
                        self.current = Some(current);
                    }
                }
                Err(error) => self.fail(&current.load, &current.region, error),
            }
        } else if self.flying.is_empty() {
            if !self.unmap_one() {
                std::hint::spin_loop();
            }
        } else {
            let may_unmap =
                self.flying_bytes() >= UNMAP_BEHIND_BYTES || self.stale.len() > STALE_MAX;
            if !may_unmap || !self.unmap_one() {
                (0..PAUSES).for_each(|_| breathe());
            }
        }
        if self.current.is_some() && !self.flying.len().is_multiple_of(LOOK_EVERY) {
            return;
        }
        while let Some(copy) = self.flying.front() {
            match copy.done.is_done() {
                Ok(false) => break,
                Ok(true) => {
                    let copy = self.flying.pop_front().expect("looked at above");
                    self.measure(&copy);
                    self.arrived(copy);
                }
                Err(error) => {
                    self.shared.lose(error.at("copying weights"));
                    self.drop_all();
                    break;
                }
            }
        }
    }

    fn begin(&mut self, load: Load) {
        let region = match self.shared.region(load.model) {
            Some(region) => region,
            None => {
                let what = "a model that is not attached".into();
                let error = DeviceError::Invalid { what, place: place(&load) };
                return self.shared.report(Completion::LoadFailed { load: load.load, error });
            }
        };
        match self.check(&load, &region) {
            Ok(from) => {
                let next = load.segments.start;
                if load.segments.is_empty() {
                    return;
                }
                self.current = Some(Current { load, region, from, next });
            }
            Err(error) => self.fail(&load, &region, error),
        }
    }

    /// Checks a load and makes sure that its image is pinned. Returns where the image starts.
    fn check(&self, load: &Load, region: &Region) -> Result<*const u8, DeviceError> {
        self.shared.check_alive()?;
        let layout = &region.image().layout;
        if load.segments.end as usize > layout.segments.len() {
            let what = format!("segments {:?} of {}", load.segments, layout.segments.len());
            return Err(DeviceError::Invalid { what, place: place(load) });
        }
        let pages = page_range(region, &load.segments, self.shared.pages.page_bytes);
        if pages.len() > load.pages.len() {
            let what = format!("{} pages for segments of {}", load.pages.len(), pages.len());
            return Err(DeviceError::Invalid { what, place: place(load) });
        }
        region.pinned.start()
    }

    /// Maps the pages that a segment begins, and enqueues its copy.
    fn enqueue(&mut self, current: &Current) -> Result<(), DeviceError> {
        self.shared.check_alive()?;
        let Current { load, region, from, next } = current;
        if region.is_resident(*next) {
            self.shared.report(Completion::Loaded { load: load.load, segment: *next });
            return Ok(());
        }
        if let Some(error) = self.shared.take_fault() {
            return Err(error);
        }
        let began = self.shared.clock().now();
        let page_bytes = self.shared.pages.page_bytes;
        let first = page_range(region, &load.segments, page_bytes).start;
        for page in page_range(region, &(*next..*next + 1), page_bytes) {
            self.map(region, page, load.pages[page - first])
                .map_err(|error| error.at(&place(load)))?;
        }
        let mapped = self.shared.clock().now();
        let segment = &region.image().layout.segments[*next as usize];
        let mut copy = || -> Result<Copy, CudaError> {
            let started = self.shared.trace.is_some().then(|| Event::new(true)).transpose()?;
            if let Some(started) = &started {
                started.record(&self.stream)?;
            }
            let to = region.address() + segment.offset as u64;
            // SAFETY: the image is pinned and `segment` lies within it and within the region, whose pages up to the
            // segment's end are mapped; the region outlives the copy, which is seen to end before it is dropped.
            unsafe { self.stream.copy_in(to, from.add(segment.offset), segment.len) }?;
            let done = match self.spare.pop() {
                Some(spare) => spare,
                None => Arc::new(Event::new(started.is_some())?),
            };
            done.record(&self.stream)?;
            let (load, segment, bytes) = (load.load, *next, segment.len);
            Ok(Copy { load, segment, region: region.clone(), done, started, bytes })
        };
        let copy = copy().map_err(|error| error.at(&place(load)))?;
        region.enqueued(*next, copy.done.clone());
        self.flying.push_back(copy);
        if let Some(trace) = &self.shared.trace {
            let name = |what| format!("{} segment {next} {what}", load.load);
            trace.note_host("link host", name("maps"), began, mapped);
            trace.note_host("link host", name("enqueues"), mapped, self.shared.clock().now());
        }
        Ok(())
    }

    fn map(&mut self, region: &Arc<Region>, index: usize, page: PageId) -> Result<(), CudaError> {
        region.map(index, page, &self.shared.pages)?;
        let now = Mapped { region: Arc::downgrade(region), index };
        let is_same = |before: &Mapped| before.region.ptr_eq(&now.region) && before.index == index;
        if self.mapped.get(&page).is_some_and(is_same) {
            return Ok(());
        }
        if let Some(before) = self.mapped.insert(page, now) {
            self.stale.push_back((page, before));
        }
        Ok(())
    }

    /// Takes one stale mapping away; false when there is none.
    fn unmap_one(&mut self) -> bool {
        let Some((page, stale)) = self.stale.pop_front() else { return false };
        // It may have come back since.
        let is_current =
            |now: &Mapped| now.region.ptr_eq(&stale.region) && now.index == stale.index;
        if !self.mapped.get(&page).is_some_and(is_current)
            && let Some(region) = stale.region.upgrade()
        {
            region.unmap(stale.index, page);
        }
        true
    }

    fn measure(&mut self, copy: &Copy) {
        let more = !self.flying.is_empty();
        let now = self.shared.clock().now();
        self.streak.ended(&self.shared.link_rate, copy.bytes as u64, now, more);
    }

    fn arrived(&mut self, copy: Copy) {
        if self.shared.check_alive().is_err() {
            return;
        }
        copy.region.arrived(copy.segment);
        let counters = &self.shared.counters;
        counters.copied_bytes.fetch_add(copy.bytes as u64, Ordering::Relaxed);
        counters.resident_bytes.fetch_add(copy.bytes as u64, Ordering::Relaxed);
        if let (Some(trace), Some(started)) = (&self.shared.trace, &copy.started) {
            let name = format!("{} segment {}", copy.load, copy.segment);
            trace.note("link", name, started, &copy.done);
        }
        self.shared.report(Completion::Loaded { load: copy.load, segment: copy.segment });
        // A lane that was told to wait for it may not have got to it yet.
        if Arc::strong_count(&copy.done) == 1 {
            self.spare.push(copy.done);
        }
    }

    /// Ends a load in the middle. Its pages may be given away at once, so what was enqueued must have ended before
    /// anybody is told.
    fn fail(&mut self, load: &Load, region: &Region, error: DeviceError) {
        if let Err(error) = self.stream.synchronize() {
            self.shared.lose(error.at(&place(load)));
        }
        while let Some(copy) = self.flying.pop_front() {
            self.arrived(copy);
        }
        region.fail(load.segments.clone(), &error);
        if matches!(error, DeviceError::Lost(_)) {
            self.shared.lose(error.clone());
        }
        self.shared.report(Completion::LoadFailed { load: load.load, error });
    }

    /// After the device was lost: nothing that is on its way will arrive.
    fn drop_all(&mut self) {
        let lost = self.shared.lost_error();
        let mut failed: Vec<LoadId> = self.flying.drain(..).map(|copy| copy.load).collect();
        failed.extend(self.current.take().map(|current| current.load.load));
        failed.dedup();
        for load in failed {
            self.shared.report(Completion::LoadFailed { load, error: lost.clone() });
        }
    }
}

/// Pages of a region that these segments begin: the page in which they start may belong to the segment before.
fn page_range(region: &Region, segments: &Range<u32>, page_bytes: usize) -> Range<usize> {
    let layout = &region.image().layout;
    let at = |segment| layout.start_of(segment).as_usize().div_ceil(page_bytes);
    at(segments.start)..at(segments.end)
}

fn place(load: &Load) -> String {
    format!("load {} of {}", load.load, load.model)
}
