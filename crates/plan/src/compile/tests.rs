//! Plans of small graphs, and properties of plans of random ones.
