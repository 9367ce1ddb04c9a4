//! The ledger against a naive list of page holders: random operations, and all short sequences of a few operations.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use sublet_pool::{Epoch, LeaseError, Ledger, Owner};
use sublet_units::{Bytes, ModelId, PageId};

const PAGE: Bytes = Bytes(10);

#[derive(Clone, Debug)]
enum Op {
    /// Sizes of the segments to load next.
    Reserve(u32, Vec<u64>),
    Loaded(u32),
    LoadFailed(u32),
    /// Evict so many of the last segments.
    Evict(u32, u32),
    Remove(u32),
    Lend(u32, u32),
    /// Return so many pages, naming an epoch that lags so far behind.
    GiveBack(u32, u32, u64),
    Revoke(u32),
}

/// What holds a page, spelled out page by page.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Holder {
    Free,
    Segment { model: u32, segment: u32, arrived: bool },
    Lessee(u32),
}

/// The ledger told naively: every question scans all pages.
struct Naive {
    pages: Vec<Holder>,
    /// Segments of each model as (pages, arrived, bytes), including those of no pages.
    models: BTreeMap<u32, Vec<(u32, bool, u64)>>,
    epochs: BTreeMap<u32, u64>,
}

impl Naive {
    fn count(&self, what: impl Fn(&Holder) -> bool) -> u32 {
        self.pages.iter().filter(|holder| what(holder)).count() as u32
    }

    fn free(&self) -> u32 {
        self.count(|holder| *holder == Holder::Free)
    }

    fn resident(&self, model: u32) -> u32 {
        self.models.get(&model).map_or(0, |s| s.iter().filter(|s| s.1).count() as u32)
    }

    fn is_loading(&self, model: u32) -> bool {
        self.models.get(&model).is_some_and(|segments| segments.iter().any(|s| !s.1))
    }

    /// How many pages each further segment of a model needs: those in which a byte of it lies and none before it.
    fn pages_of(&self, model: u32, sizes: &[u64]) -> Vec<u32> {
        let before: u64 = self.models.get(&model).into_iter().flatten().map(|s| s.2).sum();
        let mut seen: BTreeSet<u64> = (0..before).map(|byte| byte / PAGE.0).collect();
        let mut at = before;
        let mut counts = Vec::new();
        for &size in sizes {
            let known = seen.len();
            seen.extend((at..at + size).map(|byte| byte / PAGE.0));
            at += size;
            counts.push((seen.len() - known) as u32);
        }
        counts
    }

    fn replace(&mut self, from: Holder, to: Holder) {
        for holder in self.pages.iter_mut().filter(|holder| **holder == from) {
            *holder = to;
        }
    }

    fn take(&mut self, page: PageId, holder: Holder) {
        let place = &mut self.pages[page.0 as usize];
        assert_eq!(*place, Holder::Free, "{page} was given out although it was held");
        *place = holder;
    }

    fn cut(&mut self, model: u32, to: u32) {
        for holder in &mut self.pages {
            if matches!(*holder, Holder::Segment { model: m, segment, .. } if m == model && segment >= to)
            {
                *holder = Holder::Free;
            }
        }
        if let Some(segments) = self.models.get_mut(&model) {
            segments.truncate(to as usize);
            if segments.is_empty() {
                self.models.remove(&model);
            }
        }
    }
}

struct Pair {
    ledger: Ledger,
    naive: Naive,
}

impl Pair {
    fn new(pages: u32) -> Self {
        Pair {
            ledger: Ledger::new(PAGE, pages),
            naive: Naive {
                pages: vec![Holder::Free; pages as usize],
                models: BTreeMap::new(),
                epochs: BTreeMap::new(),
            },
        }
    }

    /// Applies an operation to both where it is allowed, and compares.
    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Reserve(model, ref sizes) => self.reserve(model, sizes),
            Op::Loaded(model) if self.naive.is_loading(model) => {
                let segment = self.naive.resident(model);
                self.ledger.loaded(ModelId(model), segment);
                self.naive.models.get_mut(&model).unwrap()[segment as usize].1 = true;
                self.naive.replace(
                    Holder::Segment { model, segment, arrived: false },
                    Holder::Segment { model, segment, arrived: true },
                );
            }
            Op::LoadFailed(model) if self.naive.is_loading(model) => {
                let before = self.naive.free();
                self.naive.cut(model, self.naive.resident(model));
                let freed = self.ledger.load_failed(ModelId(model));
                assert_eq!(freed, self.naive.free() - before);
            }
            Op::Evict(model, count)
                if !self.naive.is_loading(model)
                    && (1..=self.naive.resident(model)).contains(&count) =>
            {
                let before = self.naive.free();
                let resident = self.naive.resident(model);
                self.naive.cut(model, resident - count);
                let freed = self.ledger.evict(ModelId(model), resident - count..resident);
                assert_eq!(freed, self.naive.free() - before);
            }
            Op::Remove(model) if !self.naive.is_loading(model) => {
                let before = self.naive.free();
                self.naive.cut(model, 0);
                assert_eq!(self.ledger.remove(ModelId(model)), self.naive.free() - before);
            }
            Op::Lend(owner, count) => {
                let lent = self.ledger.lend(Owner(owner), count);
                assert_eq!(lent.is_some(), count <= self.naive.free());
                if let Some((epoch, pages)) = lent {
                    let expected = self.naive.epochs.entry(owner).or_default();
                    *expected += 1;
                    assert_eq!(epoch, Epoch(*expected));
                    assert_eq!(pages.len() as u32, count);
                    for page in pages {
                        self.naive.take(page, Holder::Lessee(owner));
                    }
                }
            }
            Op::GiveBack(owner, count, lag) => self.give_back(owner, count, lag),
            Op::Revoke(owner) => {
                let freed = self.naive.count(|h| *h == Holder::Lessee(owner));
                self.naive.replace(Holder::Lessee(owner), Holder::Free);
                if let Some(epoch) = self.naive.epochs.get_mut(&owner) {
                    *epoch += 1;
                }
                assert_eq!(self.ledger.revoke(Owner(owner)), freed);
            }
            _ => {}
        }
        self.compare();
    }

    fn reserve(&mut self, model: u32, sizes: &[u64]) {
        if self.naive.is_loading(model) || sizes.is_empty() {
            return;
        }
        let first = self.naive.resident(model);
        let counts = self.naive.pages_of(model, sizes);
        let bytes: Vec<Bytes> = sizes.iter().map(|&s| Bytes(s)).collect();
        let given = self.ledger.reserve(ModelId(model), first, &bytes);
        assert_eq!(given.is_some(), counts.iter().sum::<u32>() <= self.naive.free());
        let Some(given) = given else { return };
        let mut given = given.into_iter();
        for ((segment, &count), &size) in (first..).zip(&counts).zip(sizes) {
            for page in given.by_ref().take(count as usize) {
                self.naive.take(page, Holder::Segment { model, segment, arrived: false });
            }
            self.naive.models.entry(model).or_default().push((count, false, size));
        }
        assert_eq!(given.next(), None, "more pages were given than asked for");
    }

    fn give_back(&mut self, owner: u32, count: u32, lag: u64) {
        let Some(&current) = self.naive.epochs.get(&owner) else {
            let refused = self.ledger.give_back(Owner(owner), Epoch(0), &[]);
            assert_eq!(refused, Err(LeaseError::NoLease { owner: Owner(owner) }));
            return;
        };
        let given = current.wrapping_sub(lag);
        let pages: Vec<PageId> = (0u32..)
            .zip(&self.naive.pages)
            .filter(|(_, holder)| **holder == Holder::Lessee(owner))
            .map(|(page, _)| PageId(page))
            .take(count as usize)
            .collect();
        let result = self.ledger.give_back(Owner(owner), Epoch(given), &pages);
        if lag == 0 {
            assert_eq!(result, Ok(Epoch(current + 1)));
            self.naive.epochs.insert(owner, current + 1);
            for page in pages {
                self.naive.pages[page.0 as usize] = Holder::Free;
            }
        } else {
            let stale = LeaseError::Stale {
                owner: Owner(owner),
                given: Epoch(given),
                current: Epoch(current),
            };
            assert_eq!(result, Err(stale));
        }
    }

    fn compare(&self) {
        let (ledger, naive) = (&self.ledger, &self.naive);
        ledger.audit();
        assert_eq!(ledger.pages(), naive.pages.len() as u32);
        assert_eq!(ledger.free(), naive.free());
        assert_eq!(ledger.used(), naive.count(|h| *h != Holder::Free));
        let reserved = naive.count(|h| matches!(h, Holder::Segment { arrived: false, .. }));
        assert_eq!(ledger.reserved(), reserved);
        assert_eq!(ledger.lent(), naive.count(|h| matches!(h, Holder::Lessee(_))));
        assert_eq!(ledger.models().count(), naive.models.len());
        for (&model, segments) in &naive.models {
            let held = ledger.residency(ModelId(model)).expect("the model holds segments");
            assert_eq!(held.resident(), naive.resident(model));
            assert_eq!(held.loading(), naive.resident(model)..segments.len() as u32);
            for (segment, &(count, ..)) in (0..).zip(segments) {
                let pages = held.segment_pages(segment);
                assert_eq!(pages.len() as u32, count);
                for page in pages {
                    let holder = naive.pages[page.0 as usize];
                    assert!(
                        matches!(holder, Holder::Segment { model: m, segment: s, .. } if m == model && s == segment),
                        "{page} of m{model} segment {segment} is {holder:?}"
                    );
                }
            }
        }
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let model = 0..4u32;
    let owner = 0..2u32;
    prop_oneof![
        3 => (model.clone(), prop::collection::vec(0..35u64, 1..4)).prop_map(|(m, s)| Op::Reserve(m, s)),
        4 => model.clone().prop_map(Op::Loaded),
        1 => model.clone().prop_map(Op::LoadFailed),
        2 => (model.clone(), 1..4u32).prop_map(|(m, n)| Op::Evict(m, n)),
        1 => model.prop_map(Op::Remove),
        1 => (owner.clone(), 0..5u32).prop_map(|(o, n)| Op::Lend(o, n)),
        1 => (owner.clone(), 0..5u32, 0..3u64).prop_map(|(o, n, lag)| Op::GiveBack(o, n, lag)),
        1 => owner.prop_map(Op::Revoke),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_naive_list(pages in 0..24u32, ops in prop::collection::vec(any_op(), 0..80)) {
        let mut pair = Pair::new(pages);
        for op in &ops {
            pair.apply(op);
        }
    }
}

#[test]
fn agrees_with_a_naive_list_on_all_short_sequences() {
    let alphabet = [
        Op::Reserve(0, vec![15, 10]),
        Op::Reserve(1, vec![5]),
        Op::Loaded(0),
        Op::Loaded(1),
        Op::LoadFailed(0),
        Op::Evict(0, 1),
        Op::Lend(0, 2),
        Op::GiveBack(0, 1, 0),
    ];
    let length = 6;
    for sequence in 0..alphabet.len().pow(length) {
        let mut pair = Pair::new(4);
        let mut rest = sequence;
        for _ in 0..length {
            pair.apply(&alphabet[rest % alphabet.len()]);
            rest /= alphabet.len();
        }
    }
}

#[test]
fn a_page_is_returned_once() {
    let mut ledger = Ledger::new(PAGE, 2);
    let (epoch, pages) = ledger.lend(Owner(0), 2).unwrap();
    let twice = [pages[0], pages[0]];
    let error = LeaseError::NotLent { owner: Owner(0), page: pages[0] };
    assert_eq!(ledger.give_back(Owner(0), epoch, &twice), Err(error));
    assert_eq!(ledger.free(), 0, "a refused return changes nothing");
    ledger.give_back(Owner(0), epoch, &pages).unwrap();
    assert_eq!(ledger.free(), 2);
}

#[test]
#[should_panic(expected = "evicted from its last segment on")]
fn segments_leave_from_the_tail_only() {
    let mut ledger = Ledger::new(PAGE, 2);
    ledger.reserve(ModelId(0), 0, &[Bytes(1), Bytes(1)]).unwrap();
    ledger.loaded(ModelId(0), 0);
    ledger.loaded(ModelId(0), 1);
    ledger.evict(ModelId(0), 0..1);
}

#[test]
#[should_panic(expected = "not evicted while it loads")]
fn a_loading_model_is_not_evicted() {
    let mut ledger = Ledger::new(PAGE, 2);
    ledger.reserve(ModelId(0), 0, &[Bytes(1), Bytes(1)]).unwrap();
    ledger.loaded(ModelId(0), 0);
    ledger.evict(ModelId(0), 0..1);
}
