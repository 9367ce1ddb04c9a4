//! Kernels compiled at run time, kept between processes.
//!
//! Sources are whole: they need no headers. What is compiled is kept by a hash of everything that it depends on, and what
//! is loaded stays loaded, so that plans which use the same kernel share it.

use crate::cache::Cache;
use crate::driver::{Context, CudaError, CudaErrorKind, Function, Module};
use cudarc::nvrtc::sys;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Arc, Mutex, PoisonError};

/// What the names of our kernels begin with in machine code: tools tell them from those of libraries by it.
const PREFIX: &str = "sublet_";

/// Compiles CUDA C++ for one device.
pub struct Jit {
    context: Arc<Context>,
    cache: Arc<dyn Cache>,
    compiler: Compiler,
    /// By the name under which the cache keeps the machine code.
    modules: Mutex<HashMap<String, Arc<Module>>>,
}

impl Jit {
    /// For the device of `context`, which is current. Fails where there is no NVRTC.
    pub fn new(context: Arc<Context>, cache: Arc<dyn Cache>) -> Result<Jit, CudaError> {
        let compiler = Compiler::new(context.properties.capability)?;
        Ok(Jit { context, cache, compiler, modules: Mutex::default() })
    }

    /// The kernel `entry` of a source, compiled unless it was before. `shared_bytes`: the most dynamic shared memory
    /// that it will be launched with.
    pub fn function(
        &self,
        source: &str,
        entry: &str,
        shared_bytes: u32,
    ) -> Result<Function, CudaError> {
        if shared_bytes > self.context.properties.shared_bytes_max {
            let text = format!("{entry} needs {shared_bytes} bytes of shared memory");
            return Err(CudaError::unsupported("compiling a kernel", text));
        }
        self.module(source)?.function(&format!("{PREFIX}{entry}"), shared_bytes)
    }

    fn module(&self, source: &str) -> Result<Arc<Module>, CudaError> {
        let name = self.compiler.name(source);
        // Held while compiling: two lanes that need a kernel at the same time compile it once.
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&name) {
            return Ok(module.clone());
        }
        self.context.make_current()?;
        let module = match self.cache.get(&name).map(|code| Module::load(&code)) {
            Some(Ok(module)) => module,
            // Machine code that does not load was written by something else, and is compiled again.
            Some(Err(_)) | None => {
                let code = self.compiler.compile(source)?;
                let module = Module::load(&code)?;
                self.cache.put(&name, &code);
                module
            }
        };
        modules.insert(name, module.clone());
        Ok(module)
    }
}

/// NVRTC with the options for one architecture.
pub struct Compiler {
    version: (i32, i32),
    options: Vec<String>,
}

impl Compiler {
    /// `capability`: major and minor compute capability of the device.
    ///
    /// # Errors
    /// When NVRTC cannot be loaded.
    pub fn new(capability: (u32, u32)) -> Result<Compiler, CudaError> {
        // SAFETY: only tries to load the library.
        if !unsafe { sys::is_culib_present() } {
            let text = "libnvrtc.so was not found on the library path";
            return Err(CudaError::new(CudaErrorKind::Lost, "looking for NVRTC", text));
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: writes two ints.
        check("nvrtcVersion", unsafe { sys::nvrtcVersion(&mut major, &mut minor) })?;
        let (arch_major, arch_minor) = capability;
        let options = [
            &format!("--gpu-architecture=sm_{arch_major}{arch_minor}"),
            "--std=c++17",
            "-default-device",
            "--extra-device-vectorization",
        ];
        Ok(Compiler { version: (major, minor), options: options.map(str::to_owned).to_vec() })
    }

    /// A file name that stands for the machine code of a source.
    pub fn name(&self, source: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        let (major, minor) = self.version;
        hasher.update(format!("nvrtc {major}.{minor} {:?} {PREFIX}\n", self.options).as_bytes());
        hasher.update(source.as_bytes());
        format!("kernel-{}.cubin", hasher.finalize().to_hex())
    }

    /// Machine code.
    ///
    /// # Errors
    /// With the compiler's log.
    pub fn compile(&self, source: &str) -> Result<Vec<u8>, CudaError> {
        let text = CString::new(prefixed(source)).expect("a source has no NUL");
        let options: Vec<CString> = self
            .options
            .iter()
            .map(|option| CString::new(option.as_str()).expect("an option has no NUL"))
            .collect();
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let program = Program::new(&text)?;
        // SAFETY: the program lives; the options are NUL-terminated and live until the call returns.
        let result = unsafe {
            sys::nvrtcCompileProgram(program.raw, pointers.len() as i32, pointers.as_ptr())
        };
        if result != sys::nvrtcResult::NVRTC_SUCCESS {
            let text = format!("{}: {}", name_of(result), program.log());
            return Err(CudaError::new(CudaErrorKind::Unsupported, "nvrtcCompileProgram", text));
        }
        program.cubin()
    }
}

/// A source in which the names of kernels, which stand behind `KERNEL` or `KERNEL_OF(…)` at the start of a line, begin
/// with [`PREFIX`].
fn prefixed(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 64);
    for line in source.split_inclusive('\n') {
        let text = line.trim_start();
        let before = match text.strip_prefix("KERNEL") {
            Some(rest) if rest.starts_with(' ') => Some("KERNEL ".len()),
            Some(rest) if rest.starts_with("_OF(") => text.find(") ").map(|at| at + 2),
            _ => None,
        };
        let at = before.map_or(0, |before| line.len() - text.len() + before);
        out.push_str(&line[..at]);
        if at > 0 {
            out.push_str(PREFIX);
        }
        out.push_str(&line[at..]);
    }
    out
}

/// A source being compiled.
struct Program {
    raw: sys::nvrtcProgram,
}

impl Program {
    fn new(source: &CStr) -> Result<Program, CudaError> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the source is NUL-terminated and copied; there are no headers.
        let result = unsafe {
            let none = std::ptr::null();
            sys::nvrtcCreateProgram(&mut raw, source.as_ptr(), c"kernel.cu".as_ptr(), 0, none, none)
        };
        check("nvrtcCreateProgram", result)?;
        Ok(Program { raw })
    }

    fn log(&self) -> String {
        let mut bytes = 0;
        // SAFETY: the program lives; writes one size.
        if unsafe { sys::nvrtcGetProgramLogSize(self.raw, &mut bytes) }
            != sys::nvrtcResult::NVRTC_SUCCESS
        {
            return "no log".to_owned();
        }
        let mut log = vec![0u8; bytes];
        // SAFETY: the buffer is as long as the compiler said.
        let result = unsafe { sys::nvrtcGetProgramLog(self.raw, log.as_mut_ptr().cast()) };
        if result != sys::nvrtcResult::NVRTC_SUCCESS {
            return "no log".to_owned();
        }
        String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned()
    }

    fn cubin(&self) -> Result<Vec<u8>, CudaError> {
        let mut bytes = 0;
        // SAFETY: the program was compiled; writes one size.
        check("nvrtcGetCUBINSize", unsafe { sys::nvrtcGetCUBINSize(self.raw, &mut bytes) })?;
        let mut code = vec![0u8; bytes];
        // SAFETY: the buffer is as long as the compiler said.
        check("nvrtcGetCUBIN", unsafe { sys::nvrtcGetCUBIN(self.raw, code.as_mut_ptr().cast()) })?;
        Ok(code)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once.
        let _ = unsafe { sys::nvrtcDestroyProgram(&mut self.raw) };
    }
}

fn check(call: &str, result: sys::nvrtcResult) -> Result<(), CudaError> {
    match result {
        sys::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        _ => Err(CudaError::new(CudaErrorKind::Lost, call, name_of(result))),
    }
}

fn name_of(result: sys::nvrtcResult) -> String {
    // SAFETY: gives a string of static lifetime.
    let text = unsafe { sys::nvrtcGetErrorString(result) };
    if text.is_null() {
        return format!("error {}", result as u32);
    }
    // SAFETY: NUL-terminated.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoCache;
    use crate::driver::{DeviceBlock, LaunchShape, Stream};
    use std::ffi::c_void;

    /// Two warps write and read the same words, and nothing keeps them apart.
    const RACE: &str = r#"
#define KERNEL extern "C" __global__ void
KERNEL race(unsigned *out) {
    __shared__ unsigned words[64];
    words[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = words[63 - threadIdx.x];
}
"#;

    #[test]
    fn names_of_kernels_begin_alike() {
        let source = "#define KERNEL_OF(n) KERNEL __launch_bounds__(n)\nKERNEL pool(int x) {\n  \
                      KERNEL_OF(LANES * 2) reduce(\nKERNELS kernel(KERNEL x)";
        let wanted = "#define KERNEL_OF(n) KERNEL __launch_bounds__(n)\nKERNEL sublet_pool(int x) {\n  \
                      KERNEL_OF(LANES * 2) sublet_reduce(\nKERNELS kernel(KERNEL x)";
        assert_eq!(prefixed(source), wanted);
        assert!(prefixed(crate::bring::SOURCE).contains("KERNEL sublet_bring("));
    }

    /// Shows that racecheck looks at our kernels: `bench/gpu.sh` expects it to fail this one.
    #[test]
    #[ignore = "a race for compute-sanitizer to find"]
    fn racecheck_finds_this_race() {
        let context = Context::new(0).unwrap();
        let jit = Jit::new(context, Arc::new(NoCache)).unwrap();
        let function = jit.function(RACE, "race", 0).unwrap();
        let (stream, out) = (Stream::new(false).unwrap(), DeviceBlock::new(256).unwrap());
        let mut address = out.address;
        let mut parameters: [*mut c_void; 1] = [std::ptr::from_mut(&mut address).cast()];
        // SAFETY: 64 threads write a word each of the 256 bytes, which live until the stream was waited for.
        unsafe { function.launch(&stream, &LaunchShape::linear(64, 64), &mut parameters) }.unwrap();
        stream.synchronize().unwrap();
    }
}
