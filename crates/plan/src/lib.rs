//! Plans: a graph compiled for concrete input shapes, and the layout of its packed weights.
//!
//! [`Layout`] orders a model's weights by first use and cuts them into segments; it does not depend on shapes.
//! [`Plan`] lists the steps for one set of input shapes, with static arena offsets. Both are pure data, and
//! printable.

mod arena;
mod compile;
mod control_inputs;
mod display;
mod error;
mod estimate;
#[cfg(test)]
mod example;
mod layout;
mod plan;
mod weights;

pub use arena::{ALIGN, Arena};
pub use compile::CompileOptions;
pub use control_inputs::control_inputs;
pub use error::PlanError;
pub use estimate::{LoadEstimate, SegmentArrival, copy_time};
pub use layout::{Layout, LayoutOptions, Segment, WeightPlace};
pub use plan::{Operand, Place, Plan, PlanInput, PlanOutput, Slot, SlotId, Step};
pub use weights::{KNOWN_WEIGHT_BYTES_MAX, WeightSource};
