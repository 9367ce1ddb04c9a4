//! Device memory: a number of pages, handed out as buffers of whole pages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use sublet_device::{AlignedBuffer, DeviceError};
use sublet_units::Bytes;

/// Hands out buffers and takes them back. Buffers that are given back keep their memory, within the same number of
/// pages, so that swapping models in and out does not fault every page in again.
pub struct Memory {
    page_bytes: usize,
    pages: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Pages of buffers that are out.
    used: u64,
    /// Buffers that may be handed out again; `used` and their pages together are at most `pages`.
    spare: Vec<AlignedBuffer>,
}

impl Memory {
    pub fn new(page_bytes: Bytes, pages: u32) -> Self {
        Memory {
            page_bytes: page_bytes.as_usize(),
            pages: u64::from(pages),
            state: Mutex::default(),
        }
    }

    /// Pages that `len` bytes take.
    pub fn pages_for(&self, len: usize) -> u64 {
        len.div_ceil(self.page_bytes) as u64
    }

    /// A buffer of as many whole pages as hold `len` bytes, with arbitrary contents.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] when there are not so many pages left.
    pub fn take(&self, len: usize) -> Result<AlignedBuffer, DeviceError> {
        let wanted = self.pages_for(len);
        let mut state = self.state();
        if state.used + wanted > self.pages {
            return Err(DeviceError::OutOfMemory {
                wanted: Bytes::from(len),
                place: "the device's pages".into(),
            });
        }
        let fit = state.spare.iter().enumerate().min_by_key(|(_, buffer)| {
            let pages = self.pages_for(buffer.len());
            // One of the same size, else a larger one, else a smaller one.
            (pages < wanted, pages.abs_diff(wanted))
        });
        let reused = fit.map(|(index, _)| index).map(|index| state.spare.swap_remove(index));
        state.used += wanted;
        while state.used + self.spare_pages(&state) > self.pages {
            state.spare.pop();
        }
        drop(state);
        let len = wanted as usize * self.page_bytes;
        Ok(match reused {
            Some(buffer) if buffer.len() == len => buffer,
            Some(buffer) => buffer.recycled(len),
            None => AlignedBuffer::zeroed(len),
        })
    }

    /// Takes back a buffer that [`Memory::take`] handed out.
    pub fn give(&self, buffer: Arc<AlignedBuffer>) {
        let mut state = self.state();
        state.used -= self.pages_for(buffer.len());
        // Somebody who still reads it keeps it alive; then it cannot be handed out again.
        if let Ok(buffer) = Arc::try_unwrap(buffer) {
            state.spare.push(buffer);
        }
    }

    /// Bytes of buffers that are out.
    pub fn used(&self) -> Bytes {
        Bytes(self.state().used * self.page_bytes as u64)
    }

    fn spare_pages(&self, state: &State) -> u64 {
        state.spare.iter().map(|buffer| self.pages_for(buffer.len())).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_whole_pages_within_the_budget() {
        let memory = Memory::new(Bytes(128), 4);
        let one = memory.take(129).unwrap();
        assert_eq!(one.len(), 256);
        let two = memory.take(256).unwrap();
        assert_eq!(memory.used(), Bytes(512));
        let error = memory.take(1).err().unwrap();
        assert!(matches!(error, DeviceError::OutOfMemory { wanted: Bytes(1), .. }), "{error}");
        assert!(memory.take(0).unwrap().is_empty());
        memory.give(Arc::new(one));
        memory.give(Arc::new(two));
        assert_eq!(memory.used(), Bytes::ZERO);
    }

    #[test]
    fn reuses_buffers_without_exceeding_the_budget() {
        let memory = Memory::new(Bytes(64), 8);
        let mut same = memory.take(256).unwrap();
        same[0] = 7;
        memory.give(Arc::new(same));
        let small = memory.take(64).unwrap();
        assert_eq!(small[0], 7, "the larger buffer was cut down");
        memory.give(Arc::new(small));
        let all = memory.take(512).unwrap();
        assert_eq!((all.len(), memory.used()), (512, Bytes(512)));
        let state = memory.state();
        assert_eq!(memory.spare_pages(&state), 0);
    }

    #[test]
    fn a_buffer_that_is_still_read_is_not_handed_out_again() {
        let memory = Memory::new(Bytes(64), 1);
        let buffer = Arc::new(memory.take(64).unwrap());
        let reader = buffer.clone();
        memory.give(buffer);
        let mut other = memory.take(64).unwrap();
        other[0] = 9;
        assert_eq!(reader[0], 0);
    }
}
