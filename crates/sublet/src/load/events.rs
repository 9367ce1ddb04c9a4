//! Waiting for sockets and for a moment, whichever is first: one call, and another only when the moment changes.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::time::{Duration, Instant};

/// Events taken in one call.
const EVENTS_MAX: usize = 64;
/// The timer among the sockets.
const TIMER: u64 = u64::MAX;
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

pub struct Events {
    epoll: OwnedFd,
    /// With nanosecond settings and no slack, where a wait's own limit is late by the thread's slack.
    timer: OwnedFd,
    armed: Option<Instant>,
}

/// A socket that something happened to.
#[derive(Clone, Copy)]
pub struct Ready {
    /// As the socket was added.
    pub index: usize,
    /// The other side sends no more, or the connection failed.
    pub ended: bool,
}

impl Events {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Told once per expiry, the timer need never be read.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Events { epoll, timer, armed: None })
    }

    /// Tells of a socket when it can be read or written anew; until it is closed.
    pub fn add(&self, socket: impl AsFd, index: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(index as u64), flags)?)
    }

    /// Waits for sockets, at most until `until`, and not at all once that is past; without it, for sockets alone.
    pub fn wait(&mut self, until: Option<Instant>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let limit = left.filter(Duration::is_zero).map(|_| &NO_TIME);
        if limit.is_none() && until != self.armed {
            self.set(left.unwrap_or_default())?;
            self.armed = until;
        }
        let mut events =
            [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS_MAX];
        let count = match epoll::wait(&self.epoll, &mut events[..], limit) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for &Event { flags, data } in &events[..count] {
            let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
            match data.u64() {
                TIMER => {}
                index => {
                    ready.push(Ready { index: index as usize, ended: flags.intersects(ended) });
                }
            }
        }
        Ok(())
    }

    /// Sets the timer; no time at all stops it.
    fn set(&self, left: Duration) -> io::Result<()> {
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: NO_TIME, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}
