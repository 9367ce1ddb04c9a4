//! The `sublet` command line.
fn main() {}
