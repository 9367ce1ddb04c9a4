//! The link: one thread that copies segments from host images to device memory, in order, at the link's rate.

use crate::device::Shared;
use std::ops::Range;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, atomic::Ordering};
use sublet_device::{Clock, Completion, DeviceError, Load};
use sublet_plan::copy_time;
use sublet_units::{Bytes, Time};

/// Bytes copied between two looks at the clock, at most.
const CHUNK_BYTES_MAX: u64 = 256 << 10;

/// How far the link may lag behind its rate and catch up: what a thread that slept too long makes good.
const CATCH_UP: Time = Time::from_millis(2);

/// Copies until all senders are gone.
pub fn run(shared: &Shared, loads: &Receiver<Load>) {
    let mut link = Link { rate: shared.options.link, free_at: Time::ZERO };
    loop {
        let load = match loads.try_recv() {
            Ok(load) => load,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                let Ok(load) = loads.recv() else { return };
                link.free_at = shared.clock().now();
                load
            }
        };
        if let Err(error) = copy(shared, &mut link, &load) {
            if let Some(region) = shared.region(load.model) {
                region.fail(within(&load.segments, region.image.layout.segments.len()), &error);
            }
            shared.report(Completion::LoadFailed { load: load.load, error });
        }
    }
}

/// The part of a range of segments that exists.
pub fn within(segments: &Range<u32>, count: usize) -> Range<u32> {
    let count = count as u32;
    segments.start.min(count)..segments.end.clamp(segments.start.min(count), count)
}

fn copy(shared: &Shared, link: &mut Link, load: &Load) -> Result<(), DeviceError> {
    let place = || format!("load {} of {}", load.load, load.model);
    let region = shared.region(load.model).ok_or_else(|| DeviceError::Invalid {
        what: "a model that is not attached".into(),
        place: place(),
    })?;
    let layout = &region.image.layout;
    let Some(segments) =
        layout.segments.get(load.segments.start as usize..load.segments.end as usize)
    else {
        let what = format!("segments {:?} of {}", load.segments, layout.segments.len());
        return Err(DeviceError::Invalid { what, place: place() });
    };
    let end_of = |segment| layout.start_of(segment).div_ceil(shared.options.page_bytes);
    let pages = end_of(load.segments.end) - end_of(load.segments.start);
    if pages > load.pages.len() as u64 {
        let what = format!("{} pages for segments of {pages}", load.pages.len());
        return Err(DeviceError::Invalid { what, place: place() });
    }
    for (index, segment) in load.segments.clone().zip(segments) {
        shared.check_alive()?;
        if let Some(error) = shared.faults.take_load() {
            return Err(error);
        }
        if !region.is_resident(index) {
            let mut buffer = shared.memory.take(segment.len)?;
            link.transfer(
                shared.clock().as_ref(),
                &region.image.bytes[segment.range()],
                &mut buffer[..segment.len],
            );
            shared.counters.copied_bytes.fetch_add(segment.len as u64, Ordering::Relaxed);
            if let Some(unwanted) = region.arrived(index, Arc::new(buffer)) {
                shared.memory.give(unwanted);
                shared.check_alive()?;
                let what = "a segment that was evicted while it was loaded".into();
                return Err(DeviceError::Invalid { what, place: place() });
            }
        }
        shared.report(Completion::Loaded { load: load.load, segment: index });
    }
    Ok(())
}

struct Link {
    /// Bytes per second.
    rate: Option<u64>,
    /// When everything copied so far has passed.
    free_at: Time,
}

impl Link {
    fn transfer(&mut self, clock: &dyn Clock, from: &[u8], to: &mut [u8]) {
        let Some(rate) = self.rate else {
            to.copy_from_slice(from);
            return;
        };
        self.free_at = self.free_at.max(clock.now().saturating_sub(CATCH_UP));
        // About a millisecond's worth, so that slow links are smooth too.
        let chunk = (rate / 1000).clamp(4096, CHUNK_BYTES_MAX) as usize;
        for (from, to) in from.chunks(chunk).zip(to.chunks_mut(chunk)) {
            to.copy_from_slice(from);
            let took = copy_time(Bytes::from(from.len()), rate);
            self.free_at = self.free_at.saturating_add(took);
            clock.wait_until(self.free_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A clock on which copying itself takes no time: waiting moves it.
    #[derive(Default)]
    struct Jumping(Mutex<(Time, u32)>);

    impl Clock for Jumping {
        fn now(&self) -> Time {
            self.0.lock().unwrap().0
        }

        fn wait_until(&self, time: Time) {
            let mut state = self.0.lock().unwrap();
            state.0 = state.0.max(time);
            state.1 += 1;
        }
    }

    #[test]
    fn a_transfer_takes_as_long_as_the_link_says() {
        let clock = Jumping::default();
        let from: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
        let mut to = vec![0; from.len()];
        let mut link = Link { rate: Some(10_000_000), free_at: Time::ZERO };
        link.transfer(&clock, &from, &mut to);
        assert_eq!(clock.now(), Time::from_millis(100));
        assert!(from == to);
        assert!(clock.0.lock().unwrap().1 >= 90, "copied in small chunks");
        link.transfer(&clock, &from, &mut to);
        assert_eq!(clock.now(), Time::from_millis(200), "the second waits for the first");
    }

    #[test]
    fn ranges_are_cut_to_what_exists() {
        assert_eq!(within(&(1..9), 4), 1..4);
        assert_eq!(within(&(7..9), 4), 4..4);
        assert_eq!(within(&(1..3), 4), 1..3);
    }
}
