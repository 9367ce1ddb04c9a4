//! The CPU device: its threads, and the commands of the seam.

use crate::copier;
use crate::lane::Lane;
use crate::memory::Memory;
use crate::options::{CpuOptions, GRAIN};
use crate::region::Region;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use sublet_device::{
    Clock, Completion, Device, DeviceError, DeviceInfo, DeviceUsage, Image, Launch, Load, Sink,
};
use sublet_units::{Bytes, DeviceId, ModelId, Time};

/// A device whose memory is a budgeted part of the host's, filled over a link of a set rate, and whose lanes are
/// threads.
pub struct CpuDevice {
    info: DeviceInfo,
    shared: Arc<Shared>,
    queues: Mutex<Option<Queues>>,
}

struct Queues {
    loads: Sender<Load>,
    /// By lane.
    launches: Vec<Sender<Launch>>,
}

/// What the device's threads share.
pub struct Shared {
    pub options: CpuOptions,
    pub memory: Memory,
    pub counters: Counters,
    pub faults: Faults,
    regions: RwLock<HashMap<ModelId, Arc<Region>>>,
    lost: OnceLock<DeviceError>,
    started: OnceLock<Started>,
}

struct Started {
    id: DeviceId,
    clock: Arc<dyn Clock>,
    sink: Sink,
    at: Time,
}

#[derive(Default)]
pub struct Counters {
    pub copied_bytes: AtomicU64,
    pub arena_bytes: AtomicU64,
    /// Over all lanes.
    pub busy_ns: AtomicU64,
}

/// Failures that a test has asked for.
#[derive(Default)]
pub struct Faults {
    loads: Mutex<Vec<DeviceError>>,
}

impl Faults {
    /// The failure that the next copy of a segment shall have.
    pub fn take_load(&self) -> Option<DeviceError> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl CpuDevice {
    /// The device named `cpu:<index>`. Its memory is taken from the host as it is used.
    ///
    /// # Errors
    /// [`DeviceError::Invalid`] when the options contradict themselves.
    pub fn new(index: u32, options: CpuOptions) -> Result<CpuDevice, DeviceError> {
        options.check()?;
        let info = DeviceInfo {
            name: format!("cpu:{index}"),
            page_bytes: options.page_bytes,
            pages: options.pages(),
            lanes: options.lanes,
            link_rate: options.link,
            arena_bytes_max: options.arena_max,
        };
        let shared = Shared {
            // Segments lie one after the other in a model's pages, so their bytes are what is handed out.
            memory: Memory::new(GRAIN, options.grains()),
            options,
            counters: Counters::default(),
            faults: Faults::default(),
            regions: RwLock::default(),
            lost: OnceLock::new(),
            started: OnceLock::new(),
        };
        Ok(CpuDevice { info, shared: Arc::new(shared), queues: Mutex::new(None) })
    }

    /// Makes the next copy of a segment fail with `error`: for tests of what is above the device.
    pub fn fail_next_load(&self, error: DeviceError) {
        self.shared.faults.loads.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    /// Loses the device, as a driver's failure would: everything in flight and everything asked of it from now on
    /// fails with [`DeviceError::Lost`]. For tests of what is above the device.
    pub fn lose(&self, why: &str) {
        self.shared.lose(DeviceError::Lost(why.to_owned()));
    }

    fn queues(&self) -> MutexGuard<'_, Option<Queues>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for CpuDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn start(&self, id: DeviceId, clock: Arc<dyn Clock>, sink: Sink) {
        let at = clock.now();
        let started = Started { id, clock, sink, at };
        assert!(self.shared.started.set(started).is_ok(), "{} was started twice", self.info.name);
        let (loads, load_queue) = channel();
        let shared = self.shared.clone();
        spawn(format!("{}-link", self.info.name), move || copier::run(&shared, &load_queue));
        let mut launches = Vec::new();
        for lane in 0..self.shared.options.lanes {
            let (sender, launch_queue) = channel();
            launches.push(sender);
            let shared = self.shared.clone();
            let name = format!("{}-lane{lane}", self.info.name);
            spawn(name.clone(), move || {
                // This thread is one of the pool's, so that a small run never changes threads.
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(shared.options.threads)
                    .thread_name(move |index| format!("{name}.{index}"))
                    .use_current_thread()
                    .build()
                    .expect("the operating system can start threads");
                Lane::new(&shared).run(&launch_queue);
                drop(pool);
            });
        }
        *self.queues() = Some(Queues { loads, launches });
    }

    fn attach(&self, model: ModelId, image: Arc<Image>) -> Result<(), DeviceError> {
        self.shared.check_alive()?;
        let region = Arc::new(Region::new(image));
        let mut regions = self.shared.regions.write().unwrap_or_else(PoisonError::into_inner);
        assert!(regions.insert(model, region).is_none(), "{model} is attached already");
        Ok(())
    }

    fn detach(&self, model: ModelId) {
        let mut regions = self.shared.regions.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = regions.remove(&model) {
            region.evict_all(&self.shared.memory);
        }
    }

    fn load(&self, load: Load) {
        if let Some(region) = self.shared.region(load.model) {
            region.expect(copier::within(&load.segments, region.image.layout.segments.len()));
            if let Err(error) = self.shared.check_alive() {
                region.fail_all(&error);
            }
        }
        if let Some(queues) = &*self.queues() {
            // A copier that is gone has panicked; nothing is left to report to.
            let _ = queues.loads.send(load);
        }
    }

    fn evict(&self, model: ModelId, segments: Range<u32>) {
        if let Some(region) = self.shared.region(model) {
            let segments = copier::within(&segments, region.image.layout.segments.len());
            region.evict(segments, &self.shared.memory);
        }
    }

    fn launch(&self, launch: Launch) {
        if let Some(queues) = &*self.queues() {
            let lane = launch.lane.0 as usize;
            assert!(lane < queues.launches.len(), "{} has no lane {lane}", self.info.name);
            let _ = queues.launches[lane].send(launch);
        }
    }

    fn usage(&self) -> DeviceUsage {
        let counters = &self.shared.counters;
        let busy = Time(counters.busy_ns.load(Ordering::Relaxed)).as_secs_f64();
        let lanes = f64::from(self.shared.options.lanes);
        let wall = self
            .shared
            .started
            .get()
            .map_or(Time::ZERO, |started| started.clock.now().saturating_sub(started.at));
        DeviceUsage {
            resident_bytes: self.shared.memory.used(),
            arena_bytes: Bytes(counters.arena_bytes.load(Ordering::Relaxed)),
            busy: if wall > Time::ZERO { busy / (wall.as_secs_f64() * lanes) } else { 0.0 },
            copied_bytes: Bytes(counters.copied_bytes.load(Ordering::Relaxed)),
        }
    }

    fn shutdown(&self) {
        *self.queues() = None;
    }
}

impl Shared {
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.started().clock
    }

    /// Calls the sink. Never with a lock held.
    pub fn report(&self, completion: Completion) {
        let started = self.started();
        (started.sink)(started.id, completion);
    }

    pub fn region(&self, model: ModelId) -> Option<Arc<Region>> {
        self.regions.read().unwrap_or_else(PoisonError::into_inner).get(&model).cloned()
    }

    /// # Errors
    /// [`DeviceError::Lost`] after the device was lost.
    pub fn check_alive(&self) -> Result<(), DeviceError> {
        self.lost.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn lose(&self, error: DeviceError) {
        if self.lost.set(error.clone()).is_err() {
            return;
        }
        let regions: Vec<_> = {
            let regions = self.regions.read().unwrap_or_else(PoisonError::into_inner);
            regions.values().cloned().collect()
        };
        for region in regions {
            region.fail_all(&error);
        }
        self.report(Completion::Lost { error });
    }

    fn started(&self) -> &Started {
        self.started.get().expect("the device was started")
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name(name).spawn(body);
    thread.expect("the operating system can start threads");
}
