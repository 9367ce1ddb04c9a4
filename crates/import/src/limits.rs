//! How much of everything a model file may hold.

/// Bounds on one model. The defaults are far above real models and keep a hostile file from taking the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Estimated memory of the decoded description: names, attributes, tensors stored as numbers. Raw tensor data
    /// is not copied and does not count.
    pub decoded_bytes: u64,
    /// Nodes, counting those of a function with each call, and those of a nested graph once per level.
    pub nodes: usize,
    /// Nested graphs and function calls within one another.
    pub nesting: usize,
    /// Dimensions of a tensor.
    pub rank: usize,
    /// Bytes of all weights together, external data included.
    pub weights_bytes: u64,
    /// Length of the JSON header of a safetensors file, in bytes.
    pub header_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            decoded_bytes: 1 << 30,
            nodes: 1_000_000,
            nesting: 16,
            rank: 64,
            weights_bytes: 1 << 40,
            header_bytes: 32 << 20,
        }
    }
}
