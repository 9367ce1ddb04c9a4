//! What things cost on a simulated machine: copies, runs, and what slows them down.

mod file;
mod runs;

pub(crate) use file::size;
pub use file::{CostError, CostFile, LinkCosts, ModelKind, RunCosts, ShareRuns};
pub use runs::RunCurve;

use sublet_units::{Bytes, Time};

/// Full speed, or a whole run.
pub(crate) const ONE: u64 = 1 << 16;

/// What one model costs wherever it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCost {
    /// Bytes of each segment, in execution order.
    pub segments: Vec<Bytes>,
    /// Share of a run that can be done once so many segments have arrived, in 1/65536: one number more than segments,
    /// never falling, the last one 65536.
    pub progress: Vec<u32>,
    /// On a whole device.
    pub runs: RunCurve,
    /// On partitions of so many percent, ascending; may be empty.
    pub shares: Vec<(u32, RunCurve)>,
    /// Bytes per second of its copies from the host, where that was measured of this model.
    pub copy_rate: Option<u64>,
}

impl ModelCost {
    /// A model whose computation is spread over its weights evenly, byte for byte.
    pub fn even(segments: Vec<Bytes>, runs: RunCurve) -> Self {
        let total: u64 = segments.iter().map(|bytes| bytes.0).sum();
        let mut copied = 0;
        let mut progress = vec![0];
        for bytes in &segments {
            copied += bytes.0;
            progress.push((u128::from(copied) * u128::from(ONE) / u128::from(total.max(1))) as u32);
        }
        *progress.last_mut().expect("a first entry") = ONE as u32;
        ModelCost { segments, progress, runs, shares: Vec::new(), copy_rate: None }
    }

    /// How long a run takes on a partition. Between measured sizes the smaller one counts; a partition smaller than all
    /// of them, or a model without measurements, gets its share of the whole device.
    pub fn time_on(&self, rows: u32, share: u32) -> Time {
        let measured = self.shares.iter().rev().find(|&&(size, _)| size <= share);
        match measured {
            Some((_, runs)) => runs.time(rows),
            None => {
                Time(self.runs.time(rows).0.saturating_mul(100) / u64::from(share.clamp(1, 100)))
            }
        }
    }
}

/// What one device does with commands.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceCost {
    pub lanes: u32,
    /// Bytes per second over the device's own link to the host.
    pub host_rate: u64,
    /// Added to every segment's copy; others may use a shared link meanwhile.
    pub copy_overhead: Time,
    /// Added to the copy of each load's first segment.
    pub load_setup: Time,
    /// The link that this device shares with others on its way to the host.
    pub switch: Option<SharedLink>,
    /// Bytes per second to and from other devices of the same server; 0: no such links.
    pub peer_rate: u64,
    /// Devices of one server share switches and can copy from each other.
    pub server: u32,
    /// Added to every run, on its lane.
    pub launch: Time,
    /// By how much each further lane that computes slows a run down, in 1/65536: 0 for no interference, 65536 where
    /// lanes merely share the device's time.
    pub interference: u32,
    /// The same for further partitions that compute, on a partitioned device.
    pub partition_interference: u32,
    /// How much a run's time varies, in 1/65536 either way.
    pub jitter: u32,
    /// Instead of that: the factors of successive runs, in 1/65536, over and over.
    pub spread: Vec<u32>,
    /// Whether a run computes on what has arrived while the rest of its weights is copied.
    pub overlaps: bool,
}

/// A link on the way to the host that several devices share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLink {
    /// Which one, within all of the machine.
    pub id: u32,
    /// Bytes per second, for all together.
    pub rate: u64,
}
