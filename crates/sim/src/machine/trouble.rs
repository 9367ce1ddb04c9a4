//! What may go wrong on a machine.

use fastrand::Rng;

/// Percentages of things that go wrong; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Of loads, that fail at some segment.
    pub load_fails: u32,
    /// Of failed loads, after which the model can never be loaded there.
    pub fatal: u32,
    /// Of runs, that fail at their end.
    pub run_fails: u32,
    /// Of segments, whose copy takes ten times as long.
    pub slow_copies: u32,
}

pub(super) fn chance(rng: &mut Rng, percent: u32) -> bool {
    percent > 0 && rng.u32(0..100) < percent
}
