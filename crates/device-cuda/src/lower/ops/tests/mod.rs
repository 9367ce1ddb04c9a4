//! Operators on the device, or on a host that pretends to be one, against the CPU device.

mod cases;
mod device;
mod groups;
mod host;

use super::target::Target;
use crate::driver::Context;
use crate::jit::Compiler;
use crate::lower::{LowerError, Order, Value, step};
use cases::Case;
use half::{bf16, f16};
use std::process::Command;
use std::sync::Arc;
use sublet_device_cpu::Evaluator;
use sublet_graph::{DType, Evaluate, InferInput, Literal, infer};

/// Something that runs what operators emit.
trait Machine {
    /// Puts a value into memory.
    fn value(&mut self, literal: &Literal, order: Order) -> Value;
    fn target(&mut self) -> &mut dyn Target;
}

/// A case that was emitted: where its results will lie, and what they should be.
struct Emitted {
    name: String,
    outputs: Vec<(Value, Literal)>,
    loose: f64,
}

/// The bytes of a literal as they lie in a value of some order.
fn in_order(literal: &Literal, value: &Value) -> Vec<u8> {
    let (size, strides) = (value.dtype.size(), value.strides());
    let mut bytes = literal.bytes().to_vec();
    for (at, element) in literal.bytes().chunks_exact(size).enumerate() {
        let place = place(at, &value.shape, &strides) * size;
        bytes[place..place + size].copy_from_slice(element);
    }
    bytes
}

fn place(mut at: usize, shape: &[usize], strides: &[usize]) -> usize {
    let mut place = 0;
    for (&dim, &stride) in shape.iter().zip(strides).rev() {
        place += at % dim * stride;
        at /= dim;
    }
    place
}

fn emit(machine: &mut dyn Machine, case: &Case) -> Result<Emitted, LowerError> {
    let name = format!("{} {:?}", case.op, case.inputs);
    let known: Vec<Option<InferInput<'_>>> = case
        .inputs
        .iter()
        .map(|input| {
            input.as_ref().map(|literal| InferInput {
                dtype: literal.dtype(),
                shape: Some(literal.shape()),
                value: Some(literal),
            })
        })
        .collect();
    let types = infer(&case.op, &known, case.outputs).unwrap_or_else(|e| panic!("{name}: {e}"));
    let inputs: Vec<Option<&Literal>> = case.inputs.iter().map(Option::as_ref).collect();
    let wanted = Evaluator
        .evaluate(&case.op, &inputs, case.outputs)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut values = Vec::new();
    for (index, literal) in case.inputs.iter().enumerate() {
        let channels_last =
            case.channels_last && literal.as_ref().is_some_and(|l| l.shape().len() == 4);
        let order = if channels_last { Order::ChannelsLast } else { Order::RowMajor };
        values.push(literal.as_ref().map(|literal| {
            let mut value = machine.value(literal, order);
            value.known = case.known.contains(&index).then(|| literal.clone());
            value
        }));
    }
    let results: Vec<Option<Value>> = types
        .iter()
        .map(|of| {
            let shape = of.shape.clone().expect("a static shape");
            let bytes = vec![0xa5; shape.iter().product::<usize>() * of.dtype.size()];
            let last = case.channels_last && shape.len() == 4;
            let order = if last { Order::ChannelsLast } else { Order::RowMajor };
            let literal = Literal::new(of.dtype, shape, bytes.into()).expect("bytes of the shape");
            Some(machine.value(&literal, order))
        })
        .collect();
    step::own(machine.target(), &case.op, &values, &results)?;
    let outputs = results.into_iter().flatten().zip(wanted).collect();
    Ok(Emitted { name, outputs, loose: case.loose })
}

/// Compares what lies in memory with what should.
fn check(emitted: &Emitted, bytes: &dyn Fn(&Value) -> Vec<u8>) -> Result<(), String> {
    for (value, wanted) in &emitted.outputs {
        let got = bytes(value);
        let size = value.dtype.size();
        let strides = value.strides();
        for at in 0..wanted.len() {
            let from = place(at, &value.shape, &strides) * size;
            let (got, wanted) = (&got[from..from + size], &wanted.bytes()[at * size..][..size]);
            if !close(value.dtype, got, wanted, emitted.loose) {
                let show = |bytes: &[u8]| match number(value.dtype, bytes) {
                    Some(number) => format!("{number}"),
                    None => format!("{bytes:x?}"),
                };
                return Err(format!(
                    "{}: element {at} is {}, not {}",
                    emitted.name,
                    show(got),
                    show(wanted)
                ));
            }
        }
    }
    Ok(())
}

fn number(dtype: DType, bytes: &[u8]) -> Option<f64> {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(word);
    Some(match dtype {
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::F64 => f64::from_bits(bits),
        DType::F16 => f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => bf16::from_bits(bits as u16).to_f64(),
        _ => return None,
    })
}

fn close(dtype: DType, got: &[u8], wanted: &[u8], loose: f64) -> bool {
    let (Some(got), Some(wanted)) = (number(dtype, got), number(dtype, wanted)) else {
        return got == wanted;
    };
    if got.is_nan() || wanted.is_nan() || wanted.is_infinite() || got.is_infinite() {
        return got.is_nan() && wanted.is_nan() || got == wanted;
    }
    let relative = match dtype {
        DType::F64 => 1e-12,
        DType::F32 => 2e-6,
        DType::F16 => 1e-3,
        _ => 8e-3,
    };
    (got - wanted).abs() <= loose * relative * (wanted.abs() + 0.5)
}

/// Every so many cases are tried on the host, which takes long; all of them when `SUBLET_CASES` is `all`, those of some
/// operators when it lists their names.
const HOST_SHARE: usize = 12;

#[test]
fn kernels_run_on_the_host_as_the_cpu_device_computes() {
    if crate::device_count().is_ok_and(|count| count > 0) {
        println!("skipped: there is a device");
        return;
    }
    if Command::new("g++").arg("--version").output().is_err() {
        println!("skipped: there is no g++");
        return;
    }
    let only = std::env::var("SUBLET_CASES").ok();
    let every = |(number, case): &(usize, Case)| match only.as_deref() {
        Some("all") => true,
        Some(only) => only.split(',').any(|name| case.op.name() == name),
        None => number % HOST_SHARE == 0,
    };
    let cases: Vec<Case> =
        cases::all().into_iter().enumerate().filter(every).map(|(_, case)| case).collect();
    let mut failures: Vec<String> = Vec::new();
    let mut sources: Vec<String> = Vec::new();
    for (number, part) in cases.chunks(60).enumerate() {
        let folder =
            std::env::temp_dir().join(format!("sublet-kernels-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut host = host::Host::new();
        let mut emitted = Vec::new();
        for case in part {
            match emit(&mut host, case) {
                Ok(case) => emitted.push(case),
                Err(error) => failures.push(format!("{} {:?}: {error}", case.op, case.inputs)),
            }
        }
        host.run(&folder);
        failures
            .extend(emitted.iter().filter_map(|case| check(case, &|value| host.read(value)).err()));
        sources.extend(host.sources);
        std::fs::remove_dir_all(&folder).unwrap();
    }
    if only.as_deref().is_none_or(|only| only == "all" || only == "groups") {
        let (wrong, kernels) = groups_on_host(if only.is_some() { 40 } else { 4 });
        failures.extend(wrong);
        sources.extend(kernels);
    }
    report(&failures, cases.len());
    compile(sources);
}

/// What went wrong with random plans, and the kernels that they took.
fn groups_on_host(count: u64) -> (Vec<String>, Vec<String>) {
    let folder = std::env::temp_dir().join(format!("sublet-groups-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut host = host::Host::new();
    let problems: Vec<_> = (0..count).map(|seed| random_plan(seed, &mut host)).collect();
    host.run(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    let wrong = problems.iter().enumerate().filter_map(|(seed, wanted)| {
        let check = groups::check(wanted, &|value| host.read(value));
        check.err().map(|what| format!("plan {seed}: {what}"))
    });
    (wrong.collect(), host.sources)
}

fn random_plan(seed: u64, machine: &mut dyn Machine) -> Vec<(Value, Literal)> {
    let dtype = if seed % 4 == 3 { DType::F64 } else { DType::F32 };
    groups::emit(machine, &groups::problem(seed, dtype)).unwrap()
}

fn report(failures: &[String], cases: usize) {
    for failure in failures {
        println!("{}", failure.chars().take(600).collect::<String>());
    }
    assert!(failures.is_empty(), "{} of {cases} cases", failures.len());
}

/// Every kernel compiles for the device that figures are given for.
fn compile(mut sources: Vec<String>) {
    let Ok(compiler) = Compiler::new((9, 0)) else {
        println!("not compiled for a device: there is no NVRTC");
        return;
    };
    sources.sort();
    sources.dedup();
    for source in &sources {
        let code = compiler.compile(source).unwrap_or_else(|error| panic!("{error}\n{source}"));
        let is_named = code.windows(8).any(|bytes| bytes == b".sublet_");
        assert!(is_named, "a kernel's name is not told from a library's:\n{source}");
    }
    println!("compiled {} kernels", sources.len());
}

#[test]
fn kernels_run_on_the_device_as_the_cpu_device_computes() {
    if !crate::device_count().is_ok_and(|count| count > 0) {
        println!("skipped: there is no CUDA device");
        return;
    }
    let cases = cases::all();
    // The sources are the same wherever values lie: they are compiled on all processors first.
    let mut host = host::Host::new();
    let plans = 0..40;
    plans.clone().for_each(|seed| drop(random_plan(seed, &mut host)));
    for case in &cases {
        emit(&mut host, case).unwrap_or_else(|error| panic!("{}: {error}", case.op));
    }
    let mut sources = host.sources;
    sources.sort();
    sources.dedup();
    let context = Context::new(0).unwrap();
    let compiled = device::Compiled::new(&context, &sources).unwrap();
    println!("compiled {} kernels", sources.len());
    let gpu = device::gpu(&context, Arc::new(compiled)).unwrap();
    let mut failures = Vec::new();
    for part in cases.chunks(200) {
        let mut on_device = device::OnDevice::new(&gpu).unwrap();
        let mut emitted = Vec::new();
        for case in part {
            on_device.begin(&case.op.name());
            match emit(&mut on_device, case) {
                Ok(case) => emitted.push(case),
                Err(error) => failures.push(format!("{} {:?}: {error}", case.op, case.inputs)),
            }
        }
        let ran = on_device.run().unwrap_or_else(|error| panic!("{error}"));
        failures
            .extend(emitted.iter().filter_map(|case| check(case, &|value| ran.read(value)).err()));
    }
    let mut on_device = device::OnDevice::new(&gpu).unwrap();
    on_device.begin("plans");
    let wanted: Vec<_> = plans.map(|seed| random_plan(seed, &mut on_device)).collect();
    let ran = on_device.run().unwrap_or_else(|error| panic!("{error}"));
    for (seed, wanted) in wanted.iter().enumerate() {
        let check = groups::check(wanted, &|value| ran.read(value));
        failures.extend(check.err().map(|what| format!("plan {seed}: {what}")));
    }
    report(&failures, cases.len());
}
