//! Memory and clock for measuring.

use crate::driver::{Address, CudaError, DeviceBlock, Event, Stream, capture};
use crate::program::Enqueue;
use half::{bf16, f16};
use sublet_graph::DType;

/// How often what is measured is repeated in one captured graph, at most: alone, a short kernel takes less time than its
/// launch.
const REPEATS_MAX: u64 = 8;
/// What the repetitions should take together, in nanoseconds.
const REPEATED_NS: u64 = 2_000_000;
/// How often the graph is replayed and timed; the median counts.
const ROUNDS: usize = 3;
/// What is kept from one problem to the next; larger blocks are given back.
const KEPT_BYTES: usize = 256 << 20;
/// Bytes of the pattern that operands are filled with.
const PATTERN_BYTES: usize = 1 << 20;

/// Blocks of device memory of its own: a model's weights may be anywhere, or nowhere, while it is lowered.
#[derive(Default)]
pub struct Bench {
    operands: Option<DeviceBlock>,
    scratch: Option<DeviceBlock>,
}

impl Bench {
    /// Memory for operands, filled with values between −1 and 1 (whole numbers for integers). Aligned to 256.
    pub fn operands(
        &mut self,
        operands: &[(usize, DType)],
        stream: &Stream,
    ) -> Result<Vec<Address>, CudaError> {
        let total = operands.iter().map(|(bytes, _)| bytes.next_multiple_of(256)).sum();
        let mut at = grown(&mut self.operands, total)?;
        let mut addresses = Vec::new();
        for &(bytes, dtype) in operands {
            fill(at, bytes, dtype, stream)?;
            addresses.push(at);
            at += bytes.next_multiple_of(256) as u64;
        }
        stream.synchronize()?;
        Ok(addresses)
    }

    pub fn scratch(&mut self, bytes: usize) -> Result<Address, CudaError> {
        grown(&mut self.scratch, bytes)
    }

    /// Gives large blocks back.
    pub fn shrink(&mut self) {
        for block in [&mut self.operands, &mut self.scratch] {
            block.take_if(|block| block.bytes > KEPT_BYTES);
        }
    }

    /// Nanoseconds that the calls take together; `None` when clearly more than `limit_ns`.
    pub fn time(
        &self,
        calls: &[Box<dyn Enqueue>],
        stream: &Stream,
        limit_ns: Option<u64>,
    ) -> Result<Option<u64>, CudaError> {
        let once = || calls.iter().try_for_each(|call| call.enqueue(stream));
        // The first run loads kernels, which must not happen in a capture.
        once()?;
        stream.synchronize()?;
        let (start, end) = (Event::new(true)?, Event::new(true)?);
        start.record(stream)?;
        once()?;
        end.record(stream)?;
        end.synchronize()?;
        // Generous, for this includes what the host needs for the calls.
        let about_ns = end.since_ns(&start)?;
        if limit_ns.is_some_and(|limit| about_ns > 3 * limit + 60_000) {
            return Ok(None);
        }
        let repeats = (REPEATED_NS / about_ns.max(1)).clamp(1, REPEATS_MAX);
        let graph = capture(stream, || (0..repeats).try_for_each(|_| once()))?;
        graph.launch(stream)?;
        let mut rounds = [0; ROUNDS];
        for round in &mut rounds {
            start.record(stream)?;
            graph.launch(stream)?;
            end.record(stream)?;
            end.synchronize()?;
            *round = end.since_ns(&start)? / repeats;
        }
        rounds.sort_unstable();
        Ok(Some(rounds[ROUNDS / 2]))
    }
}

/// The address of a block of at least so many bytes.
fn grown(block: &mut Option<DeviceBlock>, bytes: usize) -> Result<Address, CudaError> {
    if block.as_ref().is_none_or(|block| block.bytes < bytes) {
        *block = None;
        *block = Some(DeviceBlock::new(bytes.next_multiple_of(2 << 20).max(2 << 20))?);
    }
    Ok(block.as_ref().expect("it was just made").address)
}

fn fill(at: Address, bytes: usize, dtype: DType, stream: &Stream) -> Result<(), CudaError> {
    let pattern = pattern(dtype, bytes.min(PATTERN_BYTES));
    // SAFETY: the block has `bytes` at `at`; the pattern lives until the copy has finished.
    unsafe { stream.copy_in(at, pattern.as_ptr(), pattern.len()) }?;
    stream.synchronize()?;
    let mut filled = pattern.len();
    while filled < bytes {
        let more = filled.min(bytes - filled);
        // SAFETY: both ranges lie within the block, one behind the other.
        unsafe { stream.copy(at + filled as u64, at, more) }?;
        filled += more;
    }
    Ok(())
}

/// Values without a short period.
fn pattern(dtype: DType, bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut pattern = Vec::with_capacity(bytes + 8);
    while pattern.len() < bytes {
        let value = random();
        match dtype {
            DType::F32 => pattern.extend(value.to_le_bytes()),
            DType::F16 => pattern.extend(f16::from_f32(value).to_le_bytes()),
            DType::BF16 => pattern.extend(bf16::from_f32(value).to_le_bytes()),
            DType::F64 => pattern.extend(f64::from(value).to_le_bytes()),
            DType::Bool => pattern.push(u8::from(value > 0.0)),
            _ => pattern.push((value * 4.0) as i8 as u8),
        }
    }
    pattern.truncate(bytes);
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_vary_and_stay_in_range() {
        let bytes = pattern(DType::F32, 4000);
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(values.len(), 1000);
        assert!(values.iter().all(|value| value.abs() <= 1.0));
        assert!(
            values.iter().any(|&value| value < -0.5) && values.iter().any(|&value| value > 0.5)
        );
        assert_eq!(pattern(DType::F16, 7).len(), 7);
    }
}
