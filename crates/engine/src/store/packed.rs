//! A packed model: its graph, and one image of all its weights in the order in which they are used.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use sublet_device::Image;
use sublet_graph::{Graph, Literal, Model, Weight};
use sublet_plan::{Layout, LayoutOptions};

/// A model ready to be attached to devices.
pub(crate) struct Packed {
    pub graph: Graph,
    /// The master copy of the weights.
    pub image: Arc<Image>,
    /// Indexed by `WeightId`.
    pub weight_names: Vec<String>,
    pub origin: Origin,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// What the file calls itself.
    pub name: String,
    pub platform: Platform,
    /// Free-form properties of the file.
    pub properties: Vec<(String, String)>,
}

/// Kinds of model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Platform {
    Onnx,
    Bert,
}

impl Platform {
    pub fn name(self) -> &'static str {
        match self {
            Platform::Onnx => "onnx",
            Platform::Bert => "bert",
        }
    }
}

/// Copies the weights into an image.
pub(crate) fn pack(model: Model, platform: Platform, options: LayoutOptions) -> Packed {
    let image = Image::pack(&model, Layout::new(&model, options));
    Packed {
        graph: model.graph,
        image: Arc::new(image),
        weight_names: model.weights.into_iter().map(|weight| weight.name).collect(),
        origin: Origin { name: model.name, platform, properties: model.metadata },
    }
}

impl Packed {
    /// The model again; its weights share the image's memory.
    pub fn model(&self) -> Model {
        let all = Bytes::from_owner(ImageBytes(self.image.clone()));
        let weight = |(index, name): (usize, &String)| {
            let place = self.image.layout.weights[index];
            let weight = &self.image.weights[index];
            let bytes = all.slice(place.offset..place.offset + place.len);
            let value = Literal::new(weight.dtype, weight.shape.clone(), bytes)
                .expect("a packed weight is as long as its shape says");
            Weight { name: name.clone(), value }
        };
        Model {
            name: self.origin.name.clone(),
            graph: self.graph.clone(),
            weights: self.weight_names.iter().enumerate().map(weight).collect(),
            metadata: self.origin.properties.clone(),
        }
    }
}

struct ImageBytes(Arc<Image>);

impl AsRef<[u8]> for ImageBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}
