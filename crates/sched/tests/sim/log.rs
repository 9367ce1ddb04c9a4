//! The log of a simulation: every event with the commands it led to, folded into one number.

use std::fmt::{self, Write};
use sublet_sched::{Command, Event};
use sublet_units::Time;

/// FNV-1a over the log's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log(u64);

impl Default for Log {
    fn default() -> Self {
        Log(0xcbf2_9ce4_8422_2325)
    }
}

impl Log {
    pub fn record(&mut self, now: Time, event: &Event, commands: &[Command]) {
        writeln!(self, "{} {event:?} {commands:?}", now.0).expect("a hash takes everything");
    }

    pub fn hash(self) -> u64 {
        self.0
    }
}

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
