//! Memory aligned to cache lines, as every typed view of weights and activations needs.

use std::ops::{Deref, DerefMut};

/// Alignment of every [`AlignedBuffer`].
pub const ALIGN: usize = 64;

/// A byte buffer that starts at a multiple of 64.
///
/// It is a plain vector with some bytes to spare: fresh memory comes zeroed from the operating system and is only
/// touched when it is used, and a buffer that is resized keeps its memory where the allocator can.
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zero bytes. The operating system provides them lazily.
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + ALIGN - 1];
        let start = bytes.as_ptr().align_offset(ALIGN);
        AlignedBuffer { bytes, start, len }
    }

    /// A buffer of `len` bytes of arbitrary contents that reuses the memory of this one.
    pub fn recycled(mut self, len: usize) -> Self {
        let wanted = len + ALIGN - 1;
        if wanted < self.bytes.len() {
            self.bytes.truncate(wanted);
            self.bytes.shrink_to_fit();
        } else {
            self.bytes.reserve_exact(wanted - self.bytes.len());
            self.bytes.resize(wanted, 0);
        }
        let start = self.bytes.as_ptr().align_offset(ALIGN);
        AlignedBuffer { bytes: self.bytes, start, len }
    }
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_and_zero() {
        for len in [0, 1, 63, 64, 100, 5000] {
            let buffer = AlignedBuffer::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % ALIGN, 0);
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
        assert!(AlignedBuffer::default().is_empty());
    }

    #[test]
    fn is_recycled_at_any_size() {
        let mut buffer = AlignedBuffer::zeroed(1 << 20);
        for len in [1 << 20, 1000, 64, 3 << 20, 0, 70] {
            buffer = buffer.recycled(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % ALIGN, 0, "also when it is empty");
            buffer.fill(7);
        }
    }
}
