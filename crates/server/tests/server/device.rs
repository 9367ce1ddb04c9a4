//! A CPU device whose runs can be held back, and which can be lost.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use sublet_device::{
    Clock, Device, DeviceError, DeviceInfo, DeviceUsage, Image, Launch, Load, Sink,
};
use sublet_device_cpu::{CpuDevice, CpuOptions};
use sublet_units::{Bytes, DeviceId, ModelId};

pub struct GatedDevice {
    inner: CpuDevice,
    gate: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    held: Vec<Launch>,
}

impl GatedDevice {
    pub fn new() -> Arc<Self> {
        let options = CpuOptions { memory: Bytes::from_mib(8), ..CpuOptions::default() };
        let inner = CpuDevice::new(0, options).expect("the options are right");
        Arc::new(GatedDevice { inner, gate: Mutex::default() })
    }

    /// Holds back every run from now on.
    pub fn close(&self) {
        self.gate.lock().unwrap().closed = true;
    }

    /// Lets the runs go on.
    pub fn open(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.closed = false;
        std::mem::take(&mut gate.held).into_iter().for_each(|launch| self.inner.launch(launch));
    }

    /// The device fails with all that it was asked for.
    pub fn lose(&self) {
        self.inner.lose("unplugged");
        self.open();
    }

    pub fn held(&self) -> usize {
        self.gate.lock().unwrap().held.len()
    }
}

impl Device for GatedDevice {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn start(&self, id: DeviceId, clock: Arc<dyn Clock>, sink: Sink) {
        self.inner.start(id, clock, sink);
    }

    fn attach(&self, model: ModelId, image: Arc<Image>) -> Result<(), DeviceError> {
        self.inner.attach(model, image)
    }

    fn detach(&self, model: ModelId) {
        self.inner.detach(model);
    }

    fn load(&self, load: Load) {
        self.inner.load(load);
    }

    fn evict(&self, model: ModelId, segments: Range<u32>) {
        self.inner.evict(model, segments);
    }

    fn launch(&self, launch: Launch) {
        let mut gate = self.gate.lock().unwrap();
        if gate.closed {
            gate.held.push(launch);
        } else {
            self.inner.launch(launch);
        }
    }

    fn usage(&self) -> DeviceUsage {
        self.inner.usage()
    }

    fn shutdown(&self) {
        self.inner.shutdown();
    }
}
