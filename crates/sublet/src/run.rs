//! `sublet run`: one model, through the same engine and scheduler as `serve`.

use crate::cli::Run;
use crate::{devices, models, progress, shapes};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;
use sublet_engine::{
    Engine, InferRequest, InferResponse, LoadOverride, ModelMetadata, NamedTensor,
};
use sublet_graph::{DType, Dim, Literal};

const MODEL: &str = "model";

pub fn main(options: Run) -> Result<()> {
    let path = models::resolve(&options.model)?;
    let scratch = tempfile::tempdir()?;
    let store = sublet_catalog::cache_dir().join("store");
    let (engine, trace) =
        devices::start(&options.devices, devices::config(vec![scratch.path().to_owned()], store))?;
    let spinner = progress::spinner(format!("importing {}", path.display()));
    let loaded = engine.load(MODEL, LoadOverride { config_json: None, files: files(&path)? });
    spinner.finish_and_clear();
    loaded?;
    let metadata = engine.metadata(MODEL, None)?;
    let inputs = match &options.inputs {
        Some(file) => read(file)?,
        None if options.random => random(&metadata, &shapes::parse(&options.shape)?, options.seed)?,
        None => bail!(
            "give inputs with --inputs FILE.safetensors, or --random\n{}",
            describe(&metadata)
        ),
    };
    let response = repeat(&engine, &inputs, options.repeat.max(1))?;
    for output in &response.outputs {
        println!("{} {:?}{}", output.name, output.tensor, preview(&output.tensor));
    }
    if let Some(file) = &options.outputs {
        write(file, &response.outputs)?;
    }
    trace.write()?;
    engine.shutdown(std::time::Duration::from_secs(5));
    Ok(())
}

/// The files of a model, by their paths within its folder.
fn files(path: &Path) -> Result<BTreeMap<String, Bytes>> {
    let read = |path: &Path| -> Result<Bytes> {
        Ok(fs::read(path).with_context(|| path.display().to_string())?.into())
    };
    if path.is_file() {
        return Ok(BTreeMap::from([("1/model.onnx".to_owned(), read(path)?)]));
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files
                .insert(format!("1/{}", entry.file_name().to_string_lossy()), read(&entry.path())?);
        }
    }
    Ok(files)
}

fn describe(metadata: &ModelMetadata) -> String {
    let dims = |dims: &[Dim]| dims.iter().map(Dim::to_string).collect::<Vec<_>>().join("x");
    let inputs = metadata
        .inputs
        .iter()
        .map(|input| format!("  {} {} {}", input.name, input.dtype, dims(&input.dims)));
    format!("the model takes\n{}", inputs.collect::<Vec<_>>().join("\n"))
}

/// Inputs drawn at random: floats in −1…1, integers 0 or 1. Dynamic dimensions are 1 unless given.
fn random(
    metadata: &ModelMetadata,
    shapes: &BTreeMap<String, Vec<usize>>,
    seed: u64,
) -> Result<Vec<NamedTensor>> {
    let mut draw = fastrand::Rng::with_seed(seed);
    let mut inputs = Vec::new();
    for input in
        metadata.inputs.iter().filter(|input| !input.optional || shapes.contains_key(&input.name))
    {
        let fixed = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 1 };
        let shape = shapes
            .get(&input.name)
            .cloned()
            .unwrap_or_else(|| input.dims.iter().map(fixed).collect());
        let count: usize = shape.iter().product();
        let bytes: Vec<u8> = (0..count)
            .flat_map(|_| {
                let value = draw.f32() * 2.0 - 1.0;
                match input.dtype {
                    DType::F32 => value.to_le_bytes().to_vec(),
                    DType::F64 => f64::from(value).to_le_bytes().to_vec(),
                    // The upper half of an f32 is a bf16; halves of either kind between −1 and 1 start alike.
                    DType::BF16 => value.to_le_bytes()[2..].to_vec(),
                    DType::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
                    other => (draw.u8(..2) as u64).to_le_bytes()[..other.size()].to_vec(),
                }
            })
            .collect();
        let tensor =
            Literal::new(input.dtype, shape, bytes.into()).context("the shape is too large")?;
        inputs.push(NamedTensor { name: input.name.clone(), tensor });
    }
    Ok(inputs)
}

fn repeat(engine: &Engine, inputs: &[NamedTensor], times: usize) -> Result<InferResponse> {
    let mut latencies = Vec::new();
    let bar = progress::count("running", times as u64);
    let mut last = None;
    for _ in 0..times {
        let request = InferRequest {
            model: MODEL.to_owned(),
            version: None,
            inputs: inputs.to_vec(),
            outputs: Vec::new(),
            priority: 0,
            timeout: None,
            slo: None,
        };
        let start = Instant::now();
        last = Some(engine.infer(request)?.wait()?);
        latencies.push(start.elapsed());
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("cold {:.3} ms", latencies[0].as_secs_f64() * 1e3);
    let warm = &mut latencies[1..];
    if !warm.is_empty() {
        warm.sort();
        let at = |share: f64| warm[((warm.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("warm {:.3} ms median, {:.3} ms P99, {} runs", at(0.5), at(0.99), warm.len());
    }
    last.context("at least one run")
}

fn preview(tensor: &Literal) -> String {
    match tensor.to_f32s() {
        Some(values) if values.len() > 8 => {
            let (low, high) = values
                .iter()
                .fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64;
            format!(" from {low:.4} to {high:.4}, mean {mean:.4}")
        }
        _ => String::new(),
    }
}

const TYPES: [(Dtype, DType); 13] = [
    (Dtype::F32, DType::F32),
    (Dtype::F16, DType::F16),
    (Dtype::BF16, DType::BF16),
    (Dtype::F64, DType::F64),
    (Dtype::I8, DType::I8),
    (Dtype::I16, DType::I16),
    (Dtype::I32, DType::I32),
    (Dtype::I64, DType::I64),
    (Dtype::U8, DType::U8),
    (Dtype::U16, DType::U16),
    (Dtype::U32, DType::U32),
    (Dtype::U64, DType::U64),
    (Dtype::BOOL, DType::Bool),
];

fn read(path: &Path) -> Result<Vec<NamedTensor>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| path.display().to_string())?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let dtype = TYPES.iter().find(|(theirs, _)| *theirs == view.dtype());
        let (_, dtype) =
            dtype.with_context(|| format!("{name} has the type {:?}", view.dtype()))?;
        let tensor =
            Literal::new(*dtype, view.shape().to_vec(), Bytes::copy_from_slice(view.data()));
        tensors
            .push(NamedTensor { name: name.to_owned(), tensor: tensor.context("lengths agree")? });
    }
    Ok(tensors)
}

fn write(path: &Path, outputs: &[NamedTensor]) -> Result<()> {
    let mut views = Vec::new();
    for output in outputs {
        let dtype = TYPES
            .iter()
            .find(|(_, dtype)| *dtype == output.tensor.dtype())
            .expect("every type is listed")
            .0;
        let view = TensorView::new(dtype, output.tensor.shape().to_vec(), output.tensor.bytes())?;
        views.push((output.name.as_str(), view));
    }
    fs::write(path, safetensors::serialize(views, None)?)
        .with_context(|| path.display().to_string())
}
