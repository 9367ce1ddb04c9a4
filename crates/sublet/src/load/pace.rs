//! Waiting for a moment more exactly than the runtime's timer, which counts milliseconds.

use anyhow::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A wait shorter than this is over before it could be asked for.
const SHORT: Duration = Duration::from_micros(3);

/// A timer of the kernel with nanosecond settings and no slack.
pub struct Pacer {
    timer: AsyncFd<OwnedFd>,
}

impl Pacer {
    pub fn new() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("a timer")?;
        // An owned descriptor stays open for as long as it is registered, which is all that the newer, unsafe function
        // would have us promise.
        #[expect(deprecated)]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE).context("a timer")?;
        Ok(Pacer { timer })
    }

    /// Returns at `due`, or at once when that is past. False when there was nothing to wait for.
    pub async fn wait_until(&self, due: Instant) -> Result<bool> {
        let left = due.saturating_duration_since(Instant::now());
        if left < SHORT {
            return Ok(false);
        }
        let value = Timespec {
            tv_sec: left.as_secs().try_into().context("a wait of centuries")?,
            tv_nsec: left.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // Setting the timer again takes its last expiry back, so that there is no need to read it.
        loop {
            self.timer.readable().await?.clear_ready();
            if Instant::now() >= due {
                return Ok(true);
            }
        }
    }
}
