//! Pages and who has them: plain arithmetic, no pointers.
//!
//! A [`Ledger`] keeps the books of one device's memory. Every page is free, belongs to one segment of one model, or
//! is lent to another process. The ledger hands out page numbers; the device maps them.

mod lease;
mod ledger;
mod residency;

pub use lease::{Epoch, Lease, LeaseError, Owner};
pub use ledger::Ledger;
pub use residency::Residency;
