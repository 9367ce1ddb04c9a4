//! The books of one device's memory.

use crate::lease::{Epoch, Lease, LeaseError, Owner};
use crate::residency::Residency;
use std::collections::BTreeMap;
use std::ops::Range;
use sublet_units::{Bytes, ModelId, PageId};

/// Who has which page of one device.
///
/// A model's segments lie one after the other in its region, which is made of whole pages: a page in which one segment
/// ends and the next begins belongs to the first of them ([`Ledger::pages_between`]). Misuse panics: it is a bug of the
/// caller that would corrupt weights if it went on. What may fail in good order returns an `Option` or a `Result`
/// and then has changed nothing.
#[derive(Clone, Debug)]
pub struct Ledger {
    page_bytes: Bytes,
    /// Indexed by page.
    holders: Vec<Holder>,
    /// Taken from the end.
    free: Vec<PageId>,
    reserved: u32,
    models: BTreeMap<ModelId, Residency>,
    /// Kept after everything was returned, so that epochs go on.
    leases: BTreeMap<Owner, Lease>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holder {
    Free,
    Model(ModelId),
    Lessee(Owner),
}

impl Ledger {
    /// A device with `pages` free pages of `page_bytes` each.
    pub fn new(page_bytes: Bytes, pages: u32) -> Self {
        assert!(page_bytes.0 > 0, "a page has a size");
        Ledger {
            page_bytes,
            holders: vec![Holder::Free; pages as usize],
            free: (0..pages).rev().map(PageId).collect(),
            reserved: 0,
            models: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }

    pub fn page_bytes(&self) -> Bytes {
        self.page_bytes
    }

    /// Pages of the device.
    pub fn pages(&self) -> u32 {
        self.holders.len() as u32
    }

    pub fn free(&self) -> u32 {
        self.free.len() as u32
    }

    /// Pages that are not free: resident, reserved or lent.
    pub fn used(&self) -> u32 {
        self.pages() - self.free()
    }

    /// Pages of segments that are on their way.
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    pub fn lent(&self) -> u32 {
        self.leases.values().map(|lease| lease.pages.len() as u32).sum()
    }

    /// How many pages what lies between two offsets of a region needs, beyond those of what lies before it.
    pub fn pages_between(&self, start: Bytes, end: Bytes) -> u32 {
        let pages = end.div_ceil(self.page_bytes) - start.div_ceil(self.page_bytes);
        u32::try_from(pages).unwrap_or(u32::MAX)
    }

    /// What the device holds of a model; `None` when nothing.
    pub fn residency(&self, model: ModelId) -> Option<&Residency> {
        self.models.get(&model)
    }

    /// Number of leading segments of a model that have arrived.
    pub fn resident(&self, model: ModelId) -> u32 {
        self.models.get(&model).map_or(0, Residency::resident)
    }

    /// Models that hold pages, in order.
    pub fn models(&self) -> impl Iterator<Item = (ModelId, &Residency)> {
        self.models.iter().map(|(&model, residency)| (model, residency))
    }

    /// Takes pages for the segments from `first` on, whose sizes are `bytes`: all of them, or none when there are too
    /// few free. Returns the pages in the order of the segments.
    ///
    /// `first` follows what is resident, and a model has one load in flight at a time.
    pub fn reserve(&mut self, model: ModelId, first: u32, bytes: &[Bytes]) -> Option<Vec<PageId>> {
        let (resident, loading) =
            self.residency(model).map_or((0, false), |held| (held.resident(), held.is_loading()));
        assert!(!loading, "{model} has a load in flight already");
        assert_eq!(first, resident, "a load of {model} continues what is resident");
        assert!(!bytes.is_empty(), "a load of {model} has segments");

        let mut start = self.residency(model).map_or(Bytes::ZERO, Residency::bytes);
        let total = self.pages_between(start, start + bytes.iter().copied().sum());
        if total > self.free() {
            return None;
        }
        let mut taken = Vec::with_capacity(total as usize);
        let page_bytes = self.page_bytes;
        let held = self.models.entry(model).or_default();
        for &segment in bytes {
            let end = start + segment;
            let count = (end.div_ceil(page_bytes) - start.div_ceil(page_bytes)) as usize;
            start = end;
            let pages: Vec<PageId> = self.free.drain(self.free.len() - count..).rev().collect();
            for &page in &pages {
                hand(&mut self.holders, page, Holder::Free, Holder::Model(model));
            }
            taken.extend_from_slice(&pages);
            held.push_loading(segment, pages);
        }
        self.reserved += total;
        Some(taken)
    }

    /// A segment of the load in flight has arrived.
    pub fn loaded(&mut self, model: ModelId, segment: u32) {
        let held = self.models.get_mut(&model).expect("a model with a load in flight");
        held.arrived(segment);
        self.reserved -= held.segment_pages(segment).len() as u32;
    }

    /// The rest of the load in flight will not arrive: its pages are free again. Segments that had arrived stay.
    /// Returns how many pages became free.
    pub fn load_failed(&mut self, model: ModelId) -> u32 {
        let held = self.models.get(&model).expect("a model with a load in flight");
        let loading = held.loading();
        assert!(!loading.is_empty(), "{model} has no load in flight");
        let freed = self.release(model, loading);
        self.reserved -= freed;
        freed
    }

    /// Takes back the pages of the last resident segments. Returns how many pages became free.
    pub fn evict(&mut self, model: ModelId, segments: Range<u32>) -> u32 {
        let held = self.models.get(&model).expect("a model with resident segments");
        assert!(!held.is_loading(), "{model} is not evicted while it loads");
        assert_eq!(segments.end, held.resident(), "{model} is evicted from its last segment on");
        assert!(!segments.is_empty(), "an eviction of {model} has segments");
        self.release(model, segments)
    }

    /// Takes back everything a model has. Returns how many pages became free.
    pub fn remove(&mut self, model: ModelId) -> u32 {
        match self.resident(model) {
            0 => {
                assert!(!self.models.contains_key(&model), "{model} is not removed while it loads");
                0
            }
            resident => self.evict(model, 0..resident),
        }
    }

    /// Lends `count` more free pages to `owner`, under a new epoch of its lease; `None` when there are too few.
    pub fn lend(&mut self, owner: Owner, count: u32) -> Option<(Epoch, Vec<PageId>)> {
        if count > self.free() {
            return None;
        }
        let pages: Vec<PageId> =
            self.free.drain(self.free.len() - count as usize..).rev().collect();
        for &page in &pages {
            hand(&mut self.holders, page, Holder::Free, Holder::Lessee(owner));
        }
        let lease = self.leases.entry(owner).or_default();
        lease.pages.extend(&pages);
        Some((lease.advance(), pages))
    }

    /// Takes pages back from `owner`, who names the epoch it knows of. Starts a new epoch and returns it.
    pub fn give_back(
        &mut self,
        owner: Owner,
        epoch: Epoch,
        pages: &[PageId],
    ) -> Result<Epoch, LeaseError> {
        let lease = self.leases.get_mut(&owner).ok_or(LeaseError::NoLease { owner })?;
        lease.check(owner, epoch, pages)?;
        for &page in pages {
            lease.pages.remove(&page);
            hand(&mut self.holders, page, Holder::Lessee(owner), Holder::Free);
            self.free.push(page);
        }
        Ok(lease.advance())
    }

    /// Takes back all that `owner` has, for example because it died. Returns how many pages became free.
    pub fn revoke(&mut self, owner: Owner) -> u32 {
        let Some(lease) = self.leases.get_mut(&owner) else { return 0 };
        lease.advance();
        let pages = std::mem::take(&mut lease.pages);
        for &page in &pages {
            hand(&mut self.holders, page, Holder::Lessee(owner), Holder::Free);
            self.free.push(page);
        }
        pages.len() as u32
    }

    pub fn lease(&self, owner: Owner) -> Option<&Lease> {
        self.leases.get(&owner)
    }

    /// Recounts everything and panics on the first contradiction. Linear in pages: for tests.
    pub fn audit(&self) {
        let mut holders = vec![None; self.holders.len()];
        let mut hold = |page: PageId, holder: Holder| {
            let before = holders[page.0 as usize].replace(holder);
            assert_eq!(before, None, "{page} is held twice");
        };
        self.free.iter().for_each(|&page| hold(page, Holder::Free));
        let mut reserved = 0;
        for (&model, held) in &self.models {
            assert!(!held.is_empty(), "{model} is listed without segments");
            let mut pages = 0;
            for segment in 0..held.loading().end {
                let segment_pages = held.segment_pages(segment);
                segment_pages.iter().for_each(|&page| hold(page, Holder::Model(model)));
                pages += segment_pages.len() as u32;
                if held.loading().contains(&segment) {
                    reserved += segment_pages.len() as u32;
                }
            }
            assert_eq!(pages, held.pages(), "{model} miscounts its pages");
        }
        for (&owner, lease) in &self.leases {
            lease.pages.iter().for_each(|&page| hold(page, Holder::Lessee(owner)));
        }
        assert_eq!(reserved, self.reserved, "the reserved pages are miscounted");
        for (page, (&holder, found)) in self.holders.iter().zip(holders).enumerate() {
            assert_eq!(found, Some(holder), "{} is lost or mislabelled", PageId(page as u32));
        }
    }

    /// Takes the last `segments` off a model and frees their pages.
    fn release(&mut self, model: ModelId, segments: Range<u32>) -> u32 {
        let held = self.models.get_mut(&model).expect("a model with pages");
        let mut freed = 0;
        for _ in segments {
            for page in held.pop().into_iter().rev() {
                hand(&mut self.holders, page, Holder::Model(model), Holder::Free);
                self.free.push(page);
                freed += 1;
            }
        }
        if held.is_empty() {
            self.models.remove(&model);
        }
        freed
    }
}

/// Passes a page on; the giver must be the one who has it.
fn hand(holders: &mut [Holder], page: PageId, from: Holder, to: Holder) {
    let holder = &mut holders[page.0 as usize];
    assert_eq!(*holder, from, "{page} is handed on by somebody who does not have it");
    *holder = to;
}
