//! A device driven directly through its trait: no scheduler, no requests. For suites and benchmarks that ask what the
//! device itself does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use sublet_device::{
    Clock, Completion, Device, DeviceError, Image, Launch, Load, Part, PlanSource, RunOutput,
};
use sublet_graph::Literal;
use sublet_plan::Plan;
use sublet_units::{DeviceId, LaneId, LoadId, ModelId, PageId, RunId, Time};

/// A started device with its free pages and lanes. Its methods may be called from several threads.
pub struct Direct {
    device: Arc<dyn Device>,
    waiting: Arc<Mutex<Waiting>>,
    free: Mutex<Free>,
    models_made: AtomicU32,
    tickets_made: AtomicU64,
}

/// A model attached to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attached {
    pub model: ModelId,
    segments: u32,
    pages: usize,
}

/// A run that has been enqueued.
pub struct Running(std::sync::mpsc::Receiver<Ran>);

/// When a run was reported, and how it ended.
type Ran = (Instant, Result<RunOutput, DeviceError>);

/// A load that has been enqueued.
pub struct Loading(std::sync::mpsc::Receiver<Result<(), DeviceError>>);

/// Who waits for which completion.
#[derive(Default)]
struct Waiting {
    /// With the last segment.
    loads: HashMap<LoadId, (u32, Sender<Result<(), DeviceError>>)>,
    runs: HashMap<RunId, Sender<Ran>>,
    lost: Option<DeviceError>,
}

struct Free {
    pages: Vec<PageId>,
    held: HashMap<ModelId, Vec<PageId>>,
}

impl Direct {
    /// Starts the device.
    pub fn new(device: Arc<dyn Device>) -> Direct {
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let sink_waiting = waiting.clone();
        device.start(
            DeviceId(0),
            Arc::new(WallClock(Instant::now())),
            Arc::new(move |_, completion| {
                sink_waiting.lock().expect("unpoisoned").complete(completion);
            }),
        );
        // The last page is the first one taken: any order must do.
        let pages = (0..device.info().pages).map(PageId).collect();
        let free = Mutex::new(Free { pages, held: HashMap::new() });
        let (models_made, tickets_made) = (AtomicU32::new(0), AtomicU64::new(0));
        Direct { device, waiting, free, models_made, tickets_made }
    }

    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// Why the device is gone, if it is.
    pub fn lost(&self) -> Option<DeviceError> {
        self.waiting().lost.clone()
    }

    pub fn attach(&self, image: Arc<Image>) -> Result<Attached, DeviceError> {
        let model = ModelId(self.models_made.fetch_add(1, Ordering::Relaxed));
        let pages = image.layout.bytes.div_ceil(self.device.info().page_bytes) as usize;
        let segments = image.layout.segments.len() as u32;
        self.device.attach(model, image)?;
        Ok(Attached { model, segments, pages })
    }

    /// Evicts what is resident and frees the region.
    pub fn detach(&self, attached: Attached) {
        self.evict(attached);
        self.device.detach(attached.model);
    }

    /// Enqueues the copy of all segments.
    ///
    /// # Errors
    /// `OutOfMemory` when there are not enough free pages.
    pub fn begin_load(&self, attached: Attached) -> Result<Loading, DeviceError> {
        let (done, loading) = channel();
        if attached.segments == 0 {
            done.send(Ok(())).expect("the receiver is at hand");
            return Ok(Loading(loading));
        }
        let pages = self.take_pages(attached)?;
        let load = LoadId(self.tickets_made.fetch_add(1, Ordering::Relaxed));
        {
            let mut waiting = self.waiting();
            if let Some(error) = &waiting.lost {
                return Err(error.clone());
            }
            waiting.loads.insert(load, (attached.segments - 1, done));
        }
        let segments = 0..attached.segments;
        self.device.load(Load { load, model: attached.model, segments, pages });
        Ok(Loading(loading))
    }

    /// Brings a model's weights and waits for them.
    pub fn load(&self, attached: Attached) -> Result<(), DeviceError> {
        self.begin_load(attached)?.wait()
    }

    /// Takes all pages of a model back. Nothing of it may be in flight.
    pub fn evict(&self, attached: Attached) {
        let held = self.free().held.remove(&attached.model);
        if let Some(pages) = held {
            self.device.evict(attached.model, 0..attached.segments);
            // In reverse: the next load of as many pages gets the same ones in the same order.
            self.free().pages.extend(pages.into_iter().rev());
        }
    }

    /// Enqueues a run of one part.
    pub fn begin_run(
        &self,
        attached: Attached,
        lane: LaneId,
        plan: Arc<Plan>,
        inputs: Vec<Literal>,
    ) -> Result<Running, DeviceError> {
        let (done, running) = channel();
        let run = RunId(self.tickets_made.fetch_add(1, Ordering::Relaxed));
        {
            let mut waiting = self.waiting();
            if let Some(error) = &waiting.lost {
                return Err(error.clone());
            }
            waiting.runs.insert(run, done);
        }
        let parts = vec![Part { rows: 1, inputs }];
        let plan = Arc::new(Made(plan));
        self.device.launch(Launch { run, lane, model: attached.model, plan, parts });
        Ok(Running(running))
    }

    /// Runs on lane 0 and waits.
    pub fn run(
        &self,
        attached: Attached,
        plan: Arc<Plan>,
        inputs: Vec<Literal>,
    ) -> Result<RunOutput, DeviceError> {
        self.begin_run(attached, LaneId(0), plan, inputs)?.wait()
    }

    fn take_pages(&self, attached: Attached) -> Result<Vec<PageId>, DeviceError> {
        let mut free = self.free();
        assert!(!free.held.contains_key(&attached.model), "a model is loaded once");
        if free.pages.len() < attached.pages {
            let wanted = self.device.info().page_bytes * attached.pages as u64;
            return Err(DeviceError::OutOfMemory { wanted, place: "the free pages".into() });
        }
        let left = free.pages.len() - attached.pages;
        let pages = free.pages.split_off(left);
        // Taken from the end, so that the first page of the model was the last of the list.
        let pages: Vec<PageId> = pages.into_iter().rev().collect();
        free.held.insert(attached.model, pages.clone());
        Ok(pages)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("unpoisoned")
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().expect("unpoisoned")
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.device.shutdown();
    }
}

impl Running {
    pub fn wait(self) -> Result<RunOutput, DeviceError> {
        self.wait_timed().1
    }

    /// Also tells when the device reported the end: the caller's thread may need a while to wake.
    pub fn wait_timed(self) -> (Instant, Result<RunOutput, DeviceError>) {
        self.0.recv().unwrap_or_else(|_| (Instant::now(), Err(gone())))
    }
}

impl Loading {
    pub fn wait(self) -> Result<(), DeviceError> {
        self.0.recv().unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> DeviceError {
    DeviceError::Lost("it never answered".into())
}

impl Waiting {
    fn complete(&mut self, completion: Completion) {
        // Whoever gave up waiting does not mind.
        match completion {
            Completion::Loaded { load, segment } => {
                if self.loads.get(&load).is_some_and(|(last, _)| segment == *last)
                    && let Some((_, done)) = self.loads.remove(&load)
                {
                    let _ = done.send(Ok(()));
                }
            }
            Completion::LoadFailed { load, error } => {
                if let Some((_, done)) = self.loads.remove(&load) {
                    let _ = done.send(Err(error));
                }
            }
            Completion::Ran { run, result } => {
                if let Some(done) = self.runs.remove(&run) {
                    let _ = done.send((Instant::now(), result));
                }
            }
            Completion::Lost { error } => {
                for (_, (_, done)) in self.loads.drain() {
                    let _ = done.send(Err(error.clone()));
                }
                for (_, done) in self.runs.drain() {
                    let _ = done.send((Instant::now(), Err(error.clone())));
                }
                self.lost = Some(error);
            }
        }
    }
}

/// A plan that is there already.
struct Made(Arc<Plan>);

impl PlanSource for Made {
    fn plan(&self) -> Result<Arc<Plan>, DeviceError> {
        Ok(self.0.clone())
    }
}

/// Time since the device was started.
struct WallClock(Instant);

impl Clock for WallClock {
    fn now(&self) -> Time {
        self.0.elapsed().into()
    }

    fn wait_until(&self, time: Time) {
        let left = time.saturating_sub(self.now());
        if left > Time::ZERO {
            std::thread::sleep(left.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loaded;
    use sublet_device_cpu::{CpuDevice, CpuOptions};
    use sublet_units::Bytes;

    fn direct(pages: u64) -> Direct {
        let memory = Bytes::from_kib(64) * pages;
        let options =
            CpuOptions { memory, page_bytes: Bytes::from_kib(64), ..CpuOptions::default() };
        Direct::new(Arc::new(CpuDevice::new(0, options).unwrap()))
    }

    #[test]
    fn a_model_runs_while_it_loads_and_after_an_eviction() {
        let loaded = Loaded::from_bytes(sublet_catalog::perceptron(3, 2, 64).into()).unwrap();
        let input = Literal::f32(&[1, 64], &[0.5; 64]);
        let plan = loaded.plan_for(&[Some(&input)]).unwrap();
        let want = loaded.run(std::slice::from_ref(&input)).unwrap();
        let direct = direct(4);
        let attached = direct.attach(loaded.image().clone()).unwrap();
        for _ in 0..2 {
            let loading = direct.begin_load(attached).unwrap();
            let output = direct.run(attached, plan.clone(), vec![input.clone()]).unwrap();
            loading.wait().unwrap();
            assert_eq!(output.parts[0], want);
            direct.evict(attached);
        }
        let result = direct.run(attached, plan, vec![input]);
        assert!(result.is_err(), "nothing is resident");
        direct.detach(attached);
    }

    #[test]
    fn pages_run_out() {
        let loaded = Loaded::from_bytes(sublet_catalog::perceptron(3, 4, 256).into()).unwrap();
        let direct = direct(1);
        let attached = direct.attach(loaded.image().clone()).unwrap();
        assert!(matches!(direct.load(attached), Err(DeviceError::OutOfMemory { .. })));
    }
}
