//! A CPU device whose runs can be held back, whose loads can be broken off, and which can be lost.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use sublet_device::{
    Clock, Completion, Device, DeviceError, DeviceInfo, DeviceUsage, Image, Launch, Load, Sink,
};
use sublet_device_cpu::{CpuDevice, CpuOptions};
use sublet_units::{Bytes, DeviceId, ModelId};

pub struct GatedDevice {
    inner: Arc<CpuDevice>,
    gate: Mutex<Gate>,
    changed: Condvar,
    sink: OnceLock<(DeviceId, Sink)>,
    /// How many loads are still to be broken off.
    breaks: Arc<AtomicU32>,
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
            inner: Arc::new(CpuDevice::new(index, options).expect("the options are right")),
            gate: Mutex::default(),
            changed: Condvar::new(),
            sink: OnceLock::new(),
            breaks: Arc::default(),
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

    /// From now on, so many loads run out of memory after their first segment.
    pub fn break_loads(&self, count: u32) {
        self.breaks.store(count, Ordering::SeqCst);
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
        let (inner, breaks) = (self.inner.clone(), self.breaks.clone());
        // Told on the thread that copies, before it takes the next segment.
        let breaking: Sink = Arc::new(move |id, completion| {
            let less = |left: u32| left.checked_sub(1);
            if matches!(completion, Completion::Loaded { segment: 0, .. })
                && breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
            {
                let place = "the next segment".into();
                inner.fail_next_load(DeviceError::OutOfMemory { wanted: Bytes(1), place });
            }
            sink(id, completion);
        });
        self.inner.start(id, clock, breaking);
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
