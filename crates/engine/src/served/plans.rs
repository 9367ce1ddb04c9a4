//! The plans of one model version, by input shapes: bounded, least recently used out.

use super::program::{Program, as_device_error};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use sublet_device::{DeviceError, LazyPlan};
use sublet_plan::Plan;

/// What a plan is made for: the shape of each graph input, in order; `None` for one that keeps its default.
pub(crate) type InputShapes = Vec<Option<InputShape>>;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct InputShape {
    pub dims: Vec<usize>,
    /// The elements of an input that steers the model: the plan is made for them.
    pub switch: Option<Bytes>,
}

impl From<Vec<usize>> for InputShape {
    fn from(dims: Vec<usize>) -> Self {
        InputShape { dims, switch: None }
    }
}

/// Made when first asked for; whoever asks meanwhile waits for the one who makes it.
pub(crate) type CachedPlan = LazyPlan<Box<dyn Fn() -> Result<Plan, DeviceError> + Send + Sync>>;

pub(super) struct PlanCache {
    entries: Mutex<Entries>,
    entries_max: usize,
}

#[derive(Default)]
struct Entries {
    by_shapes: HashMap<InputShapes, Entry>,
    /// Counts uses.
    uses: u64,
}

struct Entry {
    plan: Arc<CachedPlan>,
    last_use: u64,
}

impl PlanCache {
    pub fn new(entries_max: usize) -> Self {
        PlanCache { entries: Mutex::default(), entries_max: entries_max.max(1) }
    }

    /// Quick: the plan itself is made by whoever asks it for the plan.
    pub fn get(&self, shapes: &InputShapes, program: &Arc<Program>) -> Arc<CachedPlan> {
        let mut entries = self.lock();
        entries.uses += 1;
        let now = entries.uses;
        if let Some(entry) = entries.by_shapes.get_mut(shapes) {
            entry.last_use = now;
            return entry.plan.clone();
        }
        if entries.by_shapes.len() >= self.entries_max {
            let oldest = entries.by_shapes.iter().min_by_key(|(_, entry)| entry.last_use);
            if let Some(shapes) = oldest.map(|(shapes, _)| shapes.clone()) {
                entries.by_shapes.remove(&shapes);
            }
        }
        let plan = {
            let (program, shapes) = (program.clone(), shapes.clone());
            let make = move || program.compile(&shapes).map_err(as_device_error);
            Arc::new(CachedPlan::new(Box::new(make)))
        };
        let entry = Entry { plan: plan.clone(), last_use: now };
        entries.by_shapes.insert(shapes.clone(), entry);
        plan
    }

    pub fn forget(&self, shapes: &InputShapes) {
        self.lock().by_shapes.remove(shapes);
    }

    pub fn is_made(&self, shapes: &InputShapes) -> bool {
        self.lock().by_shapes.get(shapes).is_some_and(|entry| entry.plan.is_made())
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no thread panics while it holds the plans")
    }
}
