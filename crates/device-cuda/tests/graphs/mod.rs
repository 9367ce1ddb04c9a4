//! Small graphs on random values, run on the GPU and on the CPU.

use half::{bf16, f16};
use std::sync::Arc;
use sublet_device::Image;
use sublet_device_cpu::Evaluator;
use sublet_device_cuda::{CudaOptions, NoCache, Solo};
use sublet_graph::{
    DType, Graph, GraphInput, Literal, Model, Node, Op, Source, ValueId, ValueInfo,
};
use sublet_plan::{CompileOptions, Layout, LayoutOptions, Plan};
use sublet_units::Bytes;

/// A started device; `None`, with a message, where there is no GPU.
pub fn device(options: &str) -> Option<Solo> {
    if !sublet_device_cuda::device_count().is_ok_and(|count| count > 0) {
        println!("skipped: no CUDA device");
        return None;
    }
    let options: CudaOptions = options.parse().expect("options of a device");
    Some(Solo::new(options, Arc::new(NoCache)).expect("the device starts"))
}

/// Values drawn from a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// In −1/2 … 1/2.
    pub fn real(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    /// Floats in −1/2 … 1/2, integers up to ±20 (0 … 40 without sign), booleans.
    pub fn literal(&mut self, dtype: DType, shape: &[usize]) -> Literal {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.real()).collect();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|&value| {
                let whole = (value * 40.0) as i64;
                match dtype {
                    DType::F32 => value.to_le_bytes().to_vec(),
                    DType::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                    DType::BF16 => bf16::from_f32(value).to_le_bytes().to_vec(),
                    DType::F64 => f64::from(value).to_le_bytes().to_vec(),
                    DType::Bool => vec![u8::from(value > -0.3)],
                    DType::U8 | DType::U16 | DType::U32 | DType::U64 => {
                        (whole + 20).to_le_bytes()[..dtype.size()].to_vec()
                    }
                    _ => whole.to_le_bytes()[..dtype.size()].to_vec(),
                }
            })
            .collect();
        Literal::new(dtype, shape.to_vec(), bytes.into()).expect("as many bytes as elements")
    }
}

/// A graph under construction, with the values of its inputs.
pub struct Case {
    name: String,
    graph: Graph,
    inputs: Vec<Literal>,
    random: Random,
}

impl Case {
    pub fn new(name: impl Into<String>, seed: u64) -> Case {
        Case {
            name: name.into(),
            graph: Graph::default(),
            inputs: Vec::new(),
            random: Random::new(seed),
        }
    }

    fn value(&mut self, name: String, source: Source, dtype: Option<DType>) -> ValueId {
        self.graph.add_value(ValueInfo { name, source, dtype, dims: None })
    }

    /// An input of random values.
    pub fn input(&mut self, dtype: DType, shape: &[usize]) -> Option<ValueId> {
        let literal = self.random.literal(dtype, shape);
        self.given(literal)
    }

    pub fn given(&mut self, literal: Literal) -> Option<ValueId> {
        let name = format!("in{}", self.inputs.len());
        let value = self.value(name, Source::Input, Some(literal.dtype()));
        self.graph.inputs.push(GraphInput { value, default: None });
        self.inputs.push(literal);
        Some(value)
    }

    pub fn node(&mut self, op: Op, inputs: &[Option<ValueId>]) -> Option<ValueId> {
        self.nodes(op, inputs, 1)[0]
    }

    pub fn nodes(
        &mut self,
        op: Op,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> Vec<Option<ValueId>> {
        let name = format!("n{}", self.graph.nodes.len());
        let outputs: Vec<_> = (0..outputs)
            .map(|index| Some(self.value(format!("{name}.{index}"), Source::Node, None)))
            .collect();
        let (inputs, results) = (inputs.to_vec(), outputs.clone());
        self.graph.nodes.push(Node { name, op, inputs, outputs: results });
        outputs
    }

    /// Makes it the result, and compares what the devices make of it: their difference is at most `tolerance` of the
    /// result's norm, and a second run gives the same bits.
    pub fn check(mut self, solo: &Solo, outputs: &[Option<ValueId>], tolerance: f64) {
        self.graph.outputs = outputs.iter().map(|output| output.expect("a value")).collect();
        let mut model = Model {
            name: self.name.clone(),
            graph: self.graph,
            weights: Vec::new(),
            metadata: Vec::new(),
        };
        sublet_graph::check(&model).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        sublet_graph::infer_dtypes(&mut model)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let options = LayoutOptions { align: 256, first: Bytes(512), largest: Bytes(1024) };
        let image = Arc::new(Image::pack(&model, Layout::new(&model, options)));
        let shapes: Vec<_> = self.inputs.iter().map(|input| Some(input.shape().to_vec())).collect();
        let plan = Plan::compile(
            &model.graph,
            &*image,
            &image.layout,
            &shapes,
            &Evaluator,
            &CompileOptions::default(),
        )
        .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let wanted = sublet_device_cpu::run_plan(&plan, &image, &self.inputs)
            .unwrap_or_else(|error| panic!("{} on the CPU: {error}", self.name));
        let run = || {
            sublet_device_cuda::run_plan(solo, &plan, &image, &self.inputs)
                .unwrap_or_else(|error| panic!("{}: {error}", self.name))
        };
        let found = run();
        assert_eq!(found.len(), wanted.len(), "{}", self.name);
        for (index, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            let place = format!("{}, output {index}", self.name);
            assert_eq!((found.dtype(), found.shape()), (wanted.dtype(), wanted.shape()), "{place}");
            let difference = difference(found, wanted);
            assert!(difference <= tolerance, "{place}: off by {difference:e} of the norm");
        }
        assert_eq!(run(), found, "{}: a second run gives the same", self.name);
    }
}

/// The norm of the difference over the norm of what is wanted; infinite where one is not a number and the other is.
fn difference(found: &Literal, wanted: &Literal) -> f64 {
    let (found, wanted) = (reals(found), reals(wanted));
    let (mut apart, mut norm) = (0.0, 0.0);
    for (found, wanted) in found.iter().zip(&wanted) {
        if found.is_nan() != wanted.is_nan() {
            return f64::INFINITY;
        }
        if found == wanted || found.is_nan() {
            continue;
        }
        apart += (found - wanted) * (found - wanted);
        norm += wanted * wanted;
    }
    if apart == 0.0 { 0.0 } else { (apart / norm.max(1e-30)).sqrt() }
}

fn reals(literal: &Literal) -> Vec<f64> {
    match literal.dtype() {
        DType::F64 => literal.to_vec::<f64>(),
        DType::F32 => literal.to_vec::<f32>().into_iter().map(f64::from).collect(),
        DType::F16 => literal.to_vec::<f16>().into_iter().map(f64::from).collect(),
        DType::BF16 => literal.to_vec::<bf16>().into_iter().map(f64::from).collect(),
        DType::U32 => literal.to_vec::<u32>().into_iter().map(f64::from).collect(),
        _ => {
            let integers = literal.to_i64s();
            integers.expect("integers").into_iter().map(|value| value as f64).collect()
        }
    }
}
