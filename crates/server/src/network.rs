//! The threads that connections live on. Each runs its connections alone, so that a request is read, decoded and answered
//! without a word to another thread of the server; and it may poll for a while after each request instead of sleeping,
//! since waking a sleeping thread takes longer than many models run.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};

/// Runs connections. Dropping it cuts off what is left of them.
pub(crate) struct Network {
    threads: Vec<NetworkThread>,
}

struct NetworkThread {
    runtime: Handle,
    /// Connections that live here.
    connections: Arc<AtomicUsize>,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    joined: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts the threads. `polling` is how long one looks for more after a request or an answer before it sleeps.
    ///
    /// # Errors
    /// When the system gives no thread, or no descriptors for one.
    pub fn start(threads: NonZeroUsize, polling: Duration) -> io::Result<Arc<Self>> {
        let threads = (0..threads.get()).map(|index| NetworkThread::start(index, polling));
        Ok(Arc::new(Network { threads: threads.collect::<io::Result<_>>()? }))
    }

    /// Runs a connection where the fewest are. Its sockets and timers must be made within the future.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let thread = self
            .threads
            .iter()
            .min_by_key(|thread| thread.connections.load(Ordering::Relaxed))
            .expect("there is at least one thread");
        let counted = Counted::new(&thread.connections);
        thread.runtime.spawn(async move {
            let _counted = counted;
            connection.await;
        });
    }
}

impl NetworkThread {
    fn start(index: usize, polling: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let joined =
            std::thread::Builder::new().name(format!("network {index}")).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = keep_looking(polling) => {}
                    }
                });
                // What still blocks, such as the load of a model, may take its time.
                runtime.shutdown_background();
            })?;
        let connections = Arc::new(AtomicUsize::new(0));
        Ok(NetworkThread { runtime: handle, connections, stop: Some(stop), joined: Some(joined) })
    }
}

impl Drop for NetworkThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(joined) = self.joined.take()
            && joined.thread().id() != std::thread::current().id()
        {
            // A panic of that thread has been reported by itself.
            let _ = joined.join();
        }
    }
}

/// One connection more, until dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When a network thread last had something to do.
struct Activity {
    last: Cell<Option<Instant>>,
    /// Wakes the poller of a thread that slept.
    began: Notify,
}

thread_local! {
    static ACTIVITY: RefCell<Option<Rc<Activity>>> = const { RefCell::new(None) };
}

/// Notes that a request came in or was answered on this thread; on threads that are not the network's, nothing.
pub(crate) fn note_activity() {
    ACTIVITY.with_borrow(|activity| {
        if let Some(activity) = activity
            && activity.last.replace(Some(Instant::now())).is_none()
        {
            activity.began.notify_one();
        }
    });
}

/// Keeps this thread from sleeping for `polling` after each activity.
async fn keep_looking(polling: Duration) {
    if polling.is_zero() {
        return std::future::pending().await;
    }
    let activity = Rc::new(Activity { last: Cell::new(None), began: Notify::new() });
    ACTIVITY.set(Some(activity.clone()));
    loop {
        activity.began.notified().await;
        while activity.last.get().is_some_and(|last| last.elapsed() < polling) {
            // Lets the runtime look at its sockets and at what other threads woke, without waiting for either.
            tokio::task::yield_now().await;
        }
        activity.last.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).expect("above 0")
    }

    #[test]
    fn spreads_connections_over_threads() {
        let network = Network::start(threads(3), Duration::ZERO).expect("threads");
        let (told, heard) = std::sync::mpsc::channel();
        let mut holds = Vec::new();
        for _ in 0..6 {
            let (hold, held) = oneshot::channel::<()>();
            let told = told.clone();
            network.spawn(async move {
                told.send(std::thread::current().id()).expect("the test listens");
                let _ = held.await;
            });
            holds.push(hold);
        }
        let mut counts = std::collections::HashMap::new();
        for _ in 0..6 {
            *counts.entry(heard.recv().expect("each connection runs")).or_insert(0) += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [2, 2, 2]);
    }

    #[test]
    fn a_polling_thread_serves_and_ends() {
        let network = Network::start(threads(1), Duration::from_secs(3600)).expect("a thread");
        let (told, heard) = std::sync::mpsc::channel();
        for turn in 0..3 {
            let told = told.clone();
            network.spawn(async move {
                note_activity();
                tokio::time::sleep(Duration::from_millis(1)).await;
                told.send(turn).expect("the test listens");
            });
            assert_eq!(heard.recv(), Ok(turn));
        }
        drop(network);
        drop(told);
        assert!(heard.recv().is_err(), "nothing of it is left");
    }
}
