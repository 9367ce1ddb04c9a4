//! What the threads of a device share.

use crate::driver::Context;
use crate::link_rate::LinkRate;
use crate::memory::{Pages, Pinner, Region};
use crate::options::CudaOptions;
use crate::trace::Trace;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use sublet_device::{Clock, Completion, DeviceError, Sink};
use sublet_units::{DeviceId, ModelId, Time};

pub struct Shared {
    pub options: CudaOptions,
    pub context: Arc<Context>,
    pub pages: Pages,
    /// That of all devices of the engine.
    pub pinner: Arc<Pinner>,
    /// Whether this device's part in pinning has ended.
    pub pinning_ended: AtomicBool,
    pub counters: Counters,
    pub link_rate: LinkRate,
    pub trace: Option<Trace>,
    pub regions: RwLock<HashMap<ModelId, Arc<Region>>>,
    pub faults: Mutex<Vec<DeviceError>>,
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
    pub resident_bytes: AtomicU64,
    pub arena_bytes: AtomicU64,
    /// Over all lanes.
    pub busy_ns: AtomicU64,
}

impl Shared {
    pub fn new(
        options: CudaOptions,
        context: Arc<Context>,
        pages: Pages,
        pinner: Arc<Pinner>,
        trace: Option<Trace>,
    ) -> Self {
        Shared {
            options,
            context,
            pages,
            pinner,
            pinning_ended: AtomicBool::new(false),
            counters: Counters::default(),
            link_rate: LinkRate::default(),
            trace,
            regions: RwLock::default(),
            faults: Mutex::default(),
            lost: OnceLock::new(),
            started: OnceLock::new(),
        }
    }

    pub fn start(&self, id: DeviceId, clock: Arc<dyn Clock>, sink: Sink) {
        let at = clock.now();
        let started = Started { id, clock, sink, at };
        assert!(self.started.set(started).is_ok(), "the device was started twice");
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.started().clock
    }

    /// Since the device was started.
    pub fn wall(&self) -> Time {
        self.started
            .get()
            .map_or(Time::ZERO, |started| started.clock.now().saturating_sub(started.at))
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

    /// Why the device was lost.
    pub fn lost_error(&self) -> DeviceError {
        self.lost.get().cloned().unwrap_or_else(|| DeviceError::Lost("unknown".into()))
    }

    /// Everything in flight and everything asked for from now on fails.
    pub fn lose(&self, error: DeviceError) {
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

    /// The failure that a test wants the next copy to have.
    pub fn take_fault(&self) -> Option<DeviceError> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn started(&self) -> &Started {
        self.started.get().expect("the device was started")
    }
}
