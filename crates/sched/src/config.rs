//! Limits and guesses of a scheduler, and its policy.

use crate::policy::{Policy, Preset};
use sublet_units::Time;

pub struct Config {
    pub policy: Policy,
    /// The deadline, from arrival, of requests that state none and whose model states none: nobody waits for ever.
    pub slo: Time,
    /// Requests that may wait, over all models.
    pub queue_max: usize,
    /// Requests that may wait for one model.
    pub model_queue_max: usize,
    /// A request that has waited this long goes before all that have not, whatever the policy's order says.
    pub patience: Time,
    /// Loads that a device has in flight and queued at once, from the host and from other devices each.
    pub loads_max: usize,
    /// Failed loads after which a model's waiting requests are rejected.
    pub load_tries: u32,
    /// How long a run is taken to last before one was seen; only weighs choices.
    pub run_guess: Time,
    /// What a tenant has had of compute counts half after this long.
    pub use_half_life: Time,
    /// Lanes of a device that are used at most, while it is not divided.
    pub lanes_max: u32,
    /// Runs of one model at once, over all devices, beside the model's own limit.
    pub runs_max: u32,
    /// Whether models are copied from other devices.
    pub copies_peers: bool,
    /// Rejects requests at once that cannot be answered by the deadline that they state.
    pub admit: bool,
    /// Tenants that have used more than their share of compute lately go after the others.
    pub fair: bool,
}

impl Config {
    /// The preset's policy with the default limits. `slo` is the deadline, from arrival, of requests that state none.
    pub fn new(preset: Preset, slo: Time) -> Self {
        let config = Config {
            policy: Policy::new(preset),
            slo,
            queue_max: 10_000,
            model_queue_max: 10_000,
            patience: Time::ZERO,
            loads_max: 1,
            load_tries: 2,
            run_guess: Time::from_millis(1),
            use_half_life: Time::from_secs(30),
            lanes_max: u32::MAX,
            runs_max: u32::MAX,
            copies_peers: false,
            admit: false,
            fair: false,
        };
        match preset {
            Preset::FifoLru => config,
            // Torpor has no bound on starvation; this one is far beyond its deadlines.
            Preset::Torpor => Config {
                patience: slo * 20,
                lanes_max: 1,
                runs_max: 1,
                copies_peers: true,
                ..config
            },
            Preset::DeepPlanServer | Preset::Gpulet => Config { lanes_max: 1, ..config },
            Preset::Sublet => {
                Config { patience: slo * 4, loads_max: 2, copies_peers: true, ..config }
            }
        }
    }
}
