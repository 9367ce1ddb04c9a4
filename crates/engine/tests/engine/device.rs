//! A CPU device whose runs can be held back, and which can be lost.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use sublet_device::{
    Clock, Completion, Device, DeviceError, DeviceInfo, DeviceUsage, Image, Launch, Load, Sink,
};
use sublet_device_cpu::{CpuDevice, CpuOptions};
use sublet_units::{DeviceId, ModelId};

pub struct GatedDevice {
    inner: CpuDevice,
    gate: Mutex<Gate>,
    changed: Condvar,
    sink: OnceLock<(DeviceId, Sink)>,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    held: Vec<Launch>,
    /// Parts of each launch, in order.
    launched: Vec<usize>,
}

impl GatedDevice {
    pub fn new(index: u32, options: CpuOptions) -> Arc<Self> {
        Arc::new(GatedDevice {
            inner: CpuDevice::new(index, options).expect("the options are right"),
            gate: Mutex::default(),
            changed: Condvar::new(),
            sink: OnceLock::new(),
        })
    }

    /// Holds back every run from now on.
    pub fn close(&self) {
        self.gate.lock().unwrap().closed = true;
    }

    /// Lets the runs go on.
    pub fn open(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.closed = false;
        for launch in std::mem::take(&mut gate.held) {
            self.inner.launch(launch);
        }
    }

    /// Waits until so many runs are held back.
    pub fn wait_held(&self, count: usize) {
        let gate = self.gate.lock().unwrap();
        let until = |gate: &mut Gate| gate.held.len() < count;
        let (_gate, timeout) =
            self.changed.wait_timeout_while(gate, super::scene::PATIENCE, until).unwrap();
        assert!(!timeout.timed_out(), "fewer than {count} runs were launched");
    }

    /// The number of requests in each run so far.
    pub fn launched(&self) -> Vec<usize> {
        self.gate.lock().unwrap().launched.clone()
    }

    /// Reports the device as lost; what is held back is never run.
    pub fn lose(&self) {
        self.gate.lock().unwrap().held.clear();
        let (id, sink) = self.sink.get().expect("the device was started");
        sink(*id, Completion::Lost { error: DeviceError::Lost("unplugged".into()) });
    }
}

impl Device for GatedDevice {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn start(&self, id: DeviceId, clock: Arc<dyn Clock>, sink: Sink) {
        self.sink.get_or_init(|| (id, sink.clone()));
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
        gate.launched.push(launch.parts.len());
        if gate.closed {
            gate.held.push(launch);
            self.changed.notify_all();
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
