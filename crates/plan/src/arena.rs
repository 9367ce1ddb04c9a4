//! Offsets within an arena, given and taken back as values come and go.

use std::collections::BTreeMap;

/// Alignment of every offset: a cache line, and enough for every element type and vector load.
pub const ALIGN: usize = 64;

/// Best fit over a list of free blocks sorted by offset. Only arithmetic: nothing is allocated.
#[derive(Default)]
pub struct Arena {
    /// Offset → length of each free block; neighbours are always merged.
    free: BTreeMap<usize, usize>,
    /// Everything from here on was never used, or is free again.
    top: usize,
    peak: usize,
}

impl Arena {
    /// Offset of `len` bytes that overlap nothing handed out and not yet given back; `None` when the arena would
    /// overflow. Empty values take no room.
    pub fn take(&mut self, len: usize) -> Option<usize> {
        if len == 0 {
            return Some(0);
        }
        let len = len.checked_next_multiple_of(ALIGN)?;
        let fits = self.free.iter().filter(|&(_, &free)| free >= len);
        let best = fits.min_by_key(|&(_, &free)| free).map(|(&offset, &free)| (offset, free));
        let Some((offset, free)) = best else {
            let offset = self.top;
            self.top = offset.checked_add(len)?;
            self.peak = self.peak.max(self.top);
            return Some(offset);
        };
        self.free.remove(&offset);
        if free > len {
            self.free.insert(offset + len, free - len);
        }
        Some(offset)
    }

    /// Gives back what [`Arena::take`] handed out for `len` bytes.
    pub fn give(&mut self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        let mut start = offset;
        let mut end = offset + len.next_multiple_of(ALIGN);
        if let Some((&before, &free)) = self.free.range(..offset).next_back() {
            assert!(before + free <= offset, "a block was given back twice");
            if before + free == offset {
                self.free.remove(&before);
                start = before;
            }
        }
        if let Some(free) = self.free.remove(&end) {
            end += free;
        }
        if end == self.top {
            self.top = start;
        } else {
            self.free.insert(start, end - start);
        }
    }

    /// The most bytes that were ever needed.
    pub fn peak(&self) -> usize {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reuses_the_smallest_block_that_fits() {
        let mut arena = Arena::default();
        let large = arena.take(256).unwrap();
        let between = arena.take(64).unwrap();
        let small = arena.take(128).unwrap();
        let last = arena.take(64).unwrap();
        assert_eq!((large, between, small, last), (0, 256, 320, 448));
        arena.give(large, 256);
        arena.give(small, 128);
        assert_eq!(arena.take(100), Some(320), "the block of 128, not the one of 256");
        assert_eq!(arena.take(200), Some(0));
        assert_eq!(arena.peak(), 512);
    }

    #[test]
    fn everything_given_back_is_one_block_again() {
        let mut arena = Arena::default();
        let offsets: Vec<_> = (0..10).map(|_| arena.take(64).unwrap()).collect();
        for index in [3, 1, 2, 9, 0, 5, 7, 6, 8, 4] {
            arena.give(offsets[index], 64);
        }
        assert_eq!(arena.take(640), Some(0));
        assert_eq!(arena.peak(), 640);
    }

    #[test]
    fn overflow_is_refused() {
        let mut arena = Arena::default();
        arena.take(64).unwrap();
        assert_eq!(arena.take(usize::MAX), None);
        assert_eq!(arena.take(usize::MAX - 100), None);
        assert_eq!(arena.take(0), Some(0));
    }

    proptest! {
        /// Against a plain list of what is handed out: nothing overlaps, and the peak is within what was asked for.
        #[test]
        fn blocks_never_overlap(ops in prop::collection::vec((0usize..2000, any::<prop::sample::Index>(), any::<bool>()), 1..200)) {
            let mut arena = Arena::default();
            let mut taken: Vec<(usize, usize)> = Vec::new();
            let mut asked = 0;
            for (len, index, give) in ops {
                if give && !taken.is_empty() {
                    let (offset, len) = taken.swap_remove(index.index(taken.len()));
                    arena.give(offset, len);
                } else {
                    let offset = arena.take(len).unwrap();
                    prop_assert_eq!(offset % ALIGN, 0);
                    for &(other, other_len) in &taken {
                        prop_assert!(offset + len <= other || other + other_len <= offset || len == 0 || other_len == 0);
                    }
                    asked += len.next_multiple_of(ALIGN);
                    taken.push((offset, len));
                }
                prop_assert!(arena.peak() <= asked);
            }
        }
    }
}
