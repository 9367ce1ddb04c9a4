//! The CUDA device: its threads, and the commands of the seam.

use crate::blas::Blas;
use crate::cache::Cache;
use crate::copiers;
use crate::dnn::Dnn;
use crate::driver::{Context, CudaError, Stream};
use crate::jit::Jit;
use crate::lane::Lane;
use crate::link;
use crate::link_rate::LINK_RATE_GUESS;
use crate::lower::Gpu;
use crate::memory::{Pages, Pinner, Region};
use crate::options::CudaOptions;
use crate::shared::Shared;
use crate::trace::{Span, Trace};
use crate::tune::Tuning;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use sublet_device::{
    Clock, Device, DeviceError, DeviceInfo, DeviceUsage, Image, Launch, Load, Sink,
};
use sublet_units::{Bytes, DeviceId, ModelId};

/// One GPU.
pub struct CudaDevice {
    info: DeviceInfo,
    shared: Arc<Shared>,
    kernels: Kernels,
    queues: Mutex<Option<Queues>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What lowering needs that lanes share.
#[derive(Clone)]
struct Kernels {
    jit: Arc<Jit>,
    tuning: Arc<Tuning>,
}

struct Queues {
    loads: Sender<Load>,
    /// By lane.
    launches: Vec<Sender<Launch>>,
}

/// What stays free of a device's memory, in parts of ten, when no budget is given: for arenas, libraries, kernels.
const SPARED_TENTHS: u64 = 2;

impl CudaDevice {
    /// Takes the device's memory. `index`: its number among all devices of the process, for its name.
    ///
    /// # Errors
    /// One clear sentence when CUDA or a library of it is missing or too old, or when there is too little memory.
    pub fn new(
        index: u32,
        options: CudaOptions,
        cache: Arc<dyn Cache>,
    ) -> Result<CudaDevice, DeviceError> {
        Self::with_pinner(index, options, cache, Arc::new(Pinner::default()))
    }

    /// A further device for the same models: images are pinned once, for this one and for `first`. Host memory that two
    /// devices pin each for itself is refused by the driver.
    ///
    /// # Errors
    /// As for [`CudaDevice::new`].
    pub fn beside(
        first: &CudaDevice,
        index: u32,
        options: CudaOptions,
        cache: Arc<dyn Cache>,
    ) -> Result<CudaDevice, DeviceError> {
        Self::with_pinner(index, options, cache, first.shared.pinner.clone())
    }

    fn with_pinner(
        index: u32,
        options: CudaOptions,
        cache: Arc<dyn Cache>,
        pinner: Arc<Pinner>,
    ) -> Result<CudaDevice, DeviceError> {
        let failed = |error: CudaError| match error
            .at(&format!("starting cuda:{}", options.ordinal))
        {
            DeviceError::Unsupported { what, place } => DeviceError::Unsupported { what, place },
            other => other,
        };
        let context = Context::new(options.ordinal).map_err(failed)?;
        let (free, total) = context.memory_info().map_err(failed)?;
        let budget =
            options.memory.unwrap_or_else(|| Bytes((free - free * SPARED_TENTHS / 10).min(total)));
        if budget.0 > free {
            let place = format!("cuda:{}, where {} are free", options.ordinal, Bytes(free));
            return Err(DeviceError::OutOfMemory { wanted: budget, place });
        }
        let pages = Pages::new(context.ordinal(), options.page_bytes, budget).map_err(failed)?;
        let trace = options.trace.then(Trace::new).transpose().map_err(failed)?;
        let jit = Arc::new(Jit::new(context.clone(), cache.clone()).map_err(failed)?);
        let tuning = Arc::new(Tuning::new(context.clone(), cache));
        let info = DeviceInfo {
            name: format!("cuda:{index} {}", context.properties.name),
            page_bytes: options.page_bytes,
            pages: pages.count(),
            lanes: options.lanes,
            // The scheduler's first guess, which it corrects.
            link_rate: Some(LINK_RATE_GUESS),
            arena_bytes_max: options.arena_max,
        };
        let shared = Arc::new(Shared::new(options, context, pages, pinner, trace));
        let kernels = Kernels { jit, tuning };
        Ok(CudaDevice {
            info,
            shared,
            kernels,
            queues: Mutex::new(None),
            threads: Mutex::default(),
        })
    }

    /// Spans of copies and runs since the last call (of a device that is started), when tracing is on. Times are counted
    /// from that call; the host's threads are first noted after one.
    pub fn take_trace(&self) -> Result<Vec<Span>, DeviceError> {
        let failed = |error: CudaError| error.at("tracing");
        self.shared.context.make_current().map_err(failed)?;
        let Some(trace) = &self.shared.trace else { return Ok(Vec::new()) };
        trace.take(&**self.shared.clock()).map_err(failed)
    }

    /// Free bytes of the GPU's memory, as the driver sees them: for tests that look for leaks.
    pub fn free_bytes(&self) -> Result<u64, DeviceError> {
        self.shared.context.memory_info().map(|(free, _)| free).map_err(|error| error.at("asking"))
    }

    /// Makes the next copy of a segment fail with `error`: for tests of what is above the device.
    pub fn fail_next_load(&self, error: DeviceError) {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    /// Loses the device, as a driver's failure would: for tests of what is above the device.
    pub fn lose(&self, why: &str) {
        self.shared.lose(DeviceError::Lost(why.to_owned()));
    }

    fn queues(&self) -> MutexGuard<'_, Option<Queues>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().name(name).spawn(body);
        let thread = thread.expect("the operating system can start threads");
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }
}

impl Device for CudaDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn start(&self, id: DeviceId, clock: Arc<dyn Clock>, sink: Sink) {
        self.shared.start(id, clock, sink);
        let ordinal = self.shared.options.ordinal;
        let (loads, load_queue) = channel();
        let shared = self.shared.clone();
        self.spawn(format!("cuda{ordinal}-link"), move || link::run(&shared, &load_queue));
        let shared = self.shared.clone();
        self.spawn(format!("cuda{ordinal}-pin"), move || {
            if let Err(error) = shared.context.make_current() {
                return shared.lose(error.at("the pinning thread"));
            }
            shared.pinner.run(&shared.pinning_ended);
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count =
            self.shared.options.copiers.map_or(copiers::count_for(cores), |count| count as usize);
        let (copiers, threads) = copiers::copiers(count);
        for (index, copier) in threads.into_iter().enumerate() {
            self.spawn(format!("cuda{ordinal}-copy{index}"), move || copier.run());
        }
        let copiers = Arc::new(copiers);
        let mut launches = Vec::new();
        for lane in 0..self.shared.options.lanes as usize {
            let (sender, launch_queue) = channel();
            launches.push(sender);
            let (shared, kernels) = (self.shared.clone(), self.kernels.clone());
            let copiers = copiers.clone();
            self.spawn(format!("cuda{ordinal}-lane{lane}"), move || {
                let made =
                    gpu(&shared, kernels).and_then(|gpu| Lane::new(&shared, lane, gpu, copiers));
                match made {
                    Ok(mut lane) => lane.run(&launch_queue),
                    Err(error) => {
                        shared.lose(error.at(&format!("starting lane {lane}")));
                        fail_all(&shared, &launch_queue);
                    }
                }
            });
        }
        *self.queues() = Some(Queues { loads, launches });
    }

    fn attach(&self, model: ModelId, image: Arc<Image>) -> Result<(), DeviceError> {
        self.shared.check_alive()?;
        let failed = |error: CudaError| error.at(&format!("attaching {model}"));
        self.shared.context.make_current().map_err(failed)?;
        let pinned = self.shared.pinner.image(image);
        let region = Region::new(pinned, self.shared.pages.page_bytes).map_err(failed)?;
        let mut regions = self.shared.regions.write().unwrap_or_else(PoisonError::into_inner);
        let before = regions.insert(model, Arc::new(region));
        assert!(before.is_none(), "{model} is attached already");
        Ok(())
    }

    fn detach(&self, model: ModelId) {
        // Freeing what the region holds needs the context.
        let _ = self.shared.context.make_current();
        let region = {
            let mut regions = self.shared.regions.write().unwrap_or_else(PoisonError::into_inner);
            regions.remove(&model)
        };
        drop(region);
    }

    fn load(&self, load: Load) {
        if let Some(region) = self.shared.region(load.model) {
            let count = region.image().layout.segments.len() as u32;
            region.expect(load.segments.start.min(count)..load.segments.end.min(count));
            if let Err(error) = self.shared.check_alive() {
                region.fail_all(&error);
            }
        }
        if let Some(queues) = &*self.queues() {
            let _ = queues.loads.send(load);
        }
    }

    fn evict(&self, model: ModelId, segments: Range<u32>) {
        if let Some(region) = self.shared.region(model) {
            let count = region.image().layout.segments.len() as u32;
            let gone = region.evict(segments.start.min(count)..segments.end.min(count));
            self.shared.counters.resident_bytes.fetch_sub(gone, Ordering::Relaxed);
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
        let busy = counters.busy_ns.load(Ordering::Relaxed) as f64;
        let wall = self.shared.wall().0 as f64 * f64::from(self.shared.options.lanes);
        DeviceUsage {
            resident_bytes: Bytes(counters.resident_bytes.load(Ordering::Relaxed)),
            arena_bytes: Bytes(counters.arena_bytes.load(Ordering::Relaxed)),
            busy: if wall > 0.0 { busy / wall } else { 0.0 },
            copied_bytes: Bytes(counters.copied_bytes.load(Ordering::Relaxed)),
        }
    }

    fn shutdown(&self) {
        self.shared.pinner.end(&self.shared.pinning_ended);
        *self.queues() = None;
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        self.shutdown();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let own = std::thread::current().id();
        for thread in threads {
            // The last owner may be one of the device's own threads, inside the sink.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
        // What is freed from here on needs the context.
        let _ = self.shared.context.make_current();
    }
}

/// The part of a lane's arena that one operator's scratch memory may be: large batches of large pictures are fastest with
/// a gigabyte or two.
const WORKSPACE_SHARE: usize = 4;

/// What a lane lowers with; its thread calls this.
fn gpu(shared: &Shared, kernels: Kernels) -> Result<Gpu, CudaError> {
    shared.context.make_current()?;
    Ok(Gpu {
        jit: kernels.jit,
        tuning: kernels.tuning,
        blas: Blas::new()?,
        dnn: Dnn::new(shared.options.arena_max.as_usize() / WORKSPACE_SHARE)?,
        stream: Stream::new(false)?,
        precision: shared.options.precision,
    })
}

/// Answers launches on a lane that could not start.
fn fail_all(shared: &Shared, launches: &std::sync::mpsc::Receiver<Launch>) {
    while let Ok(launch) = launches.recv() {
        let result = Err(shared.lost_error());
        shared.report(sublet_device::Completion::Ran { run: launch.run, result });
    }
}
