//! What is asked of the scheduler in one simulation, all drawn from a seed.

use crate::batching;
use fastrand::Rng;
use sublet_sched::{DeviceSpec, ModelSpec, Request};
use sublet_units::{BatchKey, Bytes, ModelId, RequestId, Time};

pub const PAGE: Bytes = Bytes(1000);

pub struct Workload {
    pub rng: Rng,
    pub devices: u32,
    pub models: u32,
    /// Events of the phase with faults.
    pub faulty: u32,
    /// Requests of the calm phase.
    pub calm: u32,
    /// Mean times between events of the faulty phase, and between requests of the calm one.
    pub faulty_gap: Time,
    pub calm_gap: Time,
    /// Percentages in the faulty phase.
    pub load_fails: u32,
    pub run_fails: u32,
    pub slow_copies: u32,
    shape: Shape,
    requests: u64,
}

enum Shape {
    Random,
    Saturating,
}

impl Workload {
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Workload {
            devices: rng.u32(1..4),
            models: rng.u32(1..16),
            faulty: rng.u32(50..400),
            calm: rng.u32(20..150),
            faulty_gap: Time::from_micros(1 << rng.u32(7..15)),
            calm_gap: Time::from_millis(rng.u64(5..60)),
            load_fails: rng.u32(0..15),
            run_fails: rng.u32(0..10),
            slow_copies: rng.u32(0..20),
            shape: Shape::Random,
            requests: 0,
            rng,
        }
    }

    /// One device; a second model always has waiting requests, the first has one, and may need the second's memory.
    pub fn saturating(seed: u64) -> Self {
        Workload {
            rng: Rng::with_seed(seed),
            devices: 1,
            models: 2,
            faulty: 0,
            calm: 60_000,
            faulty_gap: Time::ZERO,
            calm_gap: Time::from_micros(100),
            load_fails: 0,
            run_fails: 0,
            slow_copies: 0,
            shape: Shape::Saturating,
            requests: 0,
        }
    }

    pub fn device(&mut self) -> DeviceSpec {
        let rng = &mut self.rng;
        match self.shape {
            // A kilobyte, that is a page, takes a millisecond.
            Shape::Random => DeviceSpec {
                page_bytes: PAGE,
                pages: rng.u32(6..48),
                lanes: rng.u32(1..4),
                link_rate: rng.u64(200_000..4_000_000),
                ..DeviceSpec::default()
            },
            Shape::Saturating => DeviceSpec {
                page_bytes: PAGE,
                pages: 4,
                lanes: rng.u32(1..4),
                link_rate: 1_000_000,
                ..DeviceSpec::default()
            },
        }
    }

    pub fn model(&mut self) -> ModelSpec {
        let rng = &mut self.rng;
        let segments = match self.shape {
            Shape::Saturating => vec![PAGE; rng.usize(1..5)],
            Shape::Random if rng.u32(0..12) == 0 => vec![],
            Shape::Random => (0..rng.u32(1..6)).map(|_| Bytes(rng.u64(1..3500))).collect(),
        };
        let random = matches!(self.shape, Shape::Random);
        ModelSpec {
            segments,
            batching: if random && rng.bool() {
                batching(rng.u32(1..9), Time::from_micros(rng.u64(0..5_000)))
            } else {
                None
            },
            instances: (random && rng.u32(0..4) == 0).then(|| rng.u32(1..3)),
            pinned: random && rng.u32(0..20) == 0,
            ..ModelSpec::default()
        }
    }

    pub fn request(&mut self, now: Time, model: ModelId, spec: &ModelSpec) -> Request {
        let rng = &mut self.rng;
        self.requests += 1;
        let soon = |rng: &mut Rng, millis: u64| now + Time::from_micros(rng.u64(1..millis * 1000));
        Request {
            id: RequestId(self.requests),
            model,
            key: BatchKey(rng.u64(0..3)),
            rows: spec.batching.map_or(1, |batching| rng.u32(1..batching.rows_max + 2).min(8)),
            deadline: rng.bool().then(|| soon(rng, 300)),
            expires: (rng.u32(0..5) == 0 && matches!(self.shape, Shape::Random))
                .then(|| soon(rng, 100)),
            priority: rng.u32(0..4),
        }
    }

    /// Popular models are asked for more often.
    pub fn pick(&mut self, models: &[ModelId]) -> Option<ModelId> {
        let count = models.len();
        if matches!(self.shape, Shape::Saturating) {
            return Some(models[usize::from(self.requests != 20)]);
        }
        (count > 0).then(|| models[self.rng.usize(0..count).min(self.rng.usize(0..count))])
    }

    /// Whether one more request may come although so many wait for its model.
    pub fn takes(&self, waiting: usize) -> bool {
        matches!(self.shape, Shape::Random) || waiting < 5
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    /// A time around `mean`.
    pub fn around(&mut self, mean: Time) -> Time {
        Time(self.rng.u64(1..mean.0.max(1) * 2))
    }
}
