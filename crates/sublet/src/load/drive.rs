//! The open loop: every request is sent when it is due, whatever became of those before.
//!
//! Each thread has a runtime, connections and a share of the schedule of its own, so that threads share nothing while
//! the load runs. A due request takes an idle connection or opens another; when none may be opened it waits for the
//! next that comes free, and the wait counts as latency.

use super::body::Body;
use super::failure::Failure;
use super::grpc::GrpcLane;
use super::http::HttpConnection;
use super::pace::Pacer;
use super::tally::{Moments, Tally};
use super::target::{Protocol, Target};
use anyhow::{Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sublet_units::Time;
use sublet_workload::{Arrival, Schedule};
use tokio::sync::Notify;

/// Requests are sent this long after the threads were started, so that all of them are there.
const HEAD_START: Duration = Duration::from_millis(50);
/// Channels per thread over gRPC; each carries many requests.
const CHANNELS: usize = 4;

/// A load on one target.
pub struct Drive {
    pub target: Target,
    pub schedule: Schedule,
    /// By model, then by number of the request.
    pub bodies: Vec<Vec<Body>>,
    pub slo: Option<Time>,
    pub timeout: Time,
    /// Connections of all threads together.
    pub connections: usize,
    pub threads: usize,
    /// Requests sent so far, for a progress bar.
    pub sent: Arc<AtomicU64>,
}

/// A connection, or one of a channel's requests.
enum Lane {
    Http(HttpConnection),
    Grpc(GrpcLane),
}

/// A request that is due.
struct Job {
    arrival: Arrival,
    /// Which of the model's bodies.
    body: usize,
}

/// What the tasks of one thread share.
struct Worker {
    drive: Arc<Drive>,
    start: Instant,
    idle: RefCell<Vec<Lane>>,
    channels: Vec<GrpcLane>,
    open: Cell<usize>,
    open_max: usize,
    backlog: RefCell<VecDeque<Job>>,
    tally: RefCell<Tally>,
    ended: Notify,
}

/// Runs the whole schedule; returns what was seen, once every request was answered or given up.
pub fn run(drive: Drive) -> Result<Tally> {
    let drive = Arc::new(drive);
    let start = Instant::now() + HEAD_START;
    let threads: Vec<_> = (0..drive.threads)
        .map(|thread| {
            let drive = drive.clone();
            std::thread::spawn(move || work(drive, thread, start))
        })
        .collect();
    let mut sum = Tally::new(drive.bodies.len());
    for thread in threads {
        sum.add(thread.join().map_err(|_| anyhow!("a sending thread panicked"))??);
    }
    Ok(sum)
}

fn work(drive: Arc<Drive>, thread: usize, start: Instant) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = processor_time();
    let mut tally = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut channels = Vec::new();
        if drive.target.protocol == Protocol::Grpc {
            for _ in 0..CHANNELS {
                let channel = GrpcLane::open(&drive.target).await;
                channels.push(channel.map_err(|failure| anyhow!("{failure}"))?);
            }
        }
        let worker = Rc::new(Worker {
            start,
            idle: RefCell::default(),
            channels,
            open: Cell::new(0),
            open_max: (drive.connections / drive.threads).max(1),
            backlog: RefCell::default(),
            tally: RefCell::new(Tally::new(drive.bodies.len())),
            ended: Notify::new(),
            drive: drive.clone(),
        });
        send_all(&worker, thread).await?;
        // Every lane ends: each request has a timeout, and what waits too long is given up.
        while worker.open.get() > worker.idle.borrow().len() {
            worker.ended.notified().await;
        }
        anyhow::Ok(worker.tally.replace(Tally::new(0)))
    })?;
    tally.busy = processor_time() - before;
    Ok(tally)
}

/// Hands out this thread's share of the schedule, each request when it is due.
async fn send_all(worker: &Rc<Worker>, thread: usize) -> Result<()> {
    let pacer = Pacer::new()?;
    let drive = &worker.drive;
    let mut turns = vec![thread; drive.bodies.len()];
    let share = drive.schedule.arrivals.iter().skip(thread).step_by(drive.threads);
    for &arrival in share {
        let waited = pacer.wait_until(worker.start + Duration::from(arrival.at)).await?;
        let turn = &mut turns[arrival.model as usize];
        let body = *turn % drive.bodies[arrival.model as usize].len();
        *turn += 1;
        worker.begin(Job { arrival, body });
        drive.sent.fetch_add(1, Ordering::Relaxed);
        if !waited {
            // Behind the schedule: answers must be read all the same.
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

impl Worker {
    fn begin(self: &Rc<Self>, job: Job) {
        let lane = self.idle.borrow_mut().pop();
        if lane.is_none() && self.open.get() == self.open_max {
            self.backlog.borrow_mut().push_back(job);
            return;
        }
        if lane.is_none() {
            self.open.set(self.open.get() + 1);
        }
        let worker = self.clone();
        tokio::task::spawn_local(async move { worker.serve(lane, job).await });
    }

    /// Sends a job and those that wait after it, then leaves the lane for later ones.
    async fn serve(self: Rc<Self>, mut lane: Option<Lane>, mut job: Job) {
        loop {
            lane = self.send(lane, &job).await;
            match self.next() {
                Some(next) => job = next,
                None => break,
            }
        }
        match lane {
            Some(lane) => self.idle.borrow_mut().push(lane),
            None => self.open.set(self.open.get() - 1),
        }
        self.ended.notify_one();
    }

    /// The oldest request that waits for a lane; those that have waited too long are given up.
    fn next(&self) -> Option<Job> {
        loop {
            let job = self.backlog.borrow_mut().pop_front()?;
            if self.now().saturating_sub(job.arrival.at) < self.drive.timeout {
                return Some(job);
            }
            self.tally.borrow_mut().failed(job.arrival.model, Failure::not_sent());
        }
    }

    /// Sends one request; gives the lane back while it can be used.
    async fn send(&self, lane: Option<Lane>, job: &Job) -> Option<Lane> {
        let (model, due) = (job.arrival.model, job.arrival.at);
        let left = (due + self.drive.timeout).saturating_sub(self.now());
        let body = &self.drive.bodies[model as usize][job.body];
        let exchange = async {
            let lane = lane.filter(Lane::is_open);
            let reused = lane.is_some();
            let mut lane = match lane {
                Some(lane) => lane,
                None => self.open().await?,
            };
            let sent = self.now();
            let mut outcome = lane.infer(body).await;
            if reused && matches!(&outcome, Err(failure) if failure.stale) {
                lane = self.open().await?;
                outcome = lane.infer(body).await;
            }
            Ok::<_, Failure>((lane, sent, outcome))
        };
        let (lane, failure) = match tokio::time::timeout(left.into(), exchange).await {
            Ok(Ok((lane, sent, Ok(())))) => {
                let moments = Moments { due, sent, done: self.now() };
                self.tally.borrow_mut().answered(model, moments, self.drive.slo);
                return Some(lane);
            }
            Ok(Ok((lane, _, Err(failure)))) => (Some(lane).filter(|_| !failure.broken), failure),
            Ok(Err(failure)) => (None, failure),
            Err(_) => (None, Failure::timeout()),
        };
        self.tally.borrow_mut().failed(model, failure);
        lane
    }

    async fn open(&self) -> Result<Lane, Failure> {
        match self.drive.target.protocol {
            Protocol::Http => HttpConnection::open(&self.drive.target).await.map(Lane::Http),
            Protocol::Grpc => {
                let channel = self.open.get() % self.channels.len();
                Ok(Lane::Grpc(self.channels[channel].clone()))
            }
        }
    }

    /// Time since the beginning of the run.
    fn now(&self) -> Time {
        self.start.elapsed().into()
    }
}

impl Lane {
    async fn infer(&mut self, body: &Body) -> Result<(), Failure> {
        match self {
            Lane::Http(connection) => connection.infer(body).await,
            Lane::Grpc(channel) => channel.infer(body).await,
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Lane::Http(connection) => connection.is_open(),
            Lane::Grpc(_) => true,
        }
    }
}

/// Processor time that this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
