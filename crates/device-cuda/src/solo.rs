//! Single plans on a device of their own, one after the other: for comparing operators with other devices.

use crate::{Cache, CudaDevice, CudaOptions};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use sublet_device::{
    Completion, Device, DeviceError, Image, Launch, Load, ManualClock, Part, PlanSource,
};
use sublet_graph::Literal;
use sublet_plan::Plan;
use sublet_units::{Bytes, DeviceId, LaneId, LoadId, ModelId, PageId, RunId};

/// A device that serves one caller.
pub struct Solo {
    device: CudaDevice,
    completions: Mutex<Receiver<Completion>>,
    models: AtomicU32,
}

struct Known(Arc<Plan>);

impl PlanSource for Known {
    fn plan(&self) -> Result<Arc<Plan>, DeviceError> {
        Ok(self.0.clone())
    }
}

impl Solo {
    /// Takes 256 MiB of the device unless `options` name a budget.
    pub fn new(options: CudaOptions, cache: Arc<dyn Cache>) -> Result<Solo, DeviceError> {
        let memory = options.memory.unwrap_or(Bytes::from_mib(256));
        let options = CudaOptions { memory: Some(memory), lanes: 1, ..options };
        let device = CudaDevice::new(0, options, cache)?;
        let (sender, completions) = channel();
        let sender = Mutex::new(sender);
        device.start(
            DeviceId(0),
            Arc::new(ManualClock::default()),
            Arc::new(move |_, completion| {
                let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(completion);
            }),
        );
        let completions = Mutex::new(completions);
        Ok(Solo { device, completions, models: AtomicU32::new(0) })
    }
}

/// Runs a plan once: its weights are brought, the plan is run, everything is taken away again. `inputs` are in the order
/// of the plan's inputs; returns the outputs in the order of the plan's outputs.
pub fn run_plan(
    solo: &Solo,
    plan: &Plan,
    image: &Arc<Image>,
    inputs: &[Literal],
) -> Result<Vec<Literal>, DeviceError> {
    let completions = solo.completions.lock().unwrap_or_else(PoisonError::into_inner);
    let number = solo.models.fetch_add(1, Ordering::Relaxed);
    let model = ModelId(number);
    let device = &solo.device;
    device.attach(model, image.clone())?;
    let segments = 0..image.layout.segments.len() as u32;
    let mut failed = None;
    if !segments.is_empty() {
        let pages = image.layout.bytes.div_ceil(device.info().page_bytes);
        let place = "a device for single plans".to_owned();
        if pages > u64::from(device.info().pages) {
            device.detach(model);
            return Err(DeviceError::OutOfMemory { wanted: image.layout.bytes, place });
        }
        let pages = (0..pages as u32).map(PageId).collect();
        let load = LoadId(u64::from(number));
        device.load(Load { load, model, segments: segments.clone(), pages });
    }
    let plan = Arc::new(Known(Arc::new(plan.clone())));
    let parts = vec![Part { rows: 1, inputs: inputs.to_vec() }];
    let run = RunId(u64::from(number));
    device.launch(Launch { run, lane: LaneId(0), model, plan, parts });
    let (mut arrived, mut ran) = (0, None);
    while arrived < segments.end || ran.is_none() {
        match completions.recv().expect("the device answers") {
            Completion::Loaded { .. } => arrived += 1,
            Completion::LoadFailed { error, .. } => {
                arrived = segments.end;
                failed = Some(error);
            }
            Completion::Ran { result, .. } => ran = Some(result),
            Completion::Lost { error } => return Err(error),
        }
    }
    device.evict(model, segments);
    device.detach(model);
    let output = ran.expect("the loop ended with it")?;
    match failed {
        Some(error) => Err(error),
        None => Ok(output.parts.into_iter().next().expect("one part")),
    }
}
