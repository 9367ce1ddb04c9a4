//! A pretended device: kernels are compiled for the host and run there, thread by thread.

use super::Machine;
use crate::driver::Address;
use crate::lower::ops::target::{Launch, PRELUDE, Target};
use crate::lower::{LowerError, Order, Value};
use crate::program::Argument;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use sublet_graph::Literal;

/// Where the memory of the pretended device starts.
const BASE: u64 = 0x10_0000_0000;

/// Collects work, and does all of it at once.
#[derive(Default)]
pub struct Host {
    memory: Vec<u8>,
    /// Sources in order, each in a namespace of its own.
    kernels: String,
    /// Statements of the program.
    calls: String,
    pub sources: Vec<String>,
    faults: u32,
}

impl Host {
    pub fn new() -> Host {
        // The first word is the one for faults.
        Host { memory: vec![0; 256], ..Host::default() }
    }

    fn take(&mut self, bytes: usize) -> Address {
        // A gap shows who writes beyond an end.
        let at = (self.memory.len() + 64).next_multiple_of(256);
        self.memory.resize(at + bytes, 0xa5);
        BASE + at as u64
    }

    pub fn read(&self, value: &Value) -> Vec<u8> {
        let at = (value.address - BASE) as usize;
        self.memory[at..at + value.bytes()].to_vec()
    }

    /// Runs everything that was asked for.
    pub fn run(&mut self, folder: &Path) {
        let header = folder.join("host.h");
        let (source, program, memory) =
            (folder.join("kernels.cpp"), folder.join("kernels"), folder.join("memory"));
        std::fs::write(&header, include_str!("host.h")).unwrap();
        let len = self.memory.len();
        let text = format!(
            "#include \"host.h\"\n{}\n{}\nint main(int, char** arguments) {{\n\
             int file = open(arguments[1], O_RDWR);\n\
             void* at = mmap((void*){BASE:#x}ull, {len}, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);\n\
             if (at == MAP_FAILED) return 2;\n{}return 0;\n}}\n",
            // On the host, kernels of one name in several namespaces are several functions.
            PRELUDE.replace("extern \"C\" __global__ void", "static void"),
            self.kernels,
            self.calls,
        );
        std::fs::write(&source, text).unwrap();
        std::fs::write(&memory, &self.memory).unwrap();
        let compiled = Command::new("g++")
            .args(["-std=c++17", "-O1", "-w", "-fwrapv", "-ffp-contract=off", "-o"])
            .args([&program, &source])
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{}", &log[..log.len().min(4000)]);
        let ran = Command::new(&program).arg(&memory).status().unwrap();
        assert!(ran.success(), "{ran}");
        self.memory = std::fs::read(&memory).unwrap();
    }
}

impl Target for Host {
    fn launch(&mut self, launch: Launch) -> Result<(), LowerError> {
        let number = self.sources.len();
        let w = &mut self.kernels;
        let _ = writeln!(w, "namespace k{number} {{\n{}\n}}", launch.source);
        for line in launch.source.lines() {
            if let Some(definition) = line.trim_start().strip_prefix("#define ") {
                let end = definition
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(definition.len());
                let _ = writeln!(w, "#undef {}", &definition[..end]);
            }
        }
        let arguments: Vec<String> = launch
            .arguments
            .iter()
            .map(|argument| match argument {
                Argument::Address(at) => format!("Anywhere{{{at}ull}}"),
                Argument::I32(value) => format!("(int){value}"),
                Argument::U32(value) => format!("{value}u"),
                Argument::I64(value) => format!("{value}ll"),
                Argument::F32(value) => format!("f32_bits({:#x}u)", value.to_bits()),
            })
            .collect();
        let synchronises = launch.source.contains("_sync") || launch.source.contains("__sync");
        let ([grid, gy, gz], [block, by, bz]) = (launch.shape.grid, launch.shape.block);
        assert_eq!((gy, gz, by, bz), (1, 1, 1, 1), "grids and blocks have one dimension");
        let _ = writeln!(
            self.calls,
            "launch({grid}u, {block}u, {synchronises}, [] {{ k{number}::{}({}); }});",
            launch.entry,
            arguments.join(", ")
        );
        self.sources.push([PRELUDE, &launch.source].concat());
        Ok(())
    }

    fn copy(&mut self, to: Address, from: Address, bytes: usize) {
        let _ = writeln!(self.calls, "std::memmove((void*){to}ull, (void*){from}ull, {bytes});");
    }

    fn fill(&mut self, to: Address, value: u8, bytes: usize) {
        let _ = writeln!(self.calls, "std::memset((void*){to}ull, {value}, {bytes});");
    }

    fn scratch(&mut self, bytes: usize) -> Address {
        self.take(bytes)
    }

    fn fault(&mut self, _what: &str) -> (Address, u32) {
        self.faults += 1;
        (BASE, self.faults)
    }
}

impl Machine for Host {
    fn value(&mut self, literal: &Literal, order: Order) -> Value {
        let address = self.take(literal.bytes().len());
        let (dtype, shape) = (literal.dtype(), literal.shape().to_vec());
        let value = Value { dtype, shape, order, address, known: None };
        let bytes = super::in_order(literal, &value);
        let at = (address - BASE) as usize;
        self.memory[at..at + bytes.len()].copy_from_slice(&bytes);
        value
    }

    fn target(&mut self) -> &mut dyn Target {
        self
    }
}
