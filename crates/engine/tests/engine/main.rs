//! The engine as its users see it, on the CPU device: serving under memory pressure, the rules for requests, and the
//! life of models. Nothing here sleeps: tests wait for conditions.

mod bert;
mod device;
mod faults;
mod lifecycle;
mod onnx;
mod repository;
mod requests;
mod scene;
mod serving;
