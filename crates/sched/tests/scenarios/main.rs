//! What the scheduler commands in given states, one rule at a time, as text.

mod ahead;
mod deepplan;
mod faults;
mod fifo_lru;
mod gpulet;
mod memory;
mod order;
mod peers;
mod promises;
mod queueing;
mod script;
mod torpor;
