//! Pages lent to other processes.
//!
//! A lessee may die, hang or answer late. Each change of its lease therefore starts a new epoch, and a message that
//! names an older one is refused: pages that were taken back are never returned twice.

use std::collections::BTreeSet;
use std::fmt;
use sublet_units::PageId;
use thiserror::Error;

/// A process that borrows pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Owner(pub u32);

/// Counts the changes of one owner's lease; never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

/// What one owner has borrowed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    pub epoch: Epoch,
    pub pages: BTreeSet<PageId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum LeaseError {
    #[error("{owner} has never borrowed anything")]
    NoLease { owner: Owner },
    #[error("{owner} names epoch {given:?} of its lease, which is at {current:?}")]
    Stale { owner: Owner, given: Epoch, current: Epoch },
    #[error("{owner} returns {page}, which it has not borrowed")]
    NotLent { owner: Owner, page: PageId },
}

impl Lease {
    /// Starts the next epoch.
    pub(crate) fn advance(&mut self) -> Epoch {
        self.epoch.0 += 1;
        self.epoch
    }

    /// Whether `owner` may return `pages` under `epoch`.
    pub(crate) fn check(
        &self,
        owner: Owner,
        epoch: Epoch,
        pages: &[PageId],
    ) -> Result<(), LeaseError> {
        if epoch != self.epoch {
            return Err(LeaseError::Stale { owner, given: epoch, current: self.epoch });
        }
        let mut seen = BTreeSet::new();
        for &page in pages {
            if !self.pages.contains(&page) || !seen.insert(page) {
                return Err(LeaseError::NotLent { owner, page });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lessee {}", self.0)
    }
}
