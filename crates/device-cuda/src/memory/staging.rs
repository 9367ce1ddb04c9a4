//! Pinned host memory that inputs pass through, and that outputs are answered from.

use crate::driver::{Context, CudaError, HostBlock};
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Blocks of pinned memory that are used again. Sizes are rounded up to powers of two.
#[derive(Clone)]
pub struct Staging {
    context: Arc<Context>,
    spare: Arc<Mutex<Vec<HostBlock>>>,
}

/// Spare blocks that are kept, at most.
const SPARE_MAX: usize = 32;

/// Smallest block.
const BLOCK_BYTES_MIN: usize = 4 << 10;

/// A block that goes back to its staging memory when it is dropped.
pub struct Staged {
    block: Option<HostBlock>,
    home: Staging,
}

impl Staging {
    pub fn new(context: Arc<Context>) -> Self {
        Staging { context, spare: Arc::default() }
    }

    /// A block of at least `bytes`, with arbitrary contents.
    pub fn take(&self, bytes: usize) -> Result<Staged, CudaError> {
        let wanted = bytes.max(BLOCK_BYTES_MIN).next_power_of_two();
        let found = {
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            let at = spare.iter().position(|block| block.as_ref().len() == wanted);
            at.map(|at| spare.swap_remove(at))
        };
        let block = match found {
            Some(block) => block,
            None => HostBlock::new(wanted)?,
        };
        Ok(Staged { block: Some(block), home: self.clone() })
    }
}

impl Staged {
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.block.as_mut().expect("held until dropped").as_mut_ptr()
    }

    pub fn as_mut(&mut self) -> &mut [u8] {
        self.block.as_mut().expect("held until dropped").as_mut()
    }

    /// The block as shared bytes; it goes back when the last of them is dropped.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Staged {
    fn as_ref(&self) -> &[u8] {
        self.block.as_ref().expect("held until dropped").as_ref()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let mut spare = self.home.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let block = self.block.take().expect("held until dropped");
        spare.push(block);
        // Whoever drops an answer's last bytes may be any thread.
        if spare.len() > SPARE_MAX && self.home.context.make_current().is_ok() {
            spare.remove(0);
        }
    }
}
