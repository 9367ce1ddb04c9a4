//! Seeded smoke run of the fuzz targets.
fn main() {}
