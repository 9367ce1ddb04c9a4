//! Zeroed memory aligned to cache lines, as every typed view of weights and activations needs.

use bytemuck::{Pod, Zeroable};
use std::ops::{Deref, DerefMut};

/// Alignment of every [`AlignedBuffer`].
pub const ALIGN: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

/// A byte buffer that starts at a multiple of 64.
pub struct AlignedBuffer {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zero bytes. The operating system provides them lazily.
    pub fn zeroed(len: usize) -> Self {
        AlignedBuffer { lines: bytemuck::zeroed_vec(len.div_ceil(ALIGN)), len }
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
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_and_zero() {
        let buffer = AlignedBuffer::zeroed(100);
        assert_eq!(buffer.len(), 100);
        assert_eq!(buffer.as_ptr() as usize % ALIGN, 0);
        assert!(buffer.iter().all(|&byte| byte == 0));
        assert!(AlignedBuffer::default().is_empty());
    }
}
