//! Choices among algorithms, measured once and kept.

use crate::cache::Cache;
use crate::driver::Context;
use std::sync::Arc;

/// What was chosen for each problem on one kind of device.
pub struct Tuning {
    #[allow(unused)]
    context: Arc<Context>,
    #[allow(unused)]
    cache: Arc<dyn Cache>,
}

impl Tuning {
    pub fn new(context: Arc<Context>, cache: Arc<dyn Cache>) -> Tuning {
        Tuning { context, cache }
    }
}
