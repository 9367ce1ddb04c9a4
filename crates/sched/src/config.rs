//! Limits and guesses of a scheduler, and its policy.

use crate::policy::{Policy, Preset};
use sublet_units::Time;

pub struct Config {
    pub policy: Policy,
    /// Requests that may wait, over all models.
    pub queue_max: usize,
    /// Requests that may wait for one model.
    pub model_queue_max: usize,
    /// A request that has waited this long goes before all that have not, whatever the policy's order says.
    pub patience: Time,
    /// Loads that a device has in flight and queued at once.
    pub loads_max: usize,
    /// Failed loads after which a model's waiting requests are rejected.
    pub load_tries: u32,
    /// How long a run is taken to last before one was seen; only weighs choices.
    pub run_guess: Time,
    /// A model's use counts half after this long.
    pub use_half_life: Time,
}

impl Config {
    /// The preset's policy with the default limits. `slo` is the deadline, from arrival, of requests that state none.
    pub fn new(preset: Preset, slo: Time) -> Self {
        let (patience, loads_max) = match preset {
            Preset::FifoLru => (Time::ZERO, 1),
            Preset::Sublet => (slo * 4, 2),
        };
        Config {
            policy: Policy::new(preset, slo),
            queue_max: 10_000,
            model_queue_max: 10_000,
            patience,
            loads_max,
            load_tries: 2,
            run_guess: Time::from_millis(1),
            use_half_life: Time::from_secs(30),
        }
    }
}
