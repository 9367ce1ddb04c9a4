//! Kernels as calls, so that they are measured and emitted together with calls into libraries; and the kernel that
//! finishes a product: bias, residual, activation.

use super::elementwise::activation;
use super::map::{Access, Map, map};
use super::target::{Launch, PRELUDE, Target};
use crate::driver::{Address, CudaError, Stream};
use crate::lower::{Emitter, Gpu, LowerError};
use crate::program::{Enqueue, KernelLaunch};
use crate::tune::Problem;
use sublet_graph::{Activation, DType};

/// Collects launches of kernels that need neither scratch memory nor the fault word.
pub struct Recorder<'a> {
    gpu: &'a Gpu,
    pub calls: Vec<Box<dyn Enqueue>>,
}

impl<'a> Recorder<'a> {
    pub fn new(gpu: &'a Gpu) -> Self {
        Recorder { gpu, calls: Vec::new() }
    }
}

impl Target for Recorder<'_> {
    fn launch(&mut self, launch: Launch) -> Result<(), LowerError> {
        let source = [PRELUDE, &launch.source].concat();
        let shared_bytes = launch.shape.shared_bytes;
        let function = self.gpu.jit.function(&source, launch.entry, shared_bytes)?;
        self.calls.push(Box::new(KernelLaunch {
            function,
            name: launch.name,
            shape: launch.shape,
            arguments: launch.arguments,
        }));
        Ok(())
    }

    fn copy(&mut self, _to: Address, _from: Address, _bytes: usize) {
        unreachable!("what is recorded are kernels");
    }

    fn fill(&mut self, _to: Address, _value: u8, _bytes: usize) {
        unreachable!("what is recorded are kernels");
    }

    fn scratch(&mut self, _bytes: usize) -> Address {
        unreachable!("kernels that are recorded need no scratch memory");
    }

    fn fault(&mut self, _what: &str) -> (Address, u32) {
        unreachable!("kernels that are recorded find no faults");
    }
}

impl Enqueue for KernelLaunch {
    fn enqueue(&self, stream: &Stream) -> Result<(), CudaError> {
        KernelLaunch::enqueue(self, stream)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Enqueue for Box<dyn Enqueue> {
    fn enqueue(&self, stream: &Stream) -> Result<(), CudaError> {
        (**self).enqueue(stream)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

/// Chooses among the ways to solve a problem, and emits the calls of the best. `operands` as the problem lists them.
pub fn emit_best<P: Problem>(
    emitter: &mut Emitter<'_>,
    problem: &P,
    operands: &[Address],
) -> Result<(), LowerError> {
    let gpu = emitter.gpu;
    let choice = gpu.tuning.choose(problem, &gpu.stream)?;
    let scratch = emitter.scratch(problem.scratch_bytes(&choice));
    for call in problem.calls(&choice, operands, scratch)? {
        emitter.library(call);
    }
    Ok(())
}

/// `y = activation(y + bias + residual)` in place.
pub struct Finish {
    pub dims: Vec<usize>,
    pub dtype: DType,
    pub y: (Address, Vec<usize>),
    /// Elements from one index of each axis to the next; 0 where the bias is the same.
    pub bias: Option<(Address, Vec<usize>)>,
    pub residual: Option<(Address, Vec<usize>)>,
    pub activation: Activation,
}

impl Finish {
    /// The kernel; none when there is nothing to do.
    pub fn calls(&self, gpu: &Gpu) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        if self.bias.is_none() && self.residual.is_none() && self.activation == Activation::None {
            return Ok(Vec::new());
        }
        let access = |(address, steps): &(Address, Vec<usize>)| Access {
            address: *address,
            dtype: self.dtype,
            strides: steps.iter().map(|&step| step as i64).collect(),
        };
        let mut loads = vec![access(&self.y)];
        loads.extend([&self.bias, &self.residual].into_iter().flatten().map(access));
        let sum: Vec<String> = (0..loads.len()).map(|index| format!("x{index}")).collect();
        let mut value = activation(self.activation, &format!("({})", sum.join(" + ")));
        if self.dtype == DType::F64 {
            value = value.replace("<f32>", "<f64>");
        }
        let kernel = Map {
            name: "finish a product",
            dims: self.dims.clone(),
            loads,
            stores: vec![access(&self.y)],
            body: format!("    y0 = {value};\n"),
            fault: None,
        };
        let mut recorder = Recorder::new(gpu);
        map(&mut recorder, kernel).map_err(|error| match error {
            LowerError::Cuda(error) => error,
            other => CudaError::unsupported("finishing a product", other.to_string()),
        })?;
        Ok(recorder.calls)
    }
}
