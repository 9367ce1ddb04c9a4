//! How much of the machine others took while something was measured: figures from a busy machine mean little, and say so.

use std::fs;

/// Processor time up to now, in clock ticks.
pub struct Busy {
    machine: u64,
    idle: u64,
    ours: u64,
}

impl Busy {
    /// Begins to watch.
    pub fn watch() -> Self {
        let (machine, idle) = machine(&fs::read_to_string("/proc/stat").unwrap_or_default());
        let ours = ours(&fs::read_to_string("/proc/self/stat").unwrap_or_default());
        Busy { machine, idle, ours }
    }

    /// The share of the machine, from 0 to 1, that went to other programs since: not to this one, nor to children of it
    /// that have ended.
    pub fn others(&self) -> f64 {
        let now = Busy::watch();
        let total = now.machine.saturating_sub(self.machine);
        let known = now.idle.saturating_sub(self.idle) + now.ours.saturating_sub(self.ours);
        total.saturating_sub(known) as f64 / total.max(1) as f64
    }
}

/// Processor time that this program has used, in seconds to hundredths.
pub fn own_seconds() -> f64 {
    // Linux counts ticks of 10 ms for programs, whatever the kernel's own are.
    ours(&fs::read_to_string("/proc/self/stat").unwrap_or_default()) as f64 / 100.0
}

/// All time and idle time, from the first line of `/proc/stat`: user, nice, system, idle, waiting for disks, …
fn machine(stat: &str) -> (u64, u64) {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let idle = ticks.iter().skip(3).take(2).sum();
    (ticks.iter().sum(), idle)
}

/// Time of a process and of its ended children, from `/proc/self/stat`: fields 14 to 17, the second being the name in
/// parentheses.
fn ours(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "cpu  10 1 5 70 4 0 2 8 3 3\ncpu0 1 1 1 1\n";
        assert_eq!(machine(stat), (100, 74));
        let process = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1 0 5";
        assert_eq!(ours(process), 127);
        assert_eq!((machine(""), ours("")), ((0, 0), 0));
    }
}
