//! Models, plans and a device to test with.

use crate::{CpuDevice, CpuDeviceSpec, Evaluator, run_plan};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use sublet_device::{
    Completion, Device, DeviceError, Image, Launch, LazyPlan, Load, ManualClock, Part, RunOutput,
};
use sublet_graph::{
    DType, Graph, GraphInput, Literal, Model, Node, Op, Source, ValueId, ValueInfo,
};
use sublet_plan::{CompileOptions, Layout, LayoutOptions, Plan};
use sublet_units::{Bytes, DeviceId, LaneId, LoadId, ModelId, PageId, RunId};

/// Builds a model node by node.
pub struct Builder(Model);

impl Builder {
    pub fn new() -> Self {
        Builder(Model {
            name: "test".into(),
            graph: Graph::default(),
            weights: Vec::new(),
            metadata: Vec::new(),
        })
    }

    fn value(&mut self, name: &str, source: Source, dtype: Option<DType>) -> ValueId {
        self.0.graph.add_value(ValueInfo { name: name.into(), source, dtype, dims: None })
    }

    pub fn input(&mut self, name: &str, dtype: DType) -> ValueId {
        let value = self.value(name, Source::Input, Some(dtype));
        self.0.graph.inputs.push(GraphInput { value, default: None });
        value
    }

    pub fn weight(&mut self, value: Literal) -> ValueId {
        let name = format!("w{}", self.0.weights.len());
        let dtype = value.dtype();
        let id = self.0.add_weight(name.clone(), value);
        self.value(&name, Source::Weight(id), Some(dtype))
    }

    pub fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.nodes(op, inputs, 1)[0]
    }

    pub fn nodes(&mut self, op: Op, inputs: Vec<Option<ValueId>>, outputs: usize) -> Vec<ValueId> {
        let name = format!("n{}", self.0.graph.nodes.len());
        let outputs: Vec<_> = (0..outputs)
            .map(|index| self.value(&format!("{name}.{index}"), Source::Node, None))
            .collect();
        let some = outputs.iter().copied().map(Some).collect();
        self.0.graph.nodes.push(Node { name, op, inputs, outputs: some });
        outputs
    }

    pub fn outputs(&mut self, values: &[ValueId]) {
        self.0.graph.outputs.extend(values);
    }

    pub fn finish(self) -> Model {
        self.0
    }

    pub fn body(self) -> Box<Graph> {
        assert!(self.0.weights.is_empty(), "weights belong to the outer model");
        Box::new(self.0.graph)
    }
}

/// A weight that differs from any other: values around 0 drawn from `seed`.
pub fn random(seed: u64, shape: &[usize]) -> Literal {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect();
    Literal::f32(shape, &values)
}

/// A packed model.
pub struct Packed {
    pub graph: Graph,
    pub image: Arc<Image>,
}

impl Packed {
    /// Segments hold one weight each, unless weights are tiny.
    pub fn new(model: Model) -> Self {
        let options = LayoutOptions { align: 64, first: Bytes(512), largest: Bytes(1024) };
        let image = Arc::new(Image::pack(&model, Layout::new(&model, options)));
        Packed { graph: model.graph, image }
    }

    pub fn segments(&self) -> u32 {
        self.image.layout.segments.len() as u32
    }

    pub fn plan(&self, shapes: &[&[usize]]) -> Plan {
        let shapes: Vec<_> = shapes.iter().map(|shape| Some(shape.to_vec())).collect();
        let (image, options) = (&*self.image, CompileOptions::default());
        Plan::compile(&self.graph, image, &image.layout, &shapes, &Evaluator, &options)
            .expect("the model is right")
    }

    /// The outputs of a solo run.
    pub fn solo(&self, inputs: &[Literal]) -> Result<Vec<Literal>, DeviceError> {
        let shapes: Vec<_> = inputs.iter().map(Literal::shape).collect();
        run_plan(&self.plan(&shapes), &self.image, inputs)
    }
}

/// Three steps that each read a segment of their own: rows of a table, picked by `indices` (i64 `[n]`), times two
/// matrices. Different seeds give different weights.
pub fn three_segments(seed: u64) -> Packed {
    let mut model = Builder::new();
    let indices = model.input("indices", DType::I64);
    let table = model.weight(random(seed, &[8, 16]));
    let w1 = model.weight(random(seed + 1, &[16, 16]));
    let w2 = model.weight(random(seed + 2, &[16, 16]));
    let x = model.node(Op::Gather { axis: 0 }, &[table, indices]);
    let x = model.node(Op::MatMul, &[x, w1]);
    let y = model.node(Op::MatMul, &[x, w2]);
    model.outputs(&[y]);
    let packed = Packed::new(model.finish());
    assert_eq!(packed.segments(), 3);
    packed
}

/// A started device, and what it reports.
pub struct Rig {
    pub device: CpuDevice,
    pub clock: Arc<ManualClock>,
    reports: Receiver<Completion>,
}

impl Rig {
    /// `options` as on the command line.
    pub fn new(options: &str) -> Self {
        let spec: CpuDeviceSpec = options.parse().unwrap();
        let device = CpuDevice::new(0, spec.options).unwrap();
        let clock = Arc::new(ManualClock::default());
        let (sender, reports) = channel();
        let sink = Arc::new(move |_, completion| {
            // The test may be over already.
            let _ = sender.send(completion);
        });
        device.start(DeviceId(0), clock.clone(), sink);
        Rig { device, clock, reports }
    }

    pub fn attach(&self, model: u32, packed: &Packed) {
        self.device.attach(ModelId(model), packed.image.clone()).unwrap();
    }

    pub fn load(&self, load: u64, model: u32, segments: Range<u32>) {
        let pages = (0..1000).map(PageId).collect();
        self.device.load(Load { load: LoadId(load), model: ModelId(model), segments, pages });
    }

    /// Loads segments and waits until they have arrived; for links without a rate.
    pub fn load_now(&self, model: u32, segments: Range<u32>) {
        self.load(0, model, segments.clone());
        for segment in segments {
            self.expect_loaded(0, segment);
        }
    }

    pub fn evict(&self, model: u32, segments: Range<u32>) {
        self.device.evict(ModelId(model), segments);
    }

    pub fn launch(&self, run: u64, model: u32, plan: Plan, parts: Vec<Part>) {
        self.launch_on(0, run, model, plan, parts);
    }

    pub fn launch_on(&self, lane: u32, run: u64, model: u32, plan: Plan, parts: Vec<Part>) {
        let plan = Arc::new(LazyPlan::new(move || Ok(plan.clone())));
        let (run, lane, model) = (RunId(run), LaneId(lane), ModelId(model));
        self.device.launch(Launch { run, lane, model, plan, parts });
    }

    /// The next thing that the device reports.
    pub fn next(&self) -> Completion {
        self.reports.recv_timeout(Duration::from_secs(30)).expect("the device reports something")
    }

    pub fn expect_loaded(&self, load: u64, segment: u32) {
        match self.next() {
            Completion::Loaded { load: l, segment: s } if (l, s) == (LoadId(load), segment) => {}
            other => panic!("not segment {segment} of load {load}: {other:?}"),
        }
    }

    pub fn expect_load_failed(&self, load: u64) -> DeviceError {
        match self.next() {
            Completion::LoadFailed { load: l, error } if l == LoadId(load) => error,
            other => panic!("not a failure of load {load}: {other:?}"),
        }
    }

    pub fn expect_ran(&self, run: u64) -> Result<RunOutput, DeviceError> {
        match self.next() {
            Completion::Ran { run: r, result } if r == RunId(run) => result,
            other => panic!("not run {run}: {other:?}"),
        }
    }

    /// Runs a plan for one request and gives its outputs.
    pub fn run(&self, model: u32, packed: &Packed, inputs: &[Literal]) -> Vec<Literal> {
        let shapes: Vec<_> = inputs.iter().map(Literal::shape).collect();
        self.launch(0, model, packed.plan(&shapes), one(inputs));
        self.expect_ran(0).unwrap().parts.remove(0)
    }
}

/// The parts of a launch for one request.
pub fn one(inputs: &[Literal]) -> Vec<Part> {
    vec![Part { rows: 1, inputs: inputs.to_vec() }]
}

pub fn indices(values: &[i64]) -> Literal {
    Literal::i64(&[values.len()], values)
}
