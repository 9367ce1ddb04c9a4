//! The queue of the loader's threads. Loads of one model are carried out one after the other.

use crate::core::stopping;
use crate::{EngineError, LoadOverride};
use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A load to be carried out.
pub(super) struct Job {
    pub name: String,
    pub over: LoadOverride,
    /// Who waits for the result.
    pub done: Option<Sender<Result<(), EngineError>>>,
    /// The server is not ready before it is over.
    pub startup: bool,
}

#[derive(Default)]
pub(super) struct Jobs {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Names of models that are being loaded or unloaded.
    busy: HashSet<String>,
    /// Names of models that the server starts with and that are not over yet.
    starting: HashSet<String>,
    stopping: bool,
}

/// Keeps others from loading or unloading a model while it lives.
pub(super) struct Reservation<'a> {
    jobs: &'a Jobs,
    name: String,
}

impl Jobs {
    pub fn add(&self, jobs: Vec<Job>) {
        let mut queue = self.lock();
        if queue.stopping {
            // Dropping a job tells who waits for it.
            return;
        }
        let starting = jobs.iter().filter(|job| job.startup).map(|job| job.name.clone());
        queue.starting.extend(starting);
        queue.waiting.extend(jobs);
        drop(queue);
        self.changed.notify_all();
    }

    /// The next job whose model is not busy, which becomes busy; waits for one. `None` when the engine stops.
    pub fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.stopping {
                return None;
            }
            let free = queue.waiting.iter().position(|job| !queue.busy.contains(&job.name));
            if let Some(job) = free.and_then(|index| queue.waiting.remove(index)) {
                queue.busy.insert(job.name.clone());
                return Some(job);
            }
            queue = self.changed.wait(queue).expect("unpoisoned");
        }
    }

    pub fn finished(&self, job: Job, result: Result<(), EngineError>) {
        let mut queue = self.lock();
        queue.busy.remove(&job.name);
        if job.startup {
            queue.starting.remove(&job.name);
        }
        drop(queue);
        self.changed.notify_all();
        if let Some(done) = job.done {
            // Who gave up waiting does not mind.
            let _ = done.send(result);
        }
    }

    /// Waits until a model is not busy and makes it so. `None` when the engine stops.
    pub fn reserve(&self, name: &str) -> Option<Reservation<'_>> {
        let mut queue = self.lock();
        while !queue.stopping && queue.busy.contains(name) {
            queue = self.changed.wait(queue).expect("unpoisoned");
        }
        if queue.stopping {
            return None;
        }
        queue.busy.insert(name.to_owned());
        Some(Reservation { jobs: self, name: name.to_owned() })
    }

    pub fn is_startup_over(&self) -> bool {
        self.lock().starting.is_empty()
    }

    /// Whether a model's first load, with which the server starts, is still to come or under way.
    pub fn is_starting(&self, name: &str) -> bool {
        self.lock().starting.contains(name)
    }

    /// Puts a model that the server starts with before all others, and waits until it is loaded, or has failed, or
    /// the time is over. Returns at once for any other model.
    pub fn hurry(&self, name: &str, patience: Duration) {
        let began = Instant::now();
        let mut queue = self.lock();
        if let Some(index) = queue.waiting.iter().position(|job| job.startup && job.name == name)
            && let Some(job) = queue.waiting.remove(index)
        {
            queue.waiting.push_front(job);
        }
        while !queue.stopping && queue.starting.contains(name) {
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            queue = self.changed.wait_timeout(queue, left).expect("unpoisoned").0;
        }
    }

    /// Waits so long, or until the engine stops; returns whether it goes on.
    pub fn pause(&self, span: Duration) -> bool {
        let began = Instant::now();
        let mut queue = self.lock();
        loop {
            let left = span.saturating_sub(began.elapsed());
            if queue.stopping || left.is_zero() {
                return !queue.stopping;
            }
            queue = self.changed.wait_timeout(queue, left).expect("unpoisoned").0;
        }
    }

    pub fn stop(&self) {
        let mut queue = self.lock();
        queue.stopping = true;
        let dropped = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.changed.notify_all();
        for done in dropped.into_iter().filter_map(|job| job.done) {
            let _ = done.send(Err(stopping()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no thread panics while it holds the queue")
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.jobs.lock().busy.remove(&self.name);
        self.jobs.changed.notify_all();
    }
}
