//! Benchmarks and the soak. `cargo xtask bench` and `cargo xtask soak` call this.
fn main() {}
