//! The link: one thread that enqueues the copies of segments, in order, maps pages into regions, and reports the segments'
//! arrival.

use crate::driver::{Address, CudaError, Event, Stream};
use crate::lane::{IDLE_SPINS, breathe};
use crate::link_rate::Streak;
use crate::memory::{Region, Windows, as_indices};
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

/// Pauses before a further copy is enqueued behind so many bytes: some five microseconds, in which the link is busy and a
/// lane launches what waits for the copy before.
const PAUSES_BEHIND: usize = 4;
const BEHIND_BYTES: usize = 256 << 10;

/// Copies that are enqueued between two looks at the first one on its way.
const LOOK_EVERY: usize = 4;

/// Bytes that are copied through windows before the page they lie in is mapped, at most: what the link moves meanwhile.
const AHEAD_BYTES: usize = 3 << 20;

/// Of a small load less is copied before, a segment at least: its run is the longer part, and should begin soon.
const AHEAD_SHARE: usize = 16;

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
    /// Whether its pages are in place, and runs may wait for it.
    is_ready: bool,
}

/// A part of a segment that lies in one place.
struct Piece {
    to: Address,
    /// Where it begins in the image.
    from: usize,
    bytes: usize,
}

/// A load whose segments are being enqueued.
struct Current {
    load: Load,
    region: Arc<Region>,
    /// Start of the pinned image.
    from: *const u8,
    /// The next segment to copy.
    next: u32,
    /// The next segment whose pages are to be put in place; at most `next`.
    next_ready: u32,
    /// Bytes of the segments between them, and how many there may be.
    ahead: usize,
    ahead_max: usize,
}

/// Loads until all senders are gone.
pub fn run(shared: &Shared, loads: &Receiver<Load>) {
    let stream = match shared.context.make_current().and_then(|()| Stream::new(false)) {
        Ok(stream) => stream,
        Err(error) => return shared.lose(error.at("the link's stream")),
    };
    let windows = match Windows::new(&shared.pages) {
        Ok(windows) => windows,
        Err(error) => return shared.lose(error.at("the link's addresses")),
    };
    let mut link = Link {
        shared,
        stream,
        flying: VecDeque::new(),
        current: None,
        mapped: HashMap::new(),
        stale: VecDeque::new(),
        windows,
        unopened: Vec::new(),
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
    windows: Windows,
    /// Pages that were mapped and have no window yet: opened when there is nothing better to do.
    unopened: Vec<PageId>,
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
        !self.is_busy() && self.stale.is_empty() && self.unopened.is_empty()
    }

    fn is_busy(&self) -> bool {
        self.current.is_some() || !self.flying.is_empty()
    }

    fn flying_bytes(&self) -> usize {
        self.flying.iter().map(|copy| copy.bytes).sum()
    }

    /// Does the next thing for the current load, if there is one, and looks whether the oldest copy has ended.
    fn advance(&mut self) {
        if let Some(mut current) = self.current.take() {
            match self.step(&mut current) {
                Ok(()) => {
                    if current.next_ready < current.load.segments.end {
                        self.current = Some(current);
                    }
                }
                Err(error) => self.fail(&current.load, &current.region, error),
            }
        } else if self.flying.is_empty() {
            if !self.tidy_up() {
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
            if !copy.is_ready {
                break;
            }
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
                let segments = as_indices(load.segments.clone());
                let sizes = region.image().layout.segments[segments].iter();
                let bytes: usize = sizes.map(|segment| segment.len).sum();
                let ahead_max = AHEAD_BYTES.min(bytes / AHEAD_SHARE);
                let next_ready = next;
                let current = Current { load, region, from, next, next_ready, ahead: 0, ahead_max };
                self.current = Some(current);
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

    /// Enqueues the next copy, or puts the pages of one before it in place.
    fn step(&mut self, current: &mut Current) -> Result<(), DeviceError> {
        self.shared.check_alive()?;
        let is_behind = current.next_ready < current.next;
        let may_copy = current.next < current.load.segments.end
            && self.flying.len() < IN_FLIGHT_MAX
            && !(is_behind && current.ahead >= current.ahead_max);
        if may_copy {
            if self.flying_bytes() >= BEHIND_BYTES {
                (0..PAUSES_BEHIND).for_each(|_| breathe());
            }
            self.enqueue(current)?;
        } else if is_behind {
            self.make_ready(current)?;
        } else {
            (0..PAUSES).for_each(|_| breathe());
        }
        while current.next_ready < current.next && self.is_in_place(current, current.next_ready) {
            self.make_ready(current)?;
        }
        Ok(())
    }

    /// The pages that a segment begins, by their index in the region.
    fn pages_of(
        &self,
        current: &Current,
        segment: u32,
    ) -> impl Iterator<Item = (usize, PageId)> + use<> {
        let page_bytes = self.shared.pages.page_bytes;
        let first = page_range(&current.region, &current.load.segments, page_bytes).start;
        let begun = page_range(&current.region, &(segment..segment + 1), page_bytes);
        let ids = current.load.pages[begun.start - first..begun.end - first].to_vec();
        begun.zip(ids)
    }

    fn is_in_place(&self, current: &Current, segment: u32) -> bool {
        self.pages_of(current, segment).all(|(index, id)| current.region.is_mapped(index, id))
    }

    /// Enqueues the copy of the next segment: to the region where its pages are mapped, else through their windows.
    fn enqueue(&mut self, current: &mut Current) -> Result<(), DeviceError> {
        let segment = current.next;
        let at = place(&current.load);
        current.next += 1;
        if current.region.is_resident(segment) {
            return Ok(());
        }
        if let Some(error) = self.shared.take_fault() {
            return Err(error);
        }
        let began = self.shared.clock().now();
        let pieces = self.pieces(current, segment).map_err(|error| error.at(&at))?;
        let bytes = current.region.image().layout.segments[segment as usize].len;
        let mut copy = || -> Result<Copy, CudaError> {
            let started = self.shared.trace.is_some().then(|| Event::new(true)).transpose()?;
            if let Some(started) = &started {
                started.record(&self.stream)?;
            }
            for &Piece { to, from, bytes } in &pieces {
                // SAFETY: the image is pinned and the piece lies within it; `to` is mapped for as long, in a region that
                // outlives the copy, which is seen to end before it is dropped, or in a window, which stays.
                unsafe { self.stream.copy_in(to, current.from.add(from), bytes) }?;
            }
            let done = match self.spare.pop() {
                Some(spare) => spare,
                None => Arc::new(Event::new(started.is_some())?),
            };
            done.record(&self.stream)?;
            let (load, region) = (current.load.load, current.region.clone());
            Ok(Copy { load, segment, region, done, started, bytes, is_ready: false })
        };
        self.flying.push_back(copy().map_err(|error| error.at(&at))?);
        current.ahead += bytes;
        if let Some(trace) = &self.shared.trace {
            let name = format!("{} segment {segment} enqueues", current.load.load);
            trace.note_host("link host", name, began, self.shared.clock().now());
        }
        Ok(())
    }

    /// Where a segment is copied to, in as few pieces as its pages allow.
    fn pieces(&mut self, current: &Current, segment: u32) -> Result<Vec<Piece>, CudaError> {
        let page_bytes = self.shared.pages.page_bytes;
        let Current { load, region, .. } = current;
        let first = page_range(region, &load.segments, page_bytes).start;
        let layout = &region.image().layout.segments[segment as usize];
        let end = layout.offset + layout.len;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut from = layout.offset;
        while from < end {
            let index = from / page_bytes;
            let bytes = ((index + 1) * page_bytes).min(end) - from;
            let in_region = region.address() + from as u64;
            // What lies before this load's first page was mapped with the load before.
            let to = match index.checked_sub(first).map(|index| load.pages[index]) {
                Some(page) if !region.is_mapped(index, page) => match self.windows.address(page) {
                    Some(window) => window + (from % page_bytes) as u64,
                    None => {
                        self.map(region, index, page)?;
                        in_region
                    }
                },
                _ => in_region,
            };
            match pieces.last_mut() {
                Some(last) if last.to + last.bytes as u64 == to => last.bytes += bytes,
                _ => pieces.push(Piece { to, from, bytes }),
            }
            from += bytes;
        }
        Ok(pieces)
    }

    /// Maps the pages that a copied segment begins, and lets runs wait for it.
    fn make_ready(&mut self, current: &mut Current) -> Result<(), DeviceError> {
        let segment = current.next_ready;
        current.next_ready += 1;
        let began = self.shared.clock().now();
        for (index, id) in self.pages_of(current, segment) {
            let mapped = self.map(&current.region, index, id);
            mapped.map_err(|error| error.at(&place(&current.load)))?;
        }
        if let Some(trace) = &self.shared.trace {
            let name = format!("{} segment {segment} maps", current.load.load);
            trace.note_host("link host", name, began, self.shared.clock().now());
        }
        let copied = |copy: &&mut Copy| !copy.is_ready && copy.segment == segment;
        match self.flying.iter_mut().find(copied) {
            Some(copy) => {
                copy.is_ready = true;
                current.ahead -= copy.bytes;
                current.region.enqueued(segment, copy.done.clone());
            }
            // It was resident already.
            None => self.shared.report(Completion::Loaded { load: current.load.load, segment }),
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
        match self.mapped.insert(page, now) {
            Some(before) => self.stale.push_back((page, before)),
            // It will go from one model to another, and be copied to while it is mapped.
            None => self.unopened.push(page),
        }
        Ok(())
    }

    /// Does one of the things that can wait; false when there is none.
    fn tidy_up(&mut self) -> bool {
        if self.unmap_one() {
            return true;
        }
        let Some(page) = self.unopened.pop() else { return false };
        // Without a window, copies to the page wait until it is mapped.
        let _ = self.windows.open(page, &self.shared.pages);
        true
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
            if copy.is_ready {
                self.arrived(copy);
            }
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
