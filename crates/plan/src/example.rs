//! Small models for the tests of this crate.

use sublet_graph::{
    DType, Graph, GraphInput, Literal, Model, Node, Op, Source, ValueId, ValueInfo,
};

/// Builds a model node by node.
pub struct Builder {
    model: Model,
}

impl Builder {
    pub fn new() -> Self {
        let model = Model {
            name: "example".into(),
            graph: Graph::default(),
            weights: Vec::new(),
            metadata: Vec::new(),
        };
        Builder { model }
    }

    fn value(&mut self, name: &str, source: Source, dtype: Option<DType>) -> ValueId {
        self.model.graph.add_value(ValueInfo { name: name.into(), source, dtype, dims: None })
    }

    pub fn input(&mut self, name: &str, default: Option<Literal>) -> ValueId {
        let value = self.value(name, Source::Input, Some(DType::F32));
        let default = default.map(|value| self.model.add_weight(format!("{name}.default"), value));
        self.model.graph.inputs.push(GraphInput { value, default });
        value
    }

    pub fn weight(&mut self, value: Literal) -> ValueId {
        let name = format!("w{}", self.model.weights.len());
        let dtype = value.dtype();
        let id = self.model.add_weight(name.clone(), value);
        self.value(&name, Source::Weight(id), Some(dtype))
    }

    pub fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.nodes(op, inputs, 1)[0]
    }

    pub fn nodes(&mut self, op: Op, inputs: &[ValueId], outputs: usize) -> Vec<ValueId> {
        let name = format!("n{}", self.model.graph.nodes.len());
        let outputs: Vec<_> = (0..outputs)
            .map(|index| self.value(&format!("{name}.{index}"), Source::Node, None))
            .collect();
        self.model.graph.nodes.push(Node {
            name,
            op,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: outputs.iter().copied().map(Some).collect(),
        });
        outputs
    }

    pub fn output(&mut self, value: ValueId) {
        self.model.graph.outputs.push(value);
    }

    pub fn finish(self) -> Model {
        self.model
    }
}
