//! Small models for the tests of this crate.

use crate::{CompileOptions, Layout, LayoutOptions, Plan, PlanError};
use sublet_graph::{
    Compare, DType, Evaluate, EvaluateError, Graph, GraphInput, Literal, Model, Node, Op, Source,
    ValueId, ValueInfo,
};
use sublet_units::Bytes;

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

    /// The graph on its own, as the body of a control-flow operator. It must not have weights.
    pub fn body(self) -> Box<Graph> {
        assert!(self.model.weights.is_empty(), "weights belong to the outer model");
        Box::new(self.model.graph)
    }

    pub fn typed_input(&mut self, name: &str, dtype: DType) -> ValueId {
        let value = self.input(name, None);
        self.model.graph.values[value.0 as usize].dtype = Some(dtype);
        value
    }

    pub fn output(&mut self, value: ValueId) {
        self.model.graph.outputs.push(value);
    }

    pub fn finish(self) -> Model {
        self.model
    }
}

/// Computes what shape arithmetic in the tests needs.
pub struct ShapeMath;

impl Evaluate for ShapeMath {
    fn evaluate(
        &self,
        op: &Op,
        inputs: &[Option<&Literal>],
        _outputs: usize,
    ) -> Result<Vec<Literal>, EvaluateError> {
        let numbers: Option<Vec<Vec<i64>>> =
            inputs.iter().map(|input| input.and_then(Literal::to_i64s)).collect();
        let computed = match (op, numbers.as_deref()) {
            (Op::Gather { axis: 0 }, Some([data, indices])) => {
                let picked: Vec<_> = indices.iter().map(|&index| data[index as usize]).collect();
                Literal::i64(inputs[1].expect("given").shape(), &picked)
            }
            (Op::Concat { axis: 0 }, Some(parts)) => {
                let joined = parts.concat();
                Literal::i64(&[joined.len()], &joined)
            }
            (Op::Compare(Compare::Equal), Some([a, b])) => Literal::bool(&[], &[a == b]),
            _ => return Err(EvaluateError::Unsupported(op.to_string())),
        };
        Ok(vec![computed])
    }
}

/// Compiles with a shape for each input.
pub fn compile(model: &Model, shapes: &[&[usize]]) -> Result<Plan, PlanError> {
    compile_within(model, shapes, usize::MAX)
}

pub fn compile_within(
    model: &Model,
    shapes: &[&[usize]],
    arena_bytes_max: usize,
) -> Result<Plan, PlanError> {
    let options = LayoutOptions { align: 64, first: Bytes(64), largest: Bytes(64) };
    let layout = Layout::new(model, options);
    let shapes: Vec<_> = shapes.iter().map(|shape| Some(shape.to_vec())).collect();
    let options = CompileOptions { arena_bytes_max, ..CompileOptions::default() };
    Plan::compile(&model.graph, model, &layout, &shapes, &ShapeMath, &options)
}
