//! Builds a model node by node, with random shapes and values.

use super::Problem;
use half::{bf16, f16};
use sublet_graph::{
    DType, Dim, Graph, GraphInput, Literal, Model, Node, Op, Source, ValueId, ValueInfo,
};

/// A model under construction and the random numbers that it is drawn with.
pub struct Builder {
    pub draw: fastrand::Rng,
    model: Model,
    inputs: Vec<Literal>,
    dtype: DType,
}

impl Builder {
    pub fn new(seed: u64) -> Builder {
        let model = Model {
            name: "problem".into(),
            graph: Graph::default(),
            weights: Vec::new(),
            metadata: Vec::new(),
        };
        Builder {
            draw: fastrand::Rng::with_seed(seed),
            model,
            inputs: Vec::new(),
            dtype: DType::I64,
        }
    }

    pub fn finish(self, name: String) -> Problem {
        let Builder { mut model, inputs, dtype, .. } = self;
        if model.graph.outputs.is_empty() {
            let last = model.graph.nodes.last().expect("a problem has a node");
            model.graph.outputs = last.outputs.iter().copied().flatten().collect();
        }
        Problem { name, model, inputs, dtype }
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.draw.usize(..of.len())]
    }

    /// One of the types of models, f32 as often as the others together; what is computed in it sets the tolerance.
    pub fn float(&mut self) -> DType {
        let dtype = self.pick(&[DType::F32, DType::F32, DType::F16, DType::BF16]);
        self.computes(dtype);
        dtype
    }

    /// Notes a type that is computed in.
    pub fn computes(&mut self, dtype: DType) {
        let rank = |dtype| match dtype {
            DType::BF16 => 4,
            DType::F16 => 3,
            DType::F32 => 2,
            DType::F64 => 1,
            _ => 0,
        };
        if rank(dtype) > rank(self.dtype) {
            self.dtype = dtype;
        }
    }

    /// A shape of this rank whose sizes are rarely round.
    pub fn shape(&mut self, rank: usize) -> Vec<usize> {
        let most = match rank {
            0 | 1 => 3000,
            2 => 90,
            3 => 34,
            _ => 14,
        };
        (0..rank)
            .map(|_| if self.draw.u8(..8) == 0 { 1 } else { self.draw.usize(1..=most) })
            .collect()
    }

    pub fn any_shape(&mut self) -> Vec<usize> {
        let rank = self.draw.usize(1..=4);
        self.shape(rank)
    }

    /// Random elements: floats mostly between −2 and 2, integers between −20 and 20, all that are positive for
    /// unsigned types.
    pub fn values(&mut self, dtype: DType, shape: &[usize]) -> Literal {
        self.values_in(dtype, shape, -2.0, 2.0)
    }

    /// Random floats between bounds; integers between ten times these.
    pub fn values_in(&mut self, dtype: DType, shape: &[usize], low: f32, high: f32) -> Literal {
        let len: usize = shape.iter().product();
        let reals: Vec<f32> = (0..len).map(|_| low + (high - low) * self.draw.f32()).collect();
        literal(dtype, shape, &reals)
    }

    /// An input given with every request.
    pub fn input(&mut self, value: Literal) -> ValueId {
        let id = self.model.graph.add_value(ValueInfo {
            name: format!("input{}", self.inputs.len()),
            source: Source::Input,
            dtype: Some(value.dtype()),
            dims: Some(value.shape().iter().map(|&size| Dim::Fixed(size)).collect()),
        });
        self.model.graph.inputs.push(GraphInput { value: id, default: None });
        self.inputs.push(value);
        id
    }

    pub fn weight(&mut self, value: Literal) -> ValueId {
        let name = format!("weight{}", self.model.weights.len());
        let dtype = Some(value.dtype());
        let weight = self.model.add_weight(name.clone(), value);
        let source = Source::Weight(weight);
        self.model.graph.add_value(ValueInfo { name, source, dtype, dims: None })
    }

    /// An input or a weight.
    pub fn either(&mut self, value: Literal) -> ValueId {
        if self.draw.bool() { self.input(value) } else { self.weight(value) }
    }

    /// A weight of 64-bit integers: axes, sizes, positions.
    pub fn integers(&mut self, values: &[i64]) -> ValueId {
        self.weight(Literal::i64(&[values.len()], values))
    }

    pub fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.node_with(op, inputs, 1)[0]
    }

    /// A node with inputs left out or several outputs.
    pub fn node_with(
        &mut self,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: usize,
    ) -> Vec<ValueId> {
        let index = self.model.graph.nodes.len();
        let name = format!("node{index}");
        let ids: Vec<ValueId> = (0..outputs)
            .map(|output| {
                let name = format!("{name}.{output}");
                let info = ValueInfo { name, source: Source::Node, dtype: None, dims: None };
                self.model.graph.add_value(info)
            })
            .collect();
        let outputs = ids.iter().copied().map(Some).collect();
        self.model.graph.nodes.push(Node { name, op, inputs, outputs });
        ids
    }

    /// Also an output of the model; without any, the last node's are.
    pub fn output(&mut self, value: ValueId) {
        self.model.graph.outputs.push(value);
    }
}

/// Reals in a type; integers are ten times as large.
pub fn literal(dtype: DType, shape: &[usize], reals: &[f32]) -> Literal {
    match dtype {
        DType::F32 => Literal::f32(shape, reals),
        DType::F64 => made(dtype, shape, reals, f64::from),
        DType::F16 => made(dtype, shape, reals, f16::from_f32),
        DType::BF16 => made(dtype, shape, reals, bf16::from_f32),
        DType::Bool => {
            Literal::bool(shape, &reals.iter().map(|&real| real > 0.0).collect::<Vec<_>>())
        }
        DType::I8 => made(dtype, shape, reals, |real| (real * 10.0) as i8),
        DType::I16 => made(dtype, shape, reals, |real| (real * 10.0) as i16),
        DType::I32 => made(dtype, shape, reals, |real| (real * 10.0) as i32),
        DType::I64 => made(dtype, shape, reals, |real| (real * 10.0) as i64),
        DType::U8 => made(dtype, shape, reals, |real| (real.abs() * 10.0) as u8),
        DType::U16 => made(dtype, shape, reals, |real| (real.abs() * 10.0) as u16),
        DType::U32 => made(dtype, shape, reals, |real| (real.abs() * 10.0) as u32),
        DType::U64 => made(dtype, shape, reals, |real| (real.abs() * 10.0) as u64),
    }
}

fn made<T: bytemuck::Pod>(
    dtype: DType,
    shape: &[usize],
    reals: &[f32],
    to: impl Fn(f32) -> T,
) -> Literal {
    let values: Vec<T> = reals.iter().map(|&real| to(real)).collect();
    Literal::from_values(dtype, shape, &values)
}
