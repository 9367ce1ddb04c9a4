//! The simulator: the scheduler, unchanged, on a virtual clock with a cost model in the devices' place.
//!
//! A [`World`] passes events and commands between a [`Machine`] and the scheduler. [`fuzz`] makes random worlds with
//! faults and checks every command; scenarios make worlds from files and measure what becomes of each request.

mod agenda;
mod checker;
mod cost;
mod fabric;
pub mod fuzz;
mod log;
mod machine;
mod observe;
mod run;
pub mod scenario;
mod world;

pub use checker::Checker;
pub use cost::{
    CostError, CostFile, DeviceCost, LinkCosts, ModelCost, ModelKind, RunCosts, RunCurve,
    ShareRuns, SharedLink,
};
pub use log::Log;
pub use machine::{Ended, Happening, Loss, Machine, Trouble};
pub use observe::{Checked, Observe};
pub use run::{COMPLIANT, Simulated, simulate, trace};
pub use world::{Violation, World};
