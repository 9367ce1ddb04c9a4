//! Threads that help lanes to copy inputs into pinned memory: one core copies less than a quarter of what the link carries.
//!
//! Only threads that are awake are asked, since waking one takes longer than most copies; whoever copies may do it all.

use crate::lane::IDLE_SPINS;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

/// Fewer bytes are copied at once by whoever asks.
pub const BYTES_MIN: usize = 64 << 10;

/// What a thread takes at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// More threads than this share what one core's caches and the memory can give.
const COUNT_MAX: usize = 2;

/// Cores of a machine for each such thread: all of a device's threads spin for a while when they have nothing to do.
const CORES_EACH: usize = 8;

/// Where the threads are asked.
pub struct Copiers(Vec<Asked>);

struct Asked {
    is_awake: Arc<AtomicBool>,
    /// `None`: only to wake up.
    jobs: Sender<Option<Arc<Job>>>,
}

/// One of the threads; it ends when all [`Copiers`] are gone.
pub struct Copier {
    is_awake: Arc<AtomicBool>,
    jobs: Receiver<Option<Arc<Job>>>,
}

/// A copy that several threads share. Nobody touches the memory once all of it was taken and nothing is left.
struct Job {
    from: *const u8,
    to: *mut u8,
    bytes: usize,
    /// The first byte that nobody has taken.
    next: AtomicUsize,
    /// Bytes that are not copied yet.
    left: AtomicUsize,
}

// SAFETY: the memory is reached only as `Copiers::copy` describes.
unsafe impl Send for Job {}
// SAFETY: as above; chunks do not overlap.
unsafe impl Sync for Job {}

/// As many threads as a machine of so many cores can spare.
pub fn count_for(cores: usize) -> usize {
    (cores / CORES_EACH).min(COUNT_MAX)
}

/// `count` threads' two ends.
pub fn copiers(count: usize) -> (Copiers, Vec<Copier>) {
    let pairs = (0..count).map(|_| {
        let is_awake = Arc::new(AtomicBool::new(true));
        let (asking, jobs) = channel();
        (Asked { is_awake: is_awake.clone(), jobs: asking }, Copier { is_awake, jobs })
    });
    let (asked, copiers) = pairs.unzip();
    (Copiers(asked), copiers)
}

impl Copiers {
    /// Copies `from` to `to`, which is as long. The caller's thread does `meanwhile` first, when the others have begun.
    pub fn copy(&self, to: &mut [u8], from: &[u8], meanwhile: impl FnOnce()) {
        assert_eq!(to.len(), from.len(), "what is copied has one length");
        let mut awake =
            self.0.iter().filter(|asked| asked.is_awake.load(Ordering::Relaxed)).peekable();
        if from.len() < BYTES_MIN || awake.peek().is_none() {
            meanwhile();
            return to.copy_from_slice(from);
        }
        let job = Arc::new(Job {
            from: from.as_ptr(),
            to: to.as_mut_ptr(),
            bytes: from.len(),
            next: AtomicUsize::new(0),
            left: AtomicUsize::new(from.len()),
        });
        for asked in awake {
            // One that has ended takes nothing.
            let _ = asked.jobs.send(Some(job.clone()));
        }
        // Whatever happens here, the others must be done with both slices before this call ends.
        let shared = Shared(&job);
        meanwhile();
        drop(shared);
    }

    /// Wakes those that sleep: copies are likely to follow one another.
    pub fn rouse(&self) {
        for asked in self.0.iter().filter(|asked| !asked.is_awake.load(Ordering::Relaxed)) {
            let _ = asked.jobs.send(None);
        }
    }
}

/// A job that others have been asked to do; dropping it does the rest of it and waits for them.
struct Shared<'a>(&'a Job);

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        self.0.work();
        // What the others took. From here on a job in somebody's hands has nothing to take.
        while self.0.left.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
        }
    }
}

impl Copier {
    /// Copies what it is asked to until nobody can ask any more.
    pub fn run(self) {
        loop {
            match self.next() {
                Ok(Some(job)) => job.work(),
                Ok(None) => {}
                Err(()) => return,
            }
        }
    }

    fn next(&self) -> Result<Option<Arc<Job>>, ()> {
        for _ in 0..IDLE_SPINS {
            match self.jobs.try_recv() {
                Ok(next) => return Ok(next),
                Err(TryRecvError::Disconnected) => return Err(()),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
            }
        }
        self.is_awake.store(false, Ordering::Relaxed);
        let next = self.jobs.recv();
        self.is_awake.store(true, Ordering::Relaxed);
        next.map_err(|_| ())
    }
}

impl Job {
    fn work(&self) {
        loop {
            let at = self.next.fetch_add(CHUNK_BYTES, Ordering::Relaxed);
            if at >= self.bytes {
                return;
            }
            let len = CHUNK_BYTES.min(self.bytes - at);
            // SAFETY: this thread alone took these bytes, which lie within both slices of `Copiers::copy`; that call
            // returns, and its borrows end, only when `left` is zero, thus after the line below.
            unsafe { std::ptr::copy_nonoverlapping(self.from.add(at), self.to.add(at), len) };
            self.left.fetch_sub(len, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    #[test]
    fn copies_all_bytes_with_and_without_help() {
        for count in 0..4 {
            let (copiers, threads) = copiers(count);
            std::thread::scope(|scope| {
                for thread in threads {
                    scope.spawn(|| thread.run());
                }
                for len in [0, 1, BYTES_MIN - 1, BYTES_MIN, BYTES_MIN + 1, 301_056, 3_000_001] {
                    for _ in 0..20 {
                        let (from, mut to) = (bytes(len), vec![0; len]);
                        let mut done = 0;
                        copiers.copy(&mut to, &from, || done += 1);
                        assert!(to == from, "{len} bytes, {count} threads");
                        assert_eq!(done, 1);
                        copiers.rouse();
                    }
                }
                drop(copiers);
            });
        }
    }

    #[test]
    fn a_thread_that_never_comes_holds_nothing_up() {
        let (copiers, threads) = copiers(2);
        let (from, mut to) = (bytes(300_000), vec![0; 300_000]);
        copiers.copy(&mut to, &from, || {});
        assert!(to == from);
        drop(copiers);
        // It finds the job in its queue, and nothing left to take.
        threads.into_iter().for_each(Copier::run);
    }

    #[test]
    fn small_machines_get_none() {
        assert_eq!([2, 7, 8, 16, 64].map(count_for), [0, 0, 1, 2, 2]);
    }
}
