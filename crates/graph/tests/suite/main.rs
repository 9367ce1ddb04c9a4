//! What inference and rewrites make of small models, computed with the CPU device's kernels.

mod infer;
mod model;
mod rewrite;
