//! What the scheduler commands in given states, one rule at a time, as text.

mod faults;
mod fifo_lru;
mod memory;
mod order;
mod queueing;
mod script;
