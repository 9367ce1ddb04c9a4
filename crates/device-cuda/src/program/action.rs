//! One thing that a stream is told to do.

use crate::driver::{Address, CudaError, Function, LaunchShape, Stream};
use std::ffi::c_void;

pub enum Action {
    Kernel(KernelLaunch),
    Copy(Copy),
    Fill(Fill),
    /// A call into a library, fully described.
    Library(Box<dyn Enqueue>),
}

/// Something that can be put on a stream again and again, always with the same addresses.
pub trait Enqueue: Send {
    fn enqueue(&self, stream: &Stream) -> Result<(), CudaError>;

    /// For traces: `matmul 384x768x768`, `conv 64x3x7x7`.
    fn name(&self) -> String;
}

pub struct KernelLaunch {
    pub function: Function,
    /// For traces and errors.
    pub name: String,
    pub shape: LaunchShape,
    pub arguments: Vec<Argument>,
}

/// One parameter of a kernel. The kernel's source declares the same types in the same order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A pointer.
    Address(Address),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
}

/// Bytes from one address to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Copy {
    pub to: Address,
    pub from: Address,
    pub bytes: usize,
}

/// Bytes set to one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    pub to: Address,
    pub value: u8,
    pub bytes: usize,
}

impl Action {
    pub fn enqueue(&self, stream: &Stream) -> Result<(), CudaError> {
        match self {
            Action::Kernel(launch) => launch.enqueue(stream),
            // SAFETY: lowering gave addresses within this lane's arena, the model's region and the constants, which
            // are mapped while a program runs.
            Action::Copy(copy) => unsafe { stream.copy(copy.to, copy.from, copy.bytes) },
            // SAFETY: as above.
            Action::Fill(fill) => unsafe { stream.fill(fill.to, fill.value, fill.bytes) },
            Action::Library(call) => call.enqueue(stream),
        }
    }

    pub fn name(&self) -> String {
        match self {
            Action::Kernel(launch) => launch.name.clone(),
            Action::Copy(copy) => format!("copy {}", copy.bytes),
            Action::Fill(fill) => format!("fill {}", fill.bytes),
            Action::Library(call) => call.name(),
        }
    }
}

impl KernelLaunch {
    pub fn enqueue(&self, stream: &Stream) -> Result<(), CudaError> {
        let mut arguments = self.arguments.clone();
        let mut pointers: Vec<*mut c_void> = arguments.iter_mut().map(Argument::pointer).collect();
        // SAFETY: lowering pairs each kernel with arguments of its parameter types, and with addresses within this
        // lane's arena, the model's region and the constants, which are mapped while a program runs.
        unsafe { self.function.launch(stream, &self.shape, &mut pointers) }
    }
}

impl Argument {
    fn pointer(&mut self) -> *mut c_void {
        match self {
            Argument::Address(value) => std::ptr::from_mut(value).cast(),
            Argument::I32(value) => std::ptr::from_mut(value).cast(),
            Argument::U32(value) => std::ptr::from_mut(value).cast(),
            Argument::I64(value) => std::ptr::from_mut(value).cast(),
            Argument::F32(value) => std::ptr::from_mut(value).cast(),
        }
    }
}
