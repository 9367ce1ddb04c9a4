//! Inputs on their way to the device: staged in pinned memory, and read from there by a kernel.
//!
//! A copy engine would bring them too, but only behind all weights that are queued there.

use crate::copiers::Copiers;
use crate::driver::{Address, CudaError, Event, Function, LaunchShape, Stream};
use crate::memory::{Staged, Staging};
use std::ffi::c_void;
use sublet_device::Clock;
use sublet_units::Time;

pub const SOURCE: &str = include_str!("kernels/bring.cu");

/// Bytes that are brought while the next ones are staged: a launch costs as much as staging some 50 KB, and what is
/// brought after the last byte is staged is waited for.
const PIECE_BYTES: usize = 512 << 10;

/// What the kernel reads at a time.
const VECTOR_BYTES: usize = 16;

/// Blocks of the kernel, at most: enough reads in flight to fill the link.
const BLOCKS_MAX: usize = 64;

/// Alignment of each input in the pinned block.
const ALIGN: usize = 256;

/// The inputs of one run. What it enqueues reads the pinned block, which must not be used again before that has ended.
pub struct Bringing<'a> {
    kernel: &'a Function,
    stream: &'a Stream,
    copiers: &'a Copiers,
    /// Recorded before anything is brought.
    begin: &'a Event,
    clock: &'a dyn Clock,
    /// Where each input goes, and its bytes.
    inputs: &'a [(Address, usize)],
    block: Staged,
    /// Where each input starts in the block.
    starts: Vec<usize>,
    /// The input at hand: its first `brought` bytes are enqueued, its first `staged` ones are in the block.
    input: usize,
    brought: usize,
    staged: usize,
    /// When `begin` was recorded.
    begun: Option<Time>,
}

impl<'a> Bringing<'a> {
    pub fn new(
        kernel: &'a Function,
        stream: &'a Stream,
        copiers: &'a Copiers,
        staging: &Staging,
        begin: &'a Event,
        clock: &'a dyn Clock,
        inputs: &'a [(Address, usize)],
    ) -> Result<Self, CudaError> {
        let mut starts = Vec::with_capacity(inputs.len());
        let mut total = 0;
        for (_, bytes) in inputs {
            starts.push(total);
            total += bytes.next_multiple_of(ALIGN);
        }
        let block = staging.take(total)?;
        let (input, brought, staged, begun) = (0, 0, 0, None);
        Ok(Bringing {
            kernel,
            stream,
            copiers,
            begin,
            clock,
            inputs,
            block,
            starts,
            input,
            brought,
            staged,
            begun,
        })
    }

    /// Stages the next bytes of an input, and brings what has become enough. Inputs are given one after the other, each
    /// from its start on.
    pub fn stage(&mut self, input: usize, at: usize, bytes: &[u8]) -> Result<(), CudaError> {
        if input != self.input {
            self.flush()?;
            (self.input, self.brought, self.staged) = (input, 0, 0);
        }
        assert_eq!(at, self.staged, "the parts of an input follow one another");
        assert!(at + bytes.len() <= self.inputs[input].1, "an input is as long as the plan's");
        for piece in bytes.chunks(PIECE_BYTES) {
            let start = self.starts[input] + self.staged;
            let (begin, stream, clock, begun) = (self.begin, self.stream, self.clock, self.begun);
            let mut recorded = Ok(begun);
            self.copiers.copy(&mut self.block.as_mut()[start..start + piece.len()], piece, || {
                if begun.is_none() {
                    recorded = begin.record(stream).map(|()| Some(clock.now()));
                }
            });
            self.begun = recorded?;
            self.staged += piece.len();
            let waiting = self.staged - self.brought;
            if waiting >= PIECE_BYTES {
                self.bring(waiting / VECTOR_BYTES * VECTOR_BYTES)?;
            }
        }
        Ok(())
    }

    /// Brings what is staged. Returns the block, and when `begin` was recorded.
    pub fn finish(mut self) -> Result<(Staged, Time), (CudaError, Staged)> {
        let begun = self.flush().and_then(|()| match self.begun {
            Some(begun) => Ok(begun),
            None => self.begin.record(self.stream).map(|()| self.clock.now()),
        });
        match begun {
            Ok(begun) => Ok((self.block, begun)),
            Err(error) => Err((error, self.block)),
        }
    }

    fn flush(&mut self) -> Result<(), CudaError> {
        match self.staged - self.brought {
            0 => Ok(()),
            bytes => self.bring(bytes),
        }
    }

    /// Enqueues bringing the next `bytes` of the input at hand.
    fn bring(&mut self, mut bytes: usize) -> Result<(), CudaError> {
        let start = self.starts[self.input] + self.brought;
        let mut from = self.block.as_ref()[start..start + bytes].as_ptr();
        let mut to = self.inputs[self.input].0 + self.brought as u64;
        self.brought += bytes;
        let mut shape = LaunchShape::linear(bytes.div_ceil(VECTOR_BYTES), 512);
        shape.grid[0] = shape.grid[0].min(BLOCKS_MAX as u32);
        let mut parameters: [*mut c_void; 3] = [
            std::ptr::from_mut(&mut to).cast(),
            std::ptr::from_mut(&mut from).cast(),
            std::ptr::from_mut(&mut bytes).cast(),
        ];
        // SAFETY: the block holds `bytes` from `from` on and is pinned and known to the device; the arena holds as many
        // from `to` on, which are the input's. Both are multiples of 16: inputs start at multiples of 256 here and of 64
        // there, and only whole vectors were brought before. The block is used again when the run has ended, see the type.
        unsafe { self.kernel.launch(self.stream, &shape, &mut parameters) }
    }
}
