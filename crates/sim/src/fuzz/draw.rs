//! What a fuzzed world is made of and what is asked of it, all drawn from a seed.

use crate::cost::{DeviceCost, ModelCost, ONE, RunCurve, SharedLink};
use crate::machine::Trouble;
use fastrand::Rng;
use sublet_sched::{Batching, DeviceSpec, ModelSpec, Peer, ProfilePoint, Request};
use sublet_units::{BatchKey, Bytes, DeviceId, ModelId, RequestId, Time};

const PAGE: Bytes = Bytes(1000);

#[derive(Debug)]
pub struct Draw {
    pub(super) rng: Rng,
    pub(super) devices: u32,
    pub(super) models: u32,
    /// Events of the phase with faults.
    pub(super) faulty: u32,
    /// Requests of the calm phase.
    pub(super) calm: u32,
    /// Mean times between events of the faulty phase, and between requests of the calm one.
    pub(super) faulty_gap: Time,
    pub(super) calm_gap: Time,
    pub(super) trouble: Trouble,
    shape: Shape,
    seed: u64,
    requests: u64,
    models_made: u32,
    has_switch: bool,
    has_peers: bool,
    has_partitions: bool,
}

#[derive(Debug)]
enum Shape {
    Random,
    /// As random, but models are asked in turn and after equal times.
    Regular,
    Saturating,
}

impl Draw {
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Draw {
            devices: rng.u32(1..4),
            models: rng.u32(1..16),
            faulty: rng.u32(50..400),
            calm: rng.u32(20..150),
            faulty_gap: Time::from_micros(1 << rng.u32(7..15)),
            calm_gap: Time::from_millis(rng.u64(5..60)),
            trouble: Trouble {
                load_fails: rng.u32(0..15),
                fatal: 10,
                run_fails: rng.u32(0..10),
                slow_copies: rng.u32(0..20),
            },
            // Not drawn, so that the other seeds mean what they always meant.
            shape: if seed % 9 == 6 { Shape::Regular } else { Shape::Random },
            seed,
            requests: 0,
            models_made: 0,
            has_switch: rng.bool(),
            has_peers: rng.bool(),
            has_partitions: rng.bool(),
            rng,
        }
    }

    /// One device; a second model always has waiting requests, the first has one, and may need the second's memory.
    pub fn saturating(seed: u64) -> Self {
        Draw {
            rng: Rng::with_seed(seed),
            devices: 1,
            models: 2,
            faulty: 0,
            calm: 60_000,
            faulty_gap: Time::ZERO,
            calm_gap: Time::from_micros(100),
            trouble: Trouble::default(),
            shape: Shape::Saturating,
            seed,
            requests: 0,
            models_made: 0,
            has_switch: false,
            has_peers: false,
            has_partitions: false,
        }
    }

    pub(super) fn machine_seed(&self) -> u64 {
        self.seed ^ 0x5eed
    }

    /// A device that may have `others` as its peers.
    pub(super) fn device(&mut self, others: &[DeviceId]) -> (DeviceSpec, DeviceCost) {
        let rng = &mut self.rng;
        let is_random = matches!(self.shape, Shape::Random);
        let (pages, rate) = match is_random {
            // A kilobyte, that is a page, takes a millisecond or less.
            true => (rng.u32(6..48), rng.u64(200_000..4_000_000)),
            false => (4, 1_000_000),
        };
        let lanes = rng.u32(1..4);
        let switch = (self.has_switch && rng.bool()).then(|| rng.u32(0..2));
        let peer_rate = if self.has_peers { rng.u64(1_000_000..20_000_000) } else { 0 };
        let known = others.iter().filter(|_| self.has_peers);
        let spec = DeviceSpec {
            page_bytes: PAGE,
            pages,
            lanes,
            // A guess, which may be far off.
            link_rate: if is_random { rate * rng.u64(1..30) / 10 + 1 } else { rate },
            switch,
            peers: known.map(|&device| Peer { device, rate: peer_rate }).collect(),
            partitions: self.has_partitions,
        };
        let cost = DeviceCost {
            lanes,
            host_rate: rate,
            copy_overhead: Time::from_micros(if is_random { rng.u64(0..200) } else { 0 }),
            load_setup: Time::from_micros(if is_random { rng.u64(0..300) } else { 0 }),
            switch: switch.map(|id| SharedLink { id, rate: rate * 3 / 2 }),
            peer_rate,
            server: 0,
            launch: Time::from_micros(if is_random { rng.u64(0..100) } else { 0 }),
            interference: if is_random { rng.u32(0..=ONE as u32) } else { 0 },
            partition_interference: rng.u32(0..=ONE as u32 / 4),
            jitter: ONE as u32 / 2,
            spread: Vec::new(),
            overlaps: !is_random || rng.u32(0..4) > 0,
        };
        (spec, cost)
    }

    pub(super) fn model(&mut self) -> (ModelSpec, ModelCost) {
        let rng = &mut self.rng;
        let is_random = matches!(self.shape, Shape::Random);
        let segments: Vec<Bytes> = match is_random {
            false => vec![PAGE; rng.usize(1..5)],
            true if rng.u32(0..12) == 0 => vec![],
            true => (0..rng.u32(1..6)).map(|_| Bytes(rng.u64(1..3500))).collect(),
        };
        let batching = (is_random && rng.bool()).then(|| Batching {
            rows_max: rng.u32(1..9),
            delay_max: Time::from_micros(rng.u64(0..5_000)),
        });
        let base = Time::from_micros(300 + u64::from(self.models_made % 7) * 400);
        self.models_made += 1;
        let runs = RunCurve::new(&[
            (1, base + Time::from_micros(100)),
            (8, base + Time::from_micros(800)),
        ]);
        let has_profile = is_random && rng.bool();
        let profile = [(1, 100), (8, 100), (1, 50), (8, 50), (1, 20), (8, 20)];
        let spec = ModelSpec {
            segments: segments.clone(),
            batching,
            instances: (is_random && rng.u32(0..4) == 0).then(|| rng.u32(1..3)),
            pinned: is_random && rng.u32(0..20) == 0,
            queue_max: (is_random && rng.u32(0..10) == 0).then(|| rng.u32(1..20)),
            slo: (is_random && rng.bool()).then(|| Time::from_millis(rng.u64(1..500))),
            profile: profile
                .into_iter()
                .filter(|_| has_profile)
                .map(|(rows, share)| ProfilePoint {
                    rows,
                    share,
                    time: Time(runs.time(rows).0 * 100 / u64::from(share)),
                })
                .collect(),
            tenant: rng.u32(0..3),
            weight: rng.u32(0..4),
        };
        (spec, ModelCost::even(segments, runs))
    }

    pub(super) fn request(&mut self, now: Time, model: ModelId, spec: &ModelSpec) -> Request {
        let rng = &mut self.rng;
        self.requests += 1;
        let soon = |rng: &mut Rng, millis: u64| now + Time::from_micros(rng.u64(1..millis * 1000));
        let expires = rng.u32(0..5) == 0 && matches!(self.shape, Shape::Random);
        Request {
            id: RequestId(self.requests),
            model,
            key: BatchKey(rng.u64(0..3)),
            rows: spec.batching.map_or(1, |batching| rng.u32(1..batching.rows_max + 2).min(8)),
            deadline: rng.bool().then(|| soon(rng, 300)),
            expires: expires.then(|| soon(rng, 100)),
            priority: rng.u32(0..4),
        }
    }

    /// Popular models are asked for more often.
    pub(super) fn pick(&mut self, models: &[ModelId]) -> Option<ModelId> {
        let count = models.len();
        if matches!(self.shape, Shape::Saturating) {
            return Some(models[usize::from(self.requests != 20)]);
        }
        if matches!(self.shape, Shape::Regular) {
            return models.get((self.requests % count.max(1) as u64) as usize).copied();
        }
        (count > 0).then(|| models[self.rng.usize(0..count).min(self.rng.usize(0..count))])
    }

    /// Whether one more request may come although so many wait for its model.
    pub(super) fn takes(&self, waiting: usize) -> bool {
        !matches!(self.shape, Shape::Saturating) || waiting < 5
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    /// A time around `mean`, or just that where requests are regular.
    pub(super) fn around(&mut self, mean: Time) -> Time {
        if matches!(self.shape, Shape::Regular) {
            return mean;
        }
        Time(self.rng.u64(1..mean.0.max(1) * 2))
    }
}
