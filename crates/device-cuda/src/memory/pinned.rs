//! Images pinned in host memory, in the background.

use crate::driver::{CudaError, HostBlock, Registration};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use sublet_device::{DeviceError, Image};

/// Images smaller than this share memory pages with other data, and are copied to pinned memory instead.
const COPIED_BYTES_MAX: usize = 1 << 20;

/// A model's image, pinned once for all devices, at the latest when somebody waits for it.
pub struct PinnedImage {
    pub image: Arc<Image>,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Waiting,
    /// Somebody is at it.
    Pinning,
    Pinned(Pinned),
    Failed(CudaError),
}

enum Pinned {
    Empty,
    Copied(HostBlock),
    Registered(Registration<ImageBytes>),
}

struct ImageBytes(Arc<Image>);

impl AsRef<[u8]> for ImageBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl PinnedImage {
    fn new(image: Arc<Image>) -> Self {
        PinnedImage { image, state: Mutex::new(State::Waiting), changed: Condvar::new() }
    }

    /// The address of the first byte, pinning the image now if that was not done yet. The memory stays until this
    /// value is dropped.
    pub fn start(&self) -> Result<*const u8, DeviceError> {
        let mut state = self.lock();
        loop {
            match &*state {
                State::Waiting => {
                    drop(state);
                    self.pin();
                    state = self.lock();
                }
                State::Pinning => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                State::Pinned(Pinned::Empty) => return Ok(std::ptr::null()),
                State::Pinned(Pinned::Copied(block)) => return Ok(block.as_ptr()),
                State::Pinned(Pinned::Registered(registered)) => {
                    return Ok(registered.bytes().as_ptr());
                }
                State::Failed(error) => return Err(error.clone().at("pinning host memory")),
            }
        }
    }

    /// Pins the image unless somebody did or does.
    fn pin(&self) {
        {
            let mut state = self.lock();
            if !matches!(*state, State::Waiting) {
                return;
            }
            *state = State::Pinning;
        }
        let pinned = pin(&self.image);
        *self.lock() = match pinned {
            Ok(pinned) => State::Pinned(pinned),
            Err(error) => State::Failed(error),
        };
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pin(image: &Arc<Image>) -> Result<Pinned, CudaError> {
    let bytes: &[u8] = &image.bytes;
    if bytes.is_empty() {
        return Ok(Pinned::Empty);
    }
    if bytes.len() < COPIED_BYTES_MAX {
        let mut block = HostBlock::new(bytes.len())?;
        block.as_mut().copy_from_slice(bytes);
        return Ok(Pinned::Copied(block));
    }
    Ok(Pinned::Registered(Registration::new(ImageBytes(image.clone()))?))
}

/// Keeps every image pinned once, however many devices use it, and pins in the background in the order of attaching.
#[derive(Default)]
pub struct Pinner {
    images: Mutex<Vec<Weak<PinnedImage>>>,
    queue: Mutex<VecDeque<Weak<PinnedImage>>>,
    wanted: Condvar,
}

impl Pinner {
    /// The pinned form of an image, which is queued for pinning when it is new.
    pub fn image(&self, image: Arc<Image>) -> Arc<PinnedImage> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.retain(|known| known.strong_count() > 0);
        let known = images.iter().filter_map(Weak::upgrade);
        if let Some(pinned) = known.into_iter().find(|known| Arc::ptr_eq(&known.image, &image)) {
            return pinned;
        }
        let pinned = Arc::new(PinnedImage::new(image));
        images.push(Arc::downgrade(&pinned));
        drop(images);
        self.queue().push_back(Arc::downgrade(&pinned));
        self.wanted.notify_one();
        pinned
    }

    /// Pins what is queued until [`Pinner::end`]. The caller's thread has a context current.
    pub fn run(&self, ended: &AtomicBool) {
        loop {
            let next = {
                let mut queue = self.queue();
                loop {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Some(next) = queue.pop_front() {
                        break next;
                    }
                    queue = self.wanted.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            if let Some(image) = next.upgrade() {
                image.pin();
            }
        }
    }

    /// Ends the thread that runs with `ended`; those of other devices go on.
    pub fn end(&self, ended: &AtomicBool) {
        // Under the lock, so that the thread is not between looking and waiting.
        let queue = self.queue();
        ended.store(true, Ordering::Relaxed);
        drop(queue);
        self.wanted.notify_all();
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Weak<PinnedImage>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;
    use sublet_device::AlignedBuffer;
    use sublet_plan::Layout;
    use sublet_units::Bytes;

    /// Without weights: nothing of it needs a driver.
    fn image() -> Arc<Image> {
        let layout = Layout { weights: Vec::new(), segments: Vec::new(), bytes: Bytes(0) };
        Arc::new(Image { layout, bytes: AlignedBuffer::zeroed(0), weights: Vec::new() })
    }

    #[test]
    fn devices_share_what_is_pinned() {
        let pinner = Pinner::default();
        let (one, other) = (image(), image());
        let pinned = pinner.image(one.clone());
        assert!(Arc::ptr_eq(&pinned, &pinner.image(one)), "the second device gets the same");
        assert!(!Arc::ptr_eq(&pinned, &pinner.image(other)));
    }

    #[test]
    fn pinning_goes_on_for_the_device_that_is_left() {
        let pinner = Arc::new(Pinner::default());
        let flags: [Arc<AtomicBool>; 2] = Default::default();
        let (told, heard) = channel();
        let threads = flags.clone().map(|ended| {
            let (pinner, told) = (pinner.clone(), told.clone());
            thread::spawn(move || {
                pinner.run(&ended);
                told.send(()).expect("the test listens");
            })
        });
        pinner.end(&flags[0]);
        heard.recv().expect("one thread ends");
        let pinned = pinner.image(image());
        while !matches!(*pinned.lock(), State::Pinned(_)) {
            thread::yield_now();
        }
        pinner.end(&flags[1]);
        heard.recv().expect("and the other");
        for thread in threads {
            thread.join().expect("no thread panics");
        }
    }
}
