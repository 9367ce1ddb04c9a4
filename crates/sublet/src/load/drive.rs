//! The open loop: every request is sent when it is due, whatever became of those before.
//!
//! Each thread is a plain loop over its connections and its share of the schedule, so that threads share nothing while
//! the load runs, and a request costs few calls of the system: one to send it, one to read its answer, one to wait for
//! each, and one to set the timer. A due request takes a free connection or opens another; when none may be opened it
//! waits for the next that comes free, and the wait counts as latency.

use super::body::Body;
use super::events::{Events, Ready};
use super::failure::Failure;
use super::link::{Done, Link, Received};
use super::tally::{Moments, Tally};
use super::target::{Protocol, Target};
use anyhow::{Context, Result, anyhow};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sublet_units::Time;
use sublet_workload::{Arrival, Schedule};

/// Requests are sent this long after the threads were started, so that all of them are there.
const HEAD_START: Duration = Duration::from_millis(50);
/// Connections per thread over gRPC; each carries as many requests as the server allows.
const CHANNELS: usize = 4;
/// Behind the schedule, so many are sent before answers are looked at.
const BURST: usize = 16;
/// Read from a socket at once.
const BUFFER: usize = 64 << 10;

/// A load on one target.
pub struct Drive {
    pub target: Target,
    pub schedule: Schedule,
    /// By model, then by number of the request.
    pub bodies: Vec<Vec<Body>>,
    pub slo: Option<Time>,
    pub timeout: Time,
    /// Connections of all threads together; over gRPC, requests under way.
    pub connections: usize,
    pub threads: usize,
    /// Requests sent so far, for a progress bar.
    pub sent: Arc<AtomicU64>,
}

/// A request that is due.
struct Job {
    arrival: Arrival,
    /// Which of the model's bodies.
    body: usize,
    /// Its first connection had ended.
    again: bool,
}

/// A request that was sent.
struct Flight {
    job: Job,
    link: usize,
    sent: Time,
    /// Tells it from others that had the same slot.
    number: u64,
}

/// What one thread keeps.
struct Worker<'a> {
    drive: &'a Drive,
    start: Instant,
    events: Events,
    links: Vec<Option<Link>>,
    links_max: usize,
    /// By slot.
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    flights_max: usize,
    sent: u64,
    /// When requests are given up, in order: their slots and numbers.
    limits: VecDeque<(Time, usize, u64)>,
    backlog: VecDeque<Job>,
    done: Vec<Done>,
    buffer: Vec<u8>,
    tally: Tally,
}

/// Runs the whole schedule; returns what was seen, once every request was answered or given up.
pub fn run(drive: &Drive) -> Result<Tally> {
    let start = Instant::now() + HEAD_START;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..drive.threads)
            .map(|thread| scope.spawn(move || Worker::new(drive, start)?.run(thread)))
            .collect();
        let mut sum = Tally::new(drive.bodies.len());
        for thread in threads {
            sum.add(thread.join().map_err(|_| anyhow!("a sending thread panicked"))??);
        }
        Ok(sum)
    })
}

impl<'a> Worker<'a> {
    fn new(drive: &'a Drive, start: Instant) -> Result<Self> {
        let flights_max = (drive.connections / drive.threads).max(1);
        let links_max = match drive.target.protocol {
            Protocol::Http => flights_max,
            Protocol::Grpc => CHANNELS,
        };
        Ok(Worker {
            drive,
            start,
            events: Events::new().context("waiting for sockets")?,
            links: Vec::new(),
            links_max,
            flights: Vec::new(),
            free: Vec::new(),
            flights_max,
            sent: 0,
            limits: VecDeque::new(),
            backlog: VecDeque::new(),
            done: Vec::new(),
            buffer: vec![0; BUFFER],
            tally: Tally::new(drive.bodies.len()),
        })
    }

    /// Sends this thread's share of the schedule, each request when it is due, and waits for all answers.
    fn run(mut self, thread: usize) -> Result<Tally> {
        let drive = self.drive;
        let mut turns = vec![thread; drive.bodies.len()];
        let share = drive.schedule.arrivals.iter().skip(thread).step_by(drive.threads);
        let mut share = share.copied().peekable();
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            for _ in 0..BURST {
                let now = self.now();
                let Some(arrival) = share.next_if(|next| next.at <= now) else { break };
                let turn = &mut turns[arrival.model as usize];
                let body = *turn % drive.bodies[arrival.model as usize].len();
                *turn += 1;
                self.begin(Job { arrival, body, again: false });
                drive.sent.fetch_add(1, Ordering::Relaxed);
            }
            self.give_up();
            let next = share.peek().map(|arrival| arrival.at);
            let limit = self.limits.front().map(|limit| limit.0);
            let waits = self.backlog.front().map(|job| job.arrival.at + drive.timeout);
            // Nothing is left to send, to hear of, or to give up.
            let Some(until) = [next, limit, waits].into_iter().flatten().min() else {
                return Ok(self.tally);
            };
            self.events.wait(Some(self.start + until.into()), &mut ready)?;
            for ready in ready.drain(..) {
                self.serve(ready);
            }
            self.settle();
        }
    }

    /// Sends a request, or lets it wait.
    fn begin(&mut self, job: Job) {
        if self.flights.len() - self.free.len() >= self.flights_max || !self.has_link() {
            self.backlog.push_back(job);
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            self.flights.len() - 1
        });
        self.sent += 1;
        self.limits.push_back((job.arrival.at + self.drive.timeout, slot, self.sent));
        let flight = Flight { job, link: 0, sent: self.now(), number: self.sent };
        self.flights[slot] = Some(flight);
        self.send(slot);
    }

    /// Whether a request can go out now, over a connection that is there or another.
    fn has_link(&self) -> bool {
        self.links.iter().filter(|link| link.is_some()).count() < self.links_max
            || self.links.iter().flatten().any(Link::is_free)
    }

    /// Sends the request of a slot.
    fn send(&mut self, slot: usize) {
        let at = match self.link() {
            Ok(at) => at,
            Err(error) => {
                let outcome = Err(Failure::connection(error));
                self.done.push(Done { slot, outcome });
                return;
            }
        };
        let Some(flight) = self.flights[slot].as_mut() else { return };
        flight.link = at;
        let body = &self.drive.bodies[flight.job.arrival.model as usize][flight.job.body];
        let Some(link) = self.links[at].as_mut() else { return };
        link.infer(slot, body);
        if let Err(error) = link.send() {
            self.lose(at, &Failure::connection(error));
        }
    }

    /// The first connection that is free, or a new one.
    fn link(&mut self) -> std::io::Result<usize> {
        let is_free = |link: &Option<Link>| link.as_ref().is_some_and(Link::is_free);
        if let Some(at) = self.links.iter().position(is_free) {
            return Ok(at);
        }
        let link = Link::begin(&self.drive.target)?;
        let at = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        self.events.add(&link.stream, at)?;
        if at == self.links.len() {
            self.links.push(None);
        }
        self.links[at] = Some(link);
        Ok(at)
    }

    /// Sends and reads what a connection has ready.
    fn serve(&mut self, ready: Ready) {
        let Some(link) = self.links.get_mut(ready.index).and_then(Option::as_mut) else { return };
        if let Err(error) = link.send() {
            self.lose(ready.index, &Failure::connection(error));
            return;
        }
        loop {
            match link.receive(&mut self.buffer, &mut self.done) {
                // Of a connection that has ended, all is read: it tells no more of itself.
                Ok(Received::Some) if ready.ended => {}
                Ok(Received::Full) => {}
                Ok(_) => break,
                Err(failure) => {
                    self.lose(ready.index, &failure);
                    return;
                }
            }
        }
        // What answers made ready to send: acknowledgements, and data that now may go out.
        if let Err(error) = link.send() {
            self.lose(ready.index, &Failure::connection(error));
        }
    }

    /// A connection cannot be used any more.
    fn lose(&mut self, at: usize, why: &Failure) {
        if let Some(mut link) = self.links[at].take() {
            link.fail(why, &mut self.done);
        }
    }

    /// Notes what became of requests, and sends those that waited for them.
    fn settle(&mut self) {
        loop {
            while let Some(Done { slot, outcome }) = self.done.pop() {
                self.finish(slot, outcome.map(drop));
            }
            if self.backlog.is_empty()
                || self.flights.len() - self.free.len() >= self.flights_max
                || !self.has_link()
            {
                return;
            }
            if let Some(job) = self.backlog.pop_front() {
                self.begin(job);
            }
        }
    }

    fn finish(&mut self, slot: usize, outcome: Result<(), Failure>) {
        let done = self.now();
        let Some(flight) = self.flights[slot].as_mut() else { return };
        let arrival = flight.job.arrival;
        match outcome {
            Ok(()) => {
                let moments = Moments { due: arrival.at, sent: flight.sent, done };
                self.tally.answered(arrival.model, moments, self.drive.slo);
            }
            Err(failure) if failure.stale && !flight.job.again => {
                flight.job.again = true;
                self.send(slot);
                return;
            }
            Err(failure) => self.tally.failed(arrival.model, failure),
        }
        self.flights[slot] = None;
        self.free.push(slot);
        // Those that were answered need no limit any more.
        while let Some(&(_, slot, number)) = self.limits.front() {
            if self.flights[slot].as_ref().is_some_and(|flight| flight.number == number) {
                break;
            }
            self.limits.pop_front();
        }
    }

    /// Gives up what has taken too long.
    fn give_up(&mut self) {
        let now = self.now();
        while let Some(&(limit, slot, number)) = self.limits.front() {
            if limit > now {
                break;
            }
            self.limits.pop_front();
            let flight = self.flights[slot].as_ref().filter(|flight| flight.number == number);
            let Some(at) = flight.map(|flight| flight.link) else { continue };
            self.done.push(Done { slot, outcome: Err(Failure::timeout()) });
            let cancelled = match self.links[at].as_mut() {
                Some(link) => link.cancel(slot) && link.send().is_ok(),
                None => true,
            };
            if !cancelled {
                self.links[at] = None;
            }
        }
        let timeout = self.drive.timeout;
        while let Some(job) = self.backlog.pop_front_if(|job| job.arrival.at + timeout <= now) {
            self.tally.failed(job.arrival.model, Failure::not_sent());
        }
        self.settle();
    }

    /// Time since the beginning of the run; zero before it.
    fn now(&self) -> Time {
        Instant::now().saturating_duration_since(self.start).into()
    }
}
