//! What a swap-in costs, from the layout alone.

use crate::Layout;
use sublet_units::{Bytes, Time};

/// When each segment would arrive if the whole image were copied from host memory over an idle link.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadEstimate {
    pub segments: Vec<SegmentArrival>,
    /// Until the last segment has arrived.
    pub total: Time,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentArrival {
    pub bytes: Bytes,
    /// From the start of the copy.
    pub arrives: Time,
}

impl LoadEstimate {
    /// `link_rate` in bytes per second; 0 counts as 1.
    pub fn new(layout: &Layout, link_rate: u64) -> LoadEstimate {
        let mut copied = Bytes::ZERO;
        let segments: Vec<_> = layout
            .segments
            .iter()
            .map(|segment| {
                let bytes = Bytes::from(segment.len);
                copied += bytes;
                SegmentArrival { bytes, arrives: copy_time(copied, link_rate) }
            })
            .collect();
        let total = segments.last().map_or(Time::ZERO, |last| last.arrives);
        LoadEstimate { segments, total }
    }
}

/// How long `bytes` take at `rate` bytes per second, rounded up.
pub fn copy_time(bytes: Bytes, rate: u64) -> Time {
    let ns = (u128::from(bytes.0) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
    Time(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Segment;

    #[test]
    fn segments_arrive_one_after_the_other() {
        let segments = vec![
            Segment { offset: 0, len: 1000 },
            Segment { offset: 1024, len: 3000 },
            Segment { offset: 4096, len: 0 },
        ];
        let layout = Layout { weights: Vec::new(), segments, bytes: Bytes(4096) };
        let estimate = LoadEstimate::new(&layout, 2_000_000);
        let arrivals: Vec<_> = estimate.segments.iter().map(|segment| segment.arrives).collect();
        assert_eq!(arrivals, [Time::from_micros(500), Time::from_millis(2), Time::from_millis(2)]);
        assert_eq!(estimate.total, Time::from_millis(2));
        assert_eq!(copy_time(Bytes(u64::MAX), 0), Time::MAX);
    }
}
