//! Counters, as the statistics endpoint and the metrics show them.

use sublet_device::DeviceUsage;
use sublet_units::{Bytes, DeviceId};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelStatistics {
    pub name: String,
    pub version: u64,
    /// Milliseconds since the epoch.
    pub last_inference_ms: u64,
    /// Requests, with the rows of a batched request counted each.
    pub inference_count: u64,
    /// Runs on a device.
    pub execution_count: u64,
    pub success: DurationStat,
    pub fail: DurationStat,
    pub queue: DurationStat,
    pub compute_input: DurationStat,
    pub compute_infer: DurationStat,
    pub compute_output: DurationStat,
    /// By batch size: rows → (runs, compute input, compute infer, compute output).
    pub batches: Vec<BatchStatistics>,
    pub cold_starts: u64,
    pub warm_starts: u64,
    pub cancelled: u64,
    pub rejected: u64,
    /// Requests with a deadline, and how many met it.
    pub with_deadline: u64,
    pub met_deadline: u64,
    pub pending: u64,
    /// Nanoseconds from the load request to ready.
    pub load_ns: u64,
    pub weight_bytes: Bytes,
    /// Resident bytes by device.
    pub resident: Vec<(DeviceId, Bytes)>,
    pub swap_ins: u64,
    pub swapped_bytes: Bytes,
    pub swap_ns: u64,
    pub evictions_room: u64,
    pub evictions_other: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchStatistics {
    pub batch_size: u64,
    pub compute_input: DurationStat,
    pub compute_infer: DurationStat,
    pub compute_output: DurationStat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DurationStat {
    pub count: u64,
    pub ns: u64,
}

#[derive(Clone, Debug)]
pub struct DeviceStatus {
    pub device: DeviceId,
    pub name: String,
    pub alive: bool,
    pub memory_bytes: Bytes,
    pub page_bytes: Bytes,
    pub pages_free: u32,
    pub usage: DeviceUsage,
}
