//! A model's packed weights in host memory.

use crate::AlignedBuffer;
use sublet_graph::{DType, Literal, Model, Weight, WeightId};
use sublet_plan::{Layout, WeightSource};

/// A model's weights in host memory: the master copy that segments are loaded from.
pub struct Image {
    pub layout: Layout,
    /// As long as `layout.bytes`.
    pub bytes: AlignedBuffer,
    /// Type and shape of each weight, indexed by `WeightId`; the values lie in `bytes`.
    pub weights: Vec<WeightType>,
}

/// Type and shape of a packed weight.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightType {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

impl From<&Weight> for WeightType {
    fn from(weight: &Weight) -> Self {
        WeightType { dtype: weight.value.dtype(), shape: weight.value.shape().to_vec() }
    }
}

impl Image {
    /// Packs the weights of a model that `layout` was made for.
    pub fn pack(model: &Model, layout: Layout) -> Image {
        let mut bytes = AlignedBuffer::zeroed(layout.bytes.as_usize());
        for (weight, place) in model.weights.iter().zip(&layout.weights) {
            bytes[place.offset..place.offset + place.len].copy_from_slice(weight.bytes());
        }
        Image { layout, bytes, weights: model.weights.iter().map(WeightType::from).collect() }
    }

    pub fn weight(&self, id: WeightId) -> &WeightType {
        &self.weights[id.0 as usize]
    }

    /// The elements of a weight.
    pub fn weight_bytes(&self, id: WeightId) -> &[u8] {
        let place = self.layout.weight(id);
        &self.bytes[place.offset..place.offset + place.len]
    }
}

impl WeightSource for Image {
    fn weight_type(&self, id: WeightId) -> (DType, &[usize]) {
        let weight = self.weight(id);
        (weight.dtype, &weight.shape)
    }

    fn weight_value(&self, id: WeightId) -> Literal {
        let weight = self.weight(id);
        let bytes = bytes::Bytes::copy_from_slice(self.weight_bytes(id));
        Literal::new(weight.dtype, weight.shape.clone(), bytes)
            .expect("a packed weight is as long as its shape says")
    }
}
