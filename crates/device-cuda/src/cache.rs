//! Results that are worth keeping between processes: compiled kernels and measured choices.

/// Keeps bytes by name. A name is a valid file name. What it returns may be missing, but is never something else than
/// was put under that name.
pub trait Cache: Send + Sync {
    fn get(&self, name: &str) -> Option<Vec<u8>>;
    fn put(&self, name: &str, bytes: &[u8]);
}

/// Keeps nothing.
pub struct NoCache;

impl Cache for NoCache {
    fn get(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }

    fn put(&self, _name: &str, _bytes: &[u8]) {}
}
