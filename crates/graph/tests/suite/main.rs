//! What inference and rewrites make of small models, computed with the CPU device's kernels.

mod attention;
mod infer;
mod model;
mod rewrite;
