//! Small ONNX models with seeded random weights: for machines without a network, for soaks and for tests.
//!
//! Written straight in protobuf's wire format (field numbers from ONNX's schema), since a model needs only a dozen fields.

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }
}

const FLOAT: i64 = 1;

/// A graph under construction: nodes, weights, and the next random numbers.
struct Builder {
    graph: Message,
    draw: u64,
}

impl Builder {
    fn new(seed: u64) -> Self {
        Builder {
            graph: Message::default().text(2, "generated"),
            draw: seed.wrapping_mul(2).wrapping_add(1),
        }
    }

    /// Uniform in −1…1, the same on every machine (a linear congruential generator, Knuth's constants).
    fn random(&mut self) -> f32 {
        self.draw = self.draw.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.draw >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A random weight whose products keep the size of their inputs.
    fn weight(mut self, name: &str, dims: &[usize], fan_in: usize) -> Self {
        let scale = (3.0 / fan_in as f32).sqrt();
        let count = dims.iter().product();
        let data: Vec<u8> =
            (0..count).flat_map(|_: usize| (self.random() * scale).to_le_bytes()).collect();
        let mut tensor = Message::default();
        for &dim in dims {
            tensor = tensor.int(1, dim as i64);
        }
        self.graph = self.graph.message(5, tensor.int(2, FLOAT).text(8, name).bytes(9, &data));
        self
    }

    fn node(mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<Message>) -> Self {
        let mut node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
        node = node.text(2, output).text(3, &format!("{op}-{output}")).text(4, op);
        node = attributes.into_iter().fold(node, |node, attribute| node.message(5, attribute));
        self.graph = self.graph.message(1, node);
        self
    }

    /// Declares an input (field 11) or an output (field 12); `None` is the dynamic batch dimension.
    fn declare(mut self, field: u64, name: &str, dims: &[Option<usize>]) -> Self {
        let shape = dims.iter().fold(Message::default(), |shape, dim| {
            let dim = match dim {
                Some(size) => Message::default().int(1, *size as i64),
                None => Message::default().text(2, "batch"),
            };
            shape.message(1, dim)
        });
        let tensor = Message::default().int(1, FLOAT).message(2, shape);
        let value =
            Message::default().text(1, name).message(2, Message::default().message(1, tensor));
        self.graph = self.graph.message(field, value);
        self
    }

    fn finish(self) -> Vec<u8> {
        let opset = Message::default().text(1, "").int(2, 17);
        Message::default().int(1, 8).text(2, "sublet").message(7, self.graph).message(8, opset).0
    }
}

fn ints(name: &str, values: &[i64]) -> Message {
    let attribute = Message::default().text(1, name);
    values.iter().fold(attribute, |attribute, &value| attribute.int(8, value)).int(20, 7)
}

/// A perceptron: `layers` of `width × width` with bias and ReLU, the last one without. Input `x` and output `y` are
/// `f32[batch, width]`. Weights take `layers · (width² + width) · 4` bytes.
pub fn perceptron(seed: u64, layers: usize, width: usize) -> Vec<u8> {
    let mut model = Builder::new(seed).declare(11, "x", &[None, Some(width)]).declare(
        12,
        "y",
        &[None, Some(width)],
    );
    let mut value = "x".to_owned();
    for layer in 0..layers {
        let (w, b) = (format!("w{layer}"), format!("b{layer}"));
        let (product, sum) = (format!("product{layer}"), format!("sum{layer}"));
        let last = layer + 1 == layers;
        model = model
            .weight(&w, &[width, width], width)
            .weight(&b, &[width], width)
            .node("MatMul", &[&value, &w], &product, vec![])
            .node("Add", &[&product, &b], if last { "y" } else { &sum }, vec![]);
        if !last {
            value = format!("value{layer}");
            model = model.node("Relu", &[&sum], &value, vec![]);
        }
    }
    model.finish()
}

/// The smallest model: `max(x, 0)` of `f32[batch, width]`, from `x` to `y`, without weights.
pub fn rectifier(width: usize) -> Vec<u8> {
    Builder::new(0)
        .declare(11, "x", &[None, Some(width)])
        .declare(12, "y", &[None, Some(width)])
        .node("Relu", &["x"], "y", vec![])
        .finish()
}

/// A small picture classifier: `layers` of 3 × 3 convolutions with bias and ReLU over `channels`, a global average and
/// a softmax. Input `x` is `f32[batch, channels, 16, 16]`, output `y` is `f32[batch, channels, 1, 1]`.
pub fn convolutions(seed: u64, layers: usize, channels: usize) -> Vec<u8> {
    let mut model = Builder::new(seed)
        .declare(11, "x", &[None, Some(channels), Some(16), Some(16)])
        .declare(12, "y", &[None, Some(channels), Some(1), Some(1)]);
    let mut value = "x".to_owned();
    for layer in 0..layers {
        let (w, b) = (format!("w{layer}"), format!("b{layer}"));
        let (product, next) = (format!("product{layer}"), format!("value{layer}"));
        model = model
            .weight(&w, &[channels, channels, 3, 3], 9 * channels)
            .weight(&b, &[channels], 9 * channels)
            .node("Conv", &[&value, &w, &b], &product, vec![ints("pads", &[1, 1, 1, 1])])
            .node("Relu", &[&product], &next, vec![]);
        value = next;
    }
    let axis = Message::default().text(1, "axis").int(3, 1).int(20, 2);
    model
        .node("GlobalAveragePool", &[&value], "mean", vec![])
        .node("Softmax", &["mean"], "y", vec![axis])
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(perceptron(1, 3, 16), perceptron(1, 3, 16));
        assert_ne!(perceptron(1, 3, 16), perceptron(2, 3, 16));
        let bytes = convolutions(1, 2, 8);
        assert!(bytes.len() > 2 * (8 * 8 * 9 + 8) * 4, "weights are inside");
    }
}
