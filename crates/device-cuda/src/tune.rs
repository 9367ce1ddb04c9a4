//! Choices among algorithms, measured once and kept.
//!
//! A [`Problem`] says what has to be computed and which choices there are. [`Tuning::choose`] answers from what it
//! remembers; otherwise it runs every choice on memory of its own, takes the fastest, and writes that down, so that a
//! plan is lowered to the same algorithms whenever and on whichever lane it is lowered.

mod bench;

use crate::cache::Cache;
use crate::driver::{Address, Context, CudaError, Stream};
use crate::program::Enqueue;
use bench::Bench;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use sublet_graph::DType;

/// Something that can be computed in several ways.
pub trait Problem {
    /// What tells one way from the others, for as long as driver, libraries and device stay the same.
    type Choice: Serialize + DeserializeOwned + Clone;

    /// Everything that the choice depends on: operation, shapes, types, layouts, alignments, precision.
    fn key(&self) -> String;

    /// Bytes and element type of each operand that a trial reads or writes.
    fn operands(&self) -> Vec<(usize, DType)>;

    /// The ways there are, best first as far as is known without measuring. Each is deterministic.
    ///
    /// # Errors
    /// When the device is lost.
    fn choices(&self) -> Result<Vec<Self::Choice>, CudaError>;

    /// Bytes of scratch memory that a choice needs.
    fn scratch_bytes(&self, choice: &Self::Choice) -> usize;

    /// What a choice puts on a stream, in order; `operands` as [`Problem::operands`] lists them.
    ///
    /// # Errors
    /// `Unsupported` when it cannot be done so.
    fn calls(
        &self,
        choice: &Self::Choice,
        operands: &[Address],
        scratch: Address,
    ) -> Result<Vec<Box<dyn Enqueue>>, CudaError>;
}

/// What was chosen for each problem on one kind of device.
pub struct Tuning {
    context: Arc<Context>,
    cache: Arc<dyn Cache>,
    file: String,
    choices: Mutex<BTreeMap<String, Kept>>,
    /// Held while measuring, so that measurements do not disturb each other.
    bench: Mutex<Bench>,
    /// The thread that holds it.
    measuring: Mutex<Option<ThreadId>>,
    /// Problems whose choice has run in this process: its kernels are loaded.
    loaded: Mutex<HashSet<String>>,
}

/// A choice as it is written down, and what it was chosen from.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    choice: serde_json::Value,
    /// Of the chosen one, and of the second best.
    measured_ns: u64,
    second_ns: Option<u64>,
    /// How many could be measured.
    among: usize,
}

impl Tuning {
    /// What `cache` holds for this kind of device, driver and libraries.
    pub fn new(context: Arc<Context>, cache: Arc<dyn Cache>) -> Tuning {
        let file = file_name(&context);
        let kept = cache.get(&file).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Tuning {
            context,
            cache,
            file,
            choices: Mutex::new(kept.unwrap_or_default()),
            bench: Mutex::new(Bench::default()),
            measuring: Mutex::new(None),
            loaded: Mutex::new(HashSet::new()),
        }
    }

    /// The fastest choice, from memory or measured on `stream`. Its kernels are loaded when this returns, so that it
    /// may be captured.
    ///
    /// # Errors
    /// `Unsupported` when no choice works.
    pub fn choose<P: Problem>(&self, problem: &P, stream: &Stream) -> Result<P::Choice, CudaError> {
        self.context.make_current()?;
        let key = problem.key();
        if let Some(choice) = self.remembered::<P>(&key)
            && self.load(problem, &key, &choice, stream)?
        {
            return Ok(choice);
        }
        let mut bench = self.bench()?;
        // Another lane may have measured it meanwhile.
        if let Some(choice) = self.remembered::<P>(&key)
            && locked(&self.loaded).contains(&key)
        {
            return Ok(choice);
        }
        let (choice, kept) = measure(problem, &key, &mut bench.held, stream)?;
        let mut choices = locked(&self.choices);
        choices.insert(key.clone(), kept);
        let bytes = serde_json::to_vec(&*choices).expect("choices can be written as JSON");
        drop(choices);
        self.cache.put(&self.file, &bytes);
        locked(&self.loaded).insert(key);
        Ok(choice)
    }

    /// The bench, for one at a time.
    ///
    /// # Errors
    /// `Unsupported` on the thread that has it: what is being measured must not be measured for.
    fn bench(&self) -> Result<Held<'_>, CudaError> {
        if *locked(&self.measuring) == Some(thread::current().id()) {
            let text = "a choice within a choice was not made before";
            return Err(CudaError::unsupported("choosing an algorithm", text));
        }
        let held = locked(&self.bench);
        *locked(&self.measuring) = Some(thread::current().id());
        Ok(Held { held, measuring: &self.measuring })
    }

    fn remembered<P: Problem>(&self, key: &str) -> Option<P::Choice> {
        let kept = locked(&self.choices).get(key)?.choice.clone();
        serde_json::from_value(kept).ok()
    }

    /// Runs a remembered choice once in each process, before it may be captured. False when it does not work any more.
    fn load<P: Problem>(
        &self,
        problem: &P,
        key: &str,
        choice: &P::Choice,
        stream: &Stream,
    ) -> Result<bool, CudaError> {
        if locked(&self.loaded).contains(key) {
            return Ok(true);
        }
        let mut bench = self.bench()?;
        let operands = bench.held.operands(&problem.operands(), stream)?;
        let scratch = bench.held.scratch(problem.scratch_bytes(choice));
        let calls = scratch.and_then(|scratch| problem.calls(choice, &operands, scratch));
        let run = calls.and_then(|calls| {
            calls.iter().try_for_each(|call| call.enqueue(stream))?;
            stream.synchronize()
        });
        bench.held.shrink();
        match run {
            Ok(()) => {
                locked(&self.loaded).insert(key.to_owned());
                Ok(true)
            }
            Err(error) => {
                if !error.is_unsupported() {
                    stream.synchronize()?;
                }
                Ok(false)
            }
        }
    }
}

/// The bench while a thread has it.
struct Held<'a> {
    held: MutexGuard<'a, Bench>,
    measuring: &'a Mutex<Option<ThreadId>>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *locked(self.measuring) = None;
    }
}

fn measure<P: Problem>(
    problem: &P,
    key: &str,
    bench: &mut Bench,
    stream: &Stream,
) -> Result<(P::Choice, Kept), CudaError> {
    let operands = bench.operands(&problem.operands(), stream)?;
    let mut best: Option<(u64, P::Choice)> = None;
    let (mut second_ns, mut among) = (None, 0);
    let mut refused = None;
    for choice in problem.choices()? {
        let limit_ns = best.as_ref().map(|(ns, _)| *ns);
        // A choice whose scratch memory is not to be had is only not chosen.
        let measured = bench
            .scratch(problem.scratch_bytes(&choice))
            .and_then(|scratch| problem.calls(&choice, &operands, scratch))
            .and_then(|calls| bench.time(&calls, stream, limit_ns));
        let ns = match measured {
            Ok(Some(ns)) => ns,
            Ok(None) => {
                among += 1;
                continue;
            }
            Err(error) => {
                // What fails without harm to the device is only not chosen.
                if !error.is_unsupported() {
                    stream.synchronize()?;
                }
                refused = Some(error);
                continue;
            }
        };
        among += 1;
        match &best {
            Some((best_ns, _)) if ns >= *best_ns => {
                second_ns = Some(second_ns.map_or(ns, |second: u64| second.min(ns)));
            }
            _ => {
                second_ns = best.as_ref().map(|(ns, _)| *ns).or(second_ns);
                best = Some((ns, choice));
            }
        }
    }
    bench.shrink();
    let Some((measured_ns, choice)) = best else {
        let why = refused.map_or_else(|| "none is offered".to_owned(), |error| error.to_string());
        return Err(CudaError::unsupported(format!("choosing an algorithm for {key}"), why));
    };
    let value = serde_json::to_value(&choice).expect("a choice can be written as JSON");
    Ok((choice, Kept { choice: value, measured_ns, second_ns, among }))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names what choices are valid for: device, driver, libraries, and this crate's own kernels.
fn file_name(context: &Context) -> String {
    let version = |version: Option<usize>| version.map_or("none".to_owned(), |v| v.to_string());
    let properties = &context.properties;
    let text = format!(
        "choices-{}-{}sm-driver{}-blas{}-dnn{}-{}.json",
        properties.name,
        properties.multiprocessors,
        properties.driver_version,
        version(crate::blas::version()),
        version(crate::dnn::version()),
        env!("CARGO_PKG_VERSION"),
    );
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}
