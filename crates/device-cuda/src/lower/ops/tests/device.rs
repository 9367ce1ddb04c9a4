//! The device itself.

use super::Machine;
use crate::cache::Cache;
use crate::driver::{Address, Context, CudaError, DeviceBlock, Stream};
use crate::jit::{Compiler, Jit};
use crate::lower::ops::target::Target;
use crate::lower::{Emitter, Gpu, Order, Value};
use crate::options::Precision;
use crate::tune::Tuning;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use sublet_graph::Literal;

/// Bytes of the memory that single steps use.
const SCRATCH_BYTES: usize = 64 << 20;

/// What was compiled beforehand.
#[derive(Default)]
pub struct Compiled(Mutex<HashMap<String, Vec<u8>>>);

impl Cache for Compiled {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }
}

impl Compiled {
    /// Compiles sources on all processors.
    pub fn new(context: &Context, sources: &[String]) -> Result<Compiled, CudaError> {
        let compiler = Compiler::new(context.properties.capability)?;
        let compiled = Compiled::default();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(source) = sources.get(at) else { break };
                        let code =
                            compiler.compile(source).unwrap_or_else(|e| panic!("{e}\n{source}"));
                        compiled.put(&compiler.name(source), &code);
                    }
                });
            }
        });
        Ok(compiled)
    }
}

/// A lane's view of the device.
pub fn gpu(context: &Arc<Context>, cache: Arc<dyn Cache>) -> Result<Gpu, CudaError> {
    Ok(Gpu {
        jit: Arc::new(Jit::new(context.clone(), cache.clone())?),
        tuning: Arc::new(Tuning::new(context.clone(), cache)),
        blas: crate::blas::Blas::new()?,
        dnn: crate::dnn::Dnn::new(SCRATCH_BYTES)?,
        stream: Stream::new(false)?,
        precision: Precision::default(),
    })
}

/// Emits cases, runs them all, and gives back what they left.
pub struct OnDevice<'a> {
    gpu: &'a Gpu,
    emitter: Emitter<'a>,
    blocks: Vec<DeviceBlock>,
    steps: usize,
    _scratch: DeviceBlock,
    _fault: DeviceBlock,
}

impl<'a> OnDevice<'a> {
    pub fn new(gpu: &'a Gpu) -> Result<Self, CudaError> {
        let (scratch, fault) = (DeviceBlock::new(SCRATCH_BYTES)?, DeviceBlock::new(256)?);
        // SAFETY: the block is as long.
        unsafe { gpu.stream.fill(fault.address, 0, 256) }?;
        let emitter = Emitter::new(gpu, scratch.address, fault.address);
        let (blocks, steps) = (Vec::new(), 0);
        Ok(OnDevice { gpu, emitter, blocks, steps, _scratch: scratch, _fault: fault })
    }

    pub fn begin(&mut self, name: &str) {
        self.emitter.begin(self.steps, name, 0);
        self.steps += 1;
    }

    /// Runs everything that was emitted, one launch after another. Returns the memory of the values.
    pub fn run(self) -> Result<Ran<'a>, String> {
        let (actions, scratch_bytes, _) = self.emitter.finish();
        assert!(scratch_bytes <= SCRATCH_BYTES, "{scratch_bytes} bytes of scratch");
        let stream = &self.gpu.stream;
        for timed in &actions {
            let run = timed.action.enqueue(stream).and_then(|()| stream.synchronize());
            run.map_err(|error| {
                format!("{} of step {}: {error}", timed.action.name(), timed.step)
            })?;
        }
        Ok(Ran { gpu: self.gpu, _blocks: self.blocks })
    }
}

/// What is in memory after a run.
pub struct Ran<'a> {
    gpu: &'a Gpu,
    _blocks: Vec<DeviceBlock>,
}

impl Ran<'_> {
    pub fn read(&self, value: &Value) -> Vec<u8> {
        let mut bytes = vec![0; value.bytes()];
        // SAFETY: the value's block is as long as the bytes, which live until the copy has finished.
        unsafe { self.gpu.stream.copy_out(bytes.as_mut_ptr(), value.address, bytes.len()) }
            .unwrap();
        self.gpu.stream.synchronize().unwrap();
        bytes
    }
}

impl Machine for OnDevice<'_> {
    fn value(&mut self, literal: &Literal, order: Order) -> Value {
        let block = DeviceBlock::new(literal.bytes().len()).unwrap();
        let address: Address = block.address;
        self.blocks.push(block);
        let (dtype, shape) = (literal.dtype(), literal.shape().to_vec());
        let value = Value { dtype, shape, order, address, known: None };
        let bytes = super::in_order(literal, &value);
        // SAFETY: the block is as long as the bytes, which live until the copy has finished.
        unsafe { self.gpu.stream.copy_in(address, bytes.as_ptr(), bytes.len()) }.unwrap();
        self.gpu.stream.synchronize().unwrap();
        value
    }

    fn target(&mut self) -> &mut dyn Target {
        &mut self.emitter
    }
}
