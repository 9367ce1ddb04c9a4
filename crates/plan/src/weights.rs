//! What compiling needs to know of weights, wherever they are kept.

use sublet_graph::{DType, Literal, Model, WeightId};

/// Weights whose values inference and folding may read are at most this many bytes: shapes, axes, scales and biases,
/// but no matrices.
pub const KNOWN_WEIGHT_BYTES_MAX: usize = 64 << 10;

/// The weights of one model: in an imported [`Model`] or in a packed image.
pub trait WeightSource {
    /// Panics when there is no such weight.
    fn weight_type(&self, id: WeightId) -> (DType, &[usize]);

    /// The value. Called only for weights of at most [`KNOWN_WEIGHT_BYTES_MAX`] bytes, so it may copy.
    fn weight_value(&self, id: WeightId) -> Literal;
}

impl WeightSource for Model {
    fn weight_type(&self, id: WeightId) -> (DType, &[usize]) {
        let value = &self.weight(id).value;
        (value.dtype(), value.shape())
    }

    fn weight_value(&self, id: WeightId) -> Literal {
        self.weight(id).value.clone()
    }
}
