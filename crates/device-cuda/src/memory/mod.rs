//! The device's memory: pages that models are given, regions of fixed addresses, arenas, and pinned host memory.

mod arena;
mod pages;
mod pinned;
mod region;
mod staging;
mod windows;

pub use arena::LaneArena;
pub use pages::Pages;
pub use pinned::Pinner;
pub use region::{Arrival, Region, as_indices};
pub use staging::{Staged, Staging};
pub use windows::Windows;
