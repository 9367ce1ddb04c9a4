//! The memory of one lane's activations: addresses reserved once, pages put behind them as plans need them.

use crate::driver::{Address, CudaError, Mapping, PhysicalPage, Reservation};
use std::sync::Arc;
use sublet_units::Bytes;

/// The arena grows in steps of this size.
const STEP_BYTES: usize = 32 << 20;

pub struct LaneArena {
    reservation: Arc<Reservation>,
    mappings: Vec<Mapping>,
    ordinal: i32,
}

impl LaneArena {
    /// Reserves addresses for at most `bytes_max`.
    pub fn new(ordinal: i32, bytes_max: Bytes) -> Result<LaneArena, CudaError> {
        let bytes = bytes_max.as_usize().next_multiple_of(STEP_BYTES);
        let reservation = Arc::new(Reservation::new(bytes)?);
        Ok(LaneArena { reservation, mappings: Vec::new(), ordinal })
    }

    /// Where the arena starts; it never moves.
    pub fn address(&self) -> Address {
        self.reservation.address
    }

    /// Bytes that have memory behind them.
    pub fn bytes(&self) -> usize {
        self.mappings.len() * STEP_BYTES
    }

    /// Puts memory behind the first `bytes`.
    ///
    /// # Errors
    /// Out of memory, beyond the arena's limit or the device's. What was there stays.
    pub fn grow(&mut self, bytes: usize) -> Result<(), CudaError> {
        if bytes > self.reservation.bytes {
            let text = format!("{bytes} bytes, at most {} may be used", self.reservation.bytes);
            let kind = crate::driver::CudaErrorKind::OutOfMemory;
            return Err(CudaError::new(kind, "growing the arena of a lane", text));
        }
        while self.bytes() < bytes {
            let page = Arc::new(PhysicalPage::new(self.ordinal, STEP_BYTES)?);
            self.mappings.push(Mapping::new(&self.reservation, self.bytes(), &page, self.ordinal)?);
        }
        Ok(())
    }
}
