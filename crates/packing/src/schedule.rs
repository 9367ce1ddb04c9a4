//! The answer: which partitions every GPU has, and what runs in each.

use sublet_units::Time;

/// One model's runs in a partition: every `duty` a batch of what has arrived meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Index into the problem's tasks.
    pub task: usize,
    /// Requests per second that this run serves; with a split model, its share.
    pub rate: f64,
    /// The most requests that a run takes.
    pub batch: u32,
    /// How long requests are gathered: a request waits at most this long before its batch is ready.
    pub duty: Time,
}

/// A part of a GPU and the models that share it in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    pub size: u32,
    pub runs: Vec<Run>,
}

/// Partitions of every GPU, in the order of [`Problem::kinds`](crate::Problem::kinds). A GPU without partitions is not used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    pub gpus: Vec<Vec<Partition>>,
}

impl Schedule {
    pub fn gpus_used(&self) -> usize {
        self.gpus.iter().filter(|partitions| !partitions.is_empty()).count()
    }
}

/// What is known about the number of GPUs of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// No schedule under these rules uses fewer.
    Exact,
    /// No schedule under these rules uses fewer than this; whether one uses fewer than the schedule is not known.
    AtLeast(usize),
}

/// A schedule with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Packing {
    pub schedule: Schedule,
    pub proof: Proof,
    /// Slowdown that every partition could bear beyond the predicted one: 0.1 means that runs may take another tenth of
    /// their latency alone. Not told apart beyond 0.5.
    pub slack: f64,
    /// Models that must be brought to a GPU that does not run them now.
    pub moves: usize,
}

/// Why there is no schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// This task fits no partition of any GPU, even alone.
    Task { task: usize, why: String },
    /// No schedule uses fewer GPUs than this, which is more than there are.
    NeedsAtLeast { gpus: usize, given: usize },
    /// None was found; whether there is one is not known. At least this many GPUs are needed.
    NotFound { gpus_least: usize, given: usize },
}

/// What a solver says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Packed(Packing),
    Refused(Refusal),
}

impl Answer {
    pub fn packing(&self) -> Option<&Packing> {
        match self {
            Answer::Packed(packing) => Some(packing),
            Answer::Refused(_) => None,
        }
    }
}
