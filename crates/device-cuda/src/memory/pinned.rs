//! Images pinned in host memory, in the background.

use crate::driver::{CudaError, HostBlock, Registration};
use std::collections::VecDeque;
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
    queue: Mutex<Queue>,
    wanted: Condvar,
}

#[derive(Default)]
struct Queue {
    images: VecDeque<Weak<PinnedImage>>,
    stopped: bool,
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
        self.queue().images.push_back(Arc::downgrade(&pinned));
        self.wanted.notify_one();
        pinned
    }

    /// Pins what is queued until [`Pinner::stop`]. The caller's thread has a context current.
    pub fn run(&self) {
        loop {
            let next = {
                let mut queue = self.queue();
                loop {
                    if queue.stopped {
                        return;
                    }
                    if let Some(next) = queue.images.pop_front() {
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

    pub fn stop(&self) {
        self.queue().stopped = true;
        self.wanted.notify_all();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
