//! Where operators put their work: the emitter of a lane or, in tests, a machine that only pretends to be a device.

use crate::driver::{Address, LaunchShape};
use crate::lower::{Emitter, LowerError};
use crate::program::Argument;

/// One launch of a kernel, as source.
#[derive(Clone, Debug)]
pub struct Launch {
    /// For traces.
    pub name: String,
    /// What stands after the prelude. Defines the kernel [`Launch::entry`].
    pub source: String,
    pub entry: &'static str,
    pub shape: LaunchShape,
    /// Match the kernel's parameters in type and order.
    pub arguments: Vec<Argument>,
}

/// What operators need of an [`Emitter`].
pub trait Target {
    fn launch(&mut self, launch: Launch) -> Result<(), LowerError>;
    fn copy(&mut self, to: Address, from: Address, bytes: usize);
    fn fill(&mut self, to: Address, value: u8, bytes: usize);
    /// As [`Emitter::scratch`].
    fn scratch(&mut self, bytes: usize) -> Address;
    /// As [`Emitter::fault`].
    fn fault(&mut self, what: &str) -> (Address, u32);
}

/// What stands before every kernel.
pub const PRELUDE: &str =
    concat!(include_str!("../../kernels/prelude.cuh"), include_str!("../../kernels/functions.cuh"));

impl Target for Emitter<'_> {
    fn launch(&mut self, launch: Launch) -> Result<(), LowerError> {
        let source = [PRELUDE, &launch.source].concat();
        let shared_bytes = launch.shape.shared_bytes;
        let function = self.gpu.jit.function(&source, launch.entry, shared_bytes)?;
        self.kernel(&function, &launch.name, launch.shape, launch.arguments);
        Ok(())
    }

    fn copy(&mut self, to: Address, from: Address, bytes: usize) {
        Emitter::copy(self, to, from, bytes);
    }

    fn fill(&mut self, to: Address, value: u8, bytes: usize) {
        Emitter::fill(self, to, value, bytes);
    }

    fn scratch(&mut self, bytes: usize) -> Address {
        Emitter::scratch(self, bytes)
    }

    fn fault(&mut self, what: &str) -> (Address, u32) {
        Emitter::fault(self, what)
    }
}
