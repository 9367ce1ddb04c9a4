//! The CPU device: the oracle for every later kernel, and a usable default.
//!
//! From below: `kernels` computes one operator on views; `dispatch` is the one exhaustive match over `Op`; `execute`
//! runs a plan's steps in an arena; `memory`, `region` and `copier` are the device memory and the link to it; `lane`
//! runs launches, each lane a thread of its own; [`CpuDevice`] puts them together.
//!
//! [`Evaluator`] and [`run_plan`] use the same kernels without a device.

mod copier;
mod device;
mod dispatch;
mod evaluate;
mod execute;
mod kernels;
mod lane;
mod memory;
mod options;
mod parts;
mod region;
mod solo;
mod tensor;

#[cfg(test)]
mod tests;

pub use device::CpuDevice;
pub use evaluate::Evaluator;
pub use options::{CpuDeviceSpec, CpuOptions};
pub use solo::run_plan;
pub use tensor::{KernelError, Tensor, View, ViewMut};
