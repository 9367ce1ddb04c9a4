//! Models, plans and a started device to test with.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use sublet_device::{
    Completion, Device, DeviceError, Image, Launch, LazyPlan, Load, ManualClock, Part, PlanSource,
};
use sublet_device_cpu::Evaluator;
use sublet_device_cuda::{CudaDevice, CudaOptions, NoCache};
use sublet_graph::{Graph, Literal, RewriteOptions};
use sublet_import::{Limits, NoExternalData};
use sublet_plan::{CompileOptions, Layout, LayoutOptions, Plan};
use sublet_units::{Bytes, DeviceId, LaneId, LoadId, ModelId, PageId, RunId};

/// Whether there is a GPU to test with; says so when there is none.
pub fn require_gpu() -> bool {
    let there = sublet_device_cuda::device_count().is_ok_and(|count| count > 0);
    if !there {
        println!("skipped: no CUDA device");
    }
    there
}

/// A packed model with one input and one output.
pub struct Packed {
    graph: Graph,
    image: Arc<Image>,
    /// Of one row of the input.
    row: Vec<usize>,
}

impl Packed {
    pub fn perceptron(seed: u64, layers: usize, width: usize) -> Self {
        Self::new(sublet_catalog::perceptron(seed, layers, width), vec![width])
    }

    pub fn convolutions(seed: u64, layers: usize, channels: usize) -> Self {
        Self::new(sublet_catalog::convolutions(seed, layers, channels), vec![channels, 16, 16])
    }

    fn new(onnx: Vec<u8>, row: Vec<usize>) -> Self {
        let limits = Limits::default();
        let mut model = sublet_import::import_onnx(onnx.into(), &NoExternalData, &limits).unwrap();
        sublet_graph::check(&model).unwrap();
        sublet_graph::infer_dtypes(&mut model).unwrap();
        sublet_graph::rewrite(&mut model, &Evaluator, &RewriteOptions::default());
        let options =
            LayoutOptions { first: Bytes::from_kib(64), largest: Bytes::from_mib(2), align: 256 };
        let layout = Layout::new(&model, options);
        let image = Arc::new(Image::pack(&model, layout));
        Packed { graph: model.graph, image, row }
    }

    pub fn segments(&self) -> u32 {
        self.image.layout.segments.len() as u32
    }

    pub fn all(&self) -> Range<u32> {
        0..self.segments()
    }

    pub fn pages(&self, page_bytes: u64) -> u32 {
        self.pages_before(self.segments(), page_bytes)
    }

    /// Pages of the segments before this one.
    pub fn pages_before(&self, segment: u32, page_bytes: u64) -> u32 {
        self.image.layout.start_of(segment).div_ceil(Bytes(page_bytes)) as u32
    }

    pub fn input(&self, seed: u64, rows: usize) -> Vec<Literal> {
        let shape = [&[rows], &self.row[..]].concat();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            })
            .collect();
        vec![Literal::f32(&shape, &values)]
    }

    pub fn plan(&self, shape: &[usize]) -> Plan {
        let shapes = [Some(shape.to_vec())];
        let options = CompileOptions::default();
        let image = &*self.image;
        Plan::compile(&self.graph, image, &image.layout, &shapes, &Evaluator, &options).unwrap()
    }

    /// What the CPU device answers.
    pub fn on_cpu(&self, inputs: &[Literal]) -> Vec<Literal> {
        let plan = self.plan(inputs[0].shape());
        sublet_device_cpu::run_plan(&plan, &self.image, inputs).unwrap()
    }
}

/// A plan that is made already.
struct Again(Arc<Plan>);

impl PlanSource for Again {
    fn plan(&self) -> Result<Arc<Plan>, DeviceError> {
        Ok(self.0.clone())
    }
}

/// Held while a rig lives: shared by most tests, alone by one that counts the GPU's free memory.
static GPU: RwLock<()> = RwLock::new(());

/// The GPU for one test alone, and the rigs that it makes with [`Rig::on`].
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    // A test that failed with it has left nothing behind.
    GPU.write().unwrap_or_else(PoisonError::into_inner)
}

/// A started device, and what it reports.
pub struct Rig {
    pub device: CudaDevice,
    /// Behind the device, so that it is dropped when that is gone.
    _shared: Option<RwLockReadGuard<'static, ()>>,
    reports: Receiver<Completion>,
    models: AtomicU32,
}

impl Rig {
    /// `options` as on the command line; `None` where there is no GPU.
    pub fn new(options: &str) -> Option<Self> {
        if !require_gpu() {
            return None;
        }
        let shared = GPU.read().unwrap_or_else(PoisonError::into_inner);
        Some(Rig { _shared: Some(shared), ..Rig::on(options) })
    }

    /// The same where the caller knows that there is a GPU, and has it alone.
    pub fn on(options: &str) -> Self {
        let options: CudaOptions = options.parse().unwrap();
        Rig::of(CudaDevice::new(0, options, Arc::new(NoCache)).unwrap())
    }

    /// A further device beside this one, for the same models.
    pub fn beside(&self, options: &str) -> Self {
        let options: CudaOptions = options.parse().unwrap();
        Rig::of(CudaDevice::beside(&self.device, 1, options, Arc::new(NoCache)).unwrap())
    }

    fn of(device: CudaDevice) -> Self {
        let (sender, reports) = channel();
        let sender = std::sync::Mutex::new(sender);
        let sink = Arc::new(move |_, completion| {
            // The test may be over already.
            let _ = sender.lock().unwrap().send(completion);
        });
        device.start(DeviceId(0), Arc::new(ManualClock::default()), sink);
        Rig { device, _shared: None, reports, models: AtomicU32::new(0) }
    }

    pub fn page_bytes(&self) -> u64 {
        self.device.info().page_bytes.0
    }

    pub fn attach(&self, packed: &Packed) -> ModelId {
        let model = ModelId(self.models.fetch_add(1, Ordering::Relaxed));
        self.device.attach(model, packed.image.clone()).unwrap();
        model
    }

    pub fn load(&self, load: u64, model: ModelId, segments: Range<u32>, pages: Vec<PageId>) {
        self.device.load(Load { load: LoadId(load), model, segments, pages });
    }

    /// Loads segments and waits until they have arrived.
    pub fn load_now(&self, model: ModelId, segments: Range<u32>, pages: Vec<PageId>) {
        self.load(0, model, segments.clone(), pages);
        for wanted in segments {
            match self.next() {
                Completion::Loaded { segment, .. } if segment == wanted => {}
                other => panic!("not segment {wanted}: {other:?}"),
            }
        }
    }

    pub fn launch(&self, lane: u32, run: u64, model: ModelId, packed: &Packed, inputs: &[Literal]) {
        let plan = packed.plan(inputs[0].shape());
        let plan = Arc::new(LazyPlan::new(move || Ok(plan.clone())));
        let parts = vec![Part { rows: 1, inputs: inputs.to_vec() }];
        self.device.launch(Launch { run: RunId(run), lane: LaneId(lane), model, plan, parts });
    }

    /// Launches a plan that may have run before, on lane 0.
    pub fn launch_again(&self, run: u64, model: ModelId, plan: &Arc<Plan>, inputs: &[Literal]) {
        let plan = Arc::new(Again(plan.clone()));
        let parts = vec![Part { rows: 1, inputs: inputs.to_vec() }];
        self.device.launch(Launch { run: RunId(run), lane: LaneId(0), model, plan, parts });
    }

    /// Waits for a run and for so many segments, in any order; the run's outputs.
    pub fn finish(&self, wanted: u64, segments: u32) -> Vec<Literal> {
        let (mut arrived, mut outputs) = (0, None);
        while arrived < segments || outputs.is_none() {
            match self.next() {
                Completion::Loaded { .. } => arrived += 1,
                Completion::Ran { run, result } if run == RunId(wanted) => {
                    outputs = Some(result.unwrap().parts.remove(0));
                }
                other => panic!("not run {wanted}: {other:?}"),
            }
        }
        outputs.unwrap()
    }

    /// The next thing that the device reports.
    pub fn next(&self) -> Completion {
        self.reports.recv_timeout(Duration::from_secs(60)).expect("the device reports something")
    }

    /// Runs a plan for one request and gives its outputs.
    pub fn run(&self, model: ModelId, packed: &Packed, inputs: &[Literal]) -> Vec<Literal> {
        self.launch(0, 0, model, packed, inputs);
        self.finish(0, 0)
    }

    /// Runs several requests as one batch and gives the outputs of each.
    pub fn run_parts(
        &self,
        model: ModelId,
        packed: &Packed,
        requests: &[Vec<Literal>],
    ) -> Vec<Vec<Literal>> {
        let rows: Vec<usize> = requests.iter().map(|inputs| inputs[0].shape()[0]).collect();
        let plan = packed.plan(&[&[rows.iter().sum()], &packed.row[..]].concat());
        let plan = Arc::new(LazyPlan::new(move || Ok(plan.clone())));
        let part = |(inputs, &rows): (&Vec<Literal>, &usize)| Part { rows, inputs: inputs.clone() };
        let parts = requests.iter().zip(&rows).map(part).collect();
        self.device.launch(Launch { run: RunId(0), lane: LaneId(0), model, plan, parts });
        match self.next() {
            Completion::Ran { result, .. } => result.unwrap().parts,
            other => panic!("not a run: {other:?}"),
        }
    }
}

pub fn pages(range: Range<u32>) -> Vec<PageId> {
    range.map(PageId).collect()
}

/// Fails when the difference is more than `relative` of the wanted values' norm.
pub fn assert_close(found: &[Literal], wanted: &[Literal], relative: f64) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!((found.dtype(), found.shape()), (wanted.dtype(), wanted.shape()));
        let values = |literal: &Literal| -> Vec<f64> {
            literal
                .bytes()
                .chunks_exact(4)
                .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())))
                .collect()
        };
        let (found, wanted) = (values(found), values(wanted));
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let error = norm(&mut found.iter().zip(&wanted).map(|(f, w)| f - w));
        let scale = norm(&mut wanted.iter().copied());
        assert!(error <= relative * scale, "off by {error:e} of {scale:e}");
    }
}
