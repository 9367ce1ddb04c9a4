//! Whole plans and whole devices, on a clock that the tests move.

mod control;
mod rig;
mod run;
mod swap;
