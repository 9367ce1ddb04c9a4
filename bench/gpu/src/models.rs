//! Each model on its own: right, warm, cold.
//!
//! Warm is what the device says a run took from its first step to its last. Cold is what a caller waits who has a load
//! and a run enqueued together, less the copying back of outputs, which PyTorch's figures do not contain either. Staging
//! and bringing inputs is part of it, though PyTorch has them on the GPU beforehand: `cold_input_ms` tells their share.
//! `remapped` is the same after the model's pages were given to another model, so that mapping them is part of it.

use crate::Common;
use crate::exported::{Exported, Machine, Tensors, TorchBatch, difference_max};
use crate::figures::{largest, median, ms, summary, widened, write};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fs;
use std::sync::Arc;
use std::time::Instant;
use sublet_conformance::{Attached, Direct, Loaded, relative_difference};
use sublet_device::{Image, RunOutput};
use sublet_devices::Tracer;
use sublet_graph::{DType, Graph, Literal, Model, Weight};
use sublet_plan::{CompileOptions, Layout, LayoutOptions, Plan};
use sublet_units::LaneId;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value = "1,8,32")]
    batches: String,
    /// Batch sizes that are also measured cold
    #[arg(long, default_value = "1")]
    cold_batches: String,
    #[arg(long, default_value_t = 50)]
    warm: usize,
    #[arg(long, default_value_t = 10)]
    cold: usize,
    /// Also write a timeline of one cold run of each model at batch 1, as a Chrome trace, into the folder of results
    #[arg(long)]
    trace: bool,
    /// Go on after the models that the result file has already
    #[arg(long)]
    resume: bool,
    /// Begin with no further model after so many seconds: what is left can be measured later with --resume
    #[arg(long)]
    time_limit: Option<f64>,
}

/// A model that takes long is run less often when warm.
const WARM_SECONDS_MAX: f64 = 3.0;
const WARM_FEWEST: usize = 10;

#[derive(Serialize, Deserialize)]
struct Report {
    machine: Machine,
    rows: Vec<Row>,
}

/// One model, type and batch size. Times are medians in milliseconds.
#[derive(Serialize, Deserialize, Default, Clone)]
struct Row {
    model: String,
    dtype: String,
    batch: usize,
    exporter: String,
    /// Of our packed image.
    bytes: u64,
    torch_bytes: u64,
    /// Why there are no figures.
    error: Option<String>,
    /// Largest relative difference of an output from PyTorch's.
    difference: Option<f64>,
    /// From exact arithmetic on the same weights: ours, and PyTorch's.
    difference_exact: Option<f64>,
    torch_difference_exact: Option<f64>,
    /// Two runs gave the same bits.
    deterministic: Option<bool>,
    /// The first run, with what is compiled and measured for it.
    first_ms: Option<f64>,
    warm_ms: Option<f64>,
    warm_wall_ms: Option<f64>,
    warm_runs: usize,
    cold_ms: Option<f64>,
    cold_wall_ms: Option<f64>,
    cold_remapped_ms: Option<f64>,
    cold_stalled_ms: Option<f64>,
    /// From the start of a run until its inputs are on the device.
    #[serde(default)]
    cold_input_ms: Option<f64>,
    #[serde(default)]
    warm_input_ms: Option<f64>,
    floor_ms: Option<f64>,
    torch_load_ms: Option<f64>,
    torch: Option<TorchBatch>,
    warm_to_torch: Option<f64>,
    cold_to_floor: Option<f64>,
    torch_cold_to_cold: Option<f64>,
}

pub fn run(common: &Common, options: &Options) -> Result<()> {
    let machine = Machine::read(&common.work)?;
    let batches = numbers(&options.batches)?;
    let cold_batches = numbers(&options.cold_batches)?;
    let path = common.out.join("models.json");
    let mut report = match options.resume.then(|| fs::read_to_string(&path)) {
        Some(Ok(text)) => serde_json::from_str(&text).context("the result file to resume")?,
        _ => Report { machine, rows: Vec::new() },
    };
    let (device, tracer) = common.open_traced(&common.device, options.trace)?;
    let direct = Direct::new(device);
    println!("{} on {}", heading(), direct.device().info().name);
    let began = Instant::now();
    for exported in Exported::all(common)? {
        if options.time_limit.is_some_and(|limit| began.elapsed().as_secs_f64() > limit) {
            println!("the time is up; --resume measures the models that are left");
            break;
        }
        let done = |row: &Row| row.model == exported.case.model && row.dtype == exported.case.dtype;
        if report.rows.iter().any(done) {
            continue;
        }
        // Written down beforehand, so that a crash is seen and not met again.
        let mut crashed = blank(&exported, 0);
        crashed.error = Some("the process ended while this model was measured".into());
        let rows_before = report.rows.len();
        report.rows.push(crashed);
        write(&common.out, "models.json", &report)?;
        let rows = one_model(&direct, &exported, &report.machine, options, &batches, &cold_batches);
        report.rows.truncate(rows_before);
        for row in &rows {
            println!("{}", line(row));
        }
        if options.trace && rows.iter().all(|row| row.error.is_none()) {
            trace_cold(&direct, &tracer, &exported, common)?;
        }
        report.rows.extend(rows);
        write(&common.out, "models.json", &report)?;
        if let Some(error) = direct.lost() {
            bail!("{error}; run again with --resume for the models that are left");
        }
    }
    finish(common, &report)
}

fn numbers(text: &str) -> Result<Vec<usize>> {
    let parse = |part: &str| part.trim().parse().with_context(|| format!("`{part}`"));
    text.split(',').filter(|part| !part.is_empty()).map(parse).collect()
}

fn blank(exported: &Exported, batch: usize) -> Row {
    let case = &exported.case;
    Row {
        model: case.model.clone(),
        dtype: case.dtype.clone(),
        batch,
        exporter: case.exporter.clone(),
        torch_bytes: case.torch_bytes,
        ..Row::default()
    }
}

fn one_model(
    direct: &Direct,
    exported: &Exported,
    machine: &Machine,
    options: &Options,
    batches: &[usize],
    cold_batches: &[usize],
) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut subject: Option<Subject> = None;
    for &batch in batches.iter().filter(|batch| exported.case.batches.contains(batch)) {
        let mut row = blank(exported, batch);
        let cold = cold_batches.contains(&batch);
        if exported.case.fixed
            && let Some(old) = subject.take()
        {
            old.leave(direct);
        }
        let measured = (|| {
            if subject.is_none() {
                subject = Some(Subject::new(direct, exported, batch)?);
            }
            let subject = subject.as_ref().expect("made above");
            measure(direct, subject, exported, machine, options, batch, cold, &mut row)
        })();
        if let Err(error) = measured {
            row.error = Some(format!("{error:#}"));
        }
        rows.push(row);
        if direct.lost().is_some() {
            return rows;
        }
    }
    if let Some(subject) = subject {
        subject.leave(direct);
    }
    rows
}

/// A model on the device, and another of its size that its pages can be given to.
struct Subject {
    loaded: Loaded,
    attached: Attached,
    other: Attached,
}

impl Subject {
    fn new(direct: &Direct, exported: &Exported, batch: usize) -> Result<Subject> {
        let loaded =
            Loaded::from_onnx(&exported.file(batch)).map_err(|failure| anyhow!("{failure}"))?;
        let attached = direct.attach(loaded.image().clone())?;
        let other = direct.attach(filler(loaded.image().layout.bytes.as_usize()))?;
        Ok(Subject { loaded, attached, other })
    }

    fn leave(self, direct: &Direct) {
        direct.detach(self.attached);
        direct.detach(self.other);
    }
}

/// Weights of a model that does nothing.
fn filler(bytes: usize) -> Arc<Image> {
    const PIECE: usize = 8 << 20;
    let weight = |index: usize| {
        let len = PIECE.min(bytes - index * PIECE);
        let value = Literal::new(DType::U8, vec![len], vec![0; len].into());
        Weight { name: format!("filler.{index}"), value: value.expect("as long as its shape") }
    };
    let weights = (0..bytes.div_ceil(PIECE)).map(weight).collect();
    let model =
        Model { name: "filler".into(), graph: Graph::default(), weights, metadata: Vec::new() };
    let layout = Layout::new(&model, LayoutOptions::default());
    Arc::new(Image::pack(&model, layout))
}

fn measure(
    direct: &Direct,
    subject: &Subject,
    exported: &Exported,
    machine: &Machine,
    options: &Options,
    batch: usize,
    cold: bool,
    row: &mut Row,
) -> Result<()> {
    let tensors = exported.tensors(batch)?;
    let arena = direct.device().info().arena_bytes_max.as_usize();
    let compile = CompileOptions { arena_bytes_max: arena, ..CompileOptions::default() };
    let given = subject.loaded.in_order(&tensors.inputs);
    let plan =
        subject.loaded.plan_with(&given, &compile).map_err(|failure| anyhow!("{failure}"))?;
    let inputs: Vec<Literal> = given.into_iter().flatten().cloned().collect();
    row.bytes = subject.loaded.image().layout.bytes.0;

    direct.evict(subject.attached);
    direct.load(subject.attached)?;
    let began = Instant::now();
    let first = direct.run(subject.attached, plan.clone(), inputs.clone())?;
    row.first_ms = Some(ms(began.elapsed()));
    compare(&plan, &first, &tensors, row)?;
    let again = direct.run(subject.attached, plan.clone(), inputs.clone())?;
    row.deterministic = Some(again.parts == first.parts);
    warm(direct, subject, &plan, &inputs, options, row)?;
    if cold {
        let want = &first.parts[0];
        let kept = colds(direct, subject, &plan, &inputs, want, options, false)?;
        let remapped = colds(direct, subject, &plan, &inputs, want, options, true)?;
        row.cold_ms = Some(kept.cold);
        row.cold_wall_ms = Some(kept.wall);
        row.cold_stalled_ms = Some(kept.stalled);
        row.cold_input_ms = Some(kept.input);
        row.cold_remapped_ms = Some(remapped.cold);
    }
    ratios(exported, machine, batch, row);
    Ok(())
}

/// Compares every output with PyTorch's.
fn compare(plan: &Plan, output: &RunOutput, tensors: &Tensors, row: &mut Row) -> Result<()> {
    let (mut difference, mut ours, mut theirs) = (0.0f64, 0.0f64, 0.0f64);
    for (planned, got) in plan.outputs.iter().zip(&output.parts[0]) {
        let want = tensors.outputs.get(&planned.name).context("an output that PyTorch has not")?;
        difference = difference.max(relative_difference(got, want));
        if let Some(exact) = tensors.exact.get(&planned.name) {
            ours = ours.max(relative_difference(&widened(got), exact));
            theirs = theirs.max(relative_difference(&widened(want), exact));
        }
    }
    row.difference = Some(difference);
    if !tensors.exact.is_empty() {
        row.difference_exact = Some(ours);
        row.torch_difference_exact = Some(theirs);
    }
    Ok(())
}

fn warm(
    direct: &Direct,
    subject: &Subject,
    plan: &Arc<Plan>,
    inputs: &[Literal],
    options: &Options,
    row: &mut Row,
) -> Result<()> {
    let (mut device, mut wall, mut input) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    while device.len() < options.warm
        && (device.len() < WARM_FEWEST || start.elapsed().as_secs_f64() < WARM_SECONDS_MAX)
    {
        let began = Instant::now();
        let output = direct.run(subject.attached, plan.clone(), inputs.to_vec())?;
        wall.push(ms(began.elapsed()));
        device.push(ms(output.timing.compute));
        input.push(ms(output.timing.input));
    }
    row.warm_ms = Some(median(&device));
    row.warm_wall_ms = Some(median(&wall));
    row.warm_input_ms = Some(median(&input));
    row.warm_runs = device.len();
    Ok(())
}

/// Medians of cold runs, in milliseconds.
struct Cold {
    cold: f64,
    /// With the copying back of outputs.
    wall: f64,
    /// Waiting for weights, and between pieces.
    stalled: f64,
    input: f64,
}

/// Cold runs, of which every output must be that of the warm run.
fn colds(
    direct: &Direct,
    subject: &Subject,
    plan: &Arc<Plan>,
    inputs: &[Literal],
    want: &[Literal],
    options: &Options,
    give_pages_away: bool,
) -> Result<Cold> {
    let (mut cold, mut wall, mut stalled) = (Vec::new(), Vec::new(), Vec::new());
    let mut input = Vec::new();
    // The first one makes what cold runs need once.
    for repeat in 0..=options.cold {
        direct.evict(subject.attached);
        if give_pages_away {
            direct.load(subject.other)?;
            direct.evict(subject.other);
        }
        let inputs = inputs.to_vec();
        let began = Instant::now();
        let loading = direct.begin_load(subject.attached)?;
        let running = direct.begin_run(subject.attached, LaneId(0), plan.clone(), inputs)?;
        let (reported, output) = running.wait_timed();
        let span = ms(reported - began);
        loading.wait()?;
        let output = output?;
        if output.parts[0] != want {
            bail!("a cold run has another output than the warm one");
        }
        if repeat > 0 {
            cold.push(span - ms(output.timing.output));
            wall.push(span);
            stalled.push(ms(output.timing.stalled));
            input.push(ms(output.timing.input));
        }
    }
    Ok(Cold {
        cold: median(&cold),
        wall: median(&wall),
        stalled: median(&stalled),
        input: median(&input),
    })
}

/// One cold run on its own, with its pages mapped before, as a timeline.
fn trace_cold(
    direct: &Direct,
    tracer: &Tracer,
    exported: &Exported,
    common: &Common,
) -> Result<()> {
    let loaded = Loaded::from_onnx(&exported.file(1)).map_err(|failure| anyhow!("{failure}"))?;
    let inputs = exported.tensors(1)?.inputs;
    let given = loaded.in_order(&inputs);
    let plan = loaded.plan_for(&given).map_err(|failure| anyhow!("{failure}"))?;
    let inputs: Vec<Literal> = given.into_iter().flatten().cloned().collect();
    let attached = direct.attach(loaded.image().clone())?;
    let name = format!("trace-{}-{}.json", exported.case.model, exported.case.dtype);
    for _ in 0..3 {
        direct.evict(attached);
        let loading = direct.begin_load(attached)?;
        let running = direct.begin_run(attached, LaneId(0), plan.clone(), inputs.clone())?;
        let (output, loaded) = (running.wait(), loading.wait());
        loaded?;
        output?;
        // The last one stays: those before it make what cold runs need once.
        tracer.write(&common.out.join(&name))?;
    }
    // The first warm run since the trace was written is also done action by action.
    direct.run(attached, plan.clone(), inputs.clone())?;
    let name = format!("actions-{}-{}.json", exported.case.model, exported.case.dtype);
    tracer.write(&common.out.join(&name))?;
    direct.detach(attached);
    Ok(())
}

fn ratios(exported: &Exported, machine: &Machine, batch: usize, row: &mut Row) {
    let Some(warm) = row.warm_ms else { return };
    let floor = machine.transfer_ms(row.bytes).max(warm);
    row.floor_ms = Some(floor);
    // The slower of the two: with the pages given to another model in between.
    let cold = row.cold_ms.zip(row.cold_remapped_ms).map(|(kept, remapped)| kept.max(remapped));
    row.cold_to_floor = cold.map(|cold| cold / floor);
    let Some(torch) = &exported.torch else { return };
    row.torch_load_ms = Some(torch.load_ms);
    row.torch = torch.batches.get(&batch).cloned();
    if let Some(theirs) = &row.torch {
        row.warm_to_torch = Some(warm / theirs.graph_ms);
        row.torch_cold_to_cold = cold.map(|cold| theirs.cold_ms / cold);
    }
}

fn heading() -> String {
    format!(
        "{:<18} {:<4} {:>5} {:>8} {:>9} {:>8} {:>8} {:>7} {:>8} {:>8} {:>8} {:>7} {:>8} {:>7}",
        "model",
        "type",
        "batch",
        "MB",
        "differs",
        "warm",
        "torch",
        "ratio",
        "cold",
        "remapped",
        "floor",
        "ratio",
        "torch",
        "gain"
    )
}

fn line(row: &Row) -> String {
    let name = format!(
        "{:<18} {:<4} {:>5} {:>8.1}",
        row.model,
        row.dtype,
        row.batch,
        row.bytes as f64 / 1e6
    );
    if let Some(error) = &row.error {
        return format!("{name} FAILED {error}");
    }
    let number = |value: Option<f64>, digits: usize| match value {
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    };
    let torch = row.torch.as_ref();
    format!(
        "{name} {:>9} {:>8} {:>8} {:>7} {:>8} {:>8} {:>8} {:>7} {:>8} {:>7}{}",
        row.difference.map_or("-".into(), |difference| format!("{difference:.1e}")),
        number(row.warm_ms, 3),
        number(torch.map(|torch| torch.graph_ms), 3),
        number(row.warm_to_torch, 2),
        number(row.cold_ms, 3),
        number(row.cold_remapped_ms, 3),
        number(row.floor_ms, 3),
        number(row.cold_to_floor, 2),
        number(torch.map(|torch| torch.cold_ms), 3),
        number(row.torch_cold_to_cold, 2),
        if row.deterministic == Some(false) { " NOT DETERMINISTIC" } else { "" }
    )
}

/// Writes the table and prints how the bars stand.
fn finish(common: &Common, report: &Report) -> Result<()> {
    let Report { machine, rows } = report;
    let mut table = format!(
        "{}, link {:.1} GB/s, PyTorch {} (CUDA {}, cuDNN {}), TF32 {} on both sides; milliseconds\n{}\n",
        machine.gpu,
        machine.link_gbps,
        machine.torch,
        machine.cuda,
        machine.cudnn,
        machine.tf32,
        heading()
    );
    for row in rows {
        table += &(line(row) + "\n");
    }
    let mut lines = Vec::new();
    let right = |row: &&Row| {
        row.difference.is_some_and(|difference| difference <= difference_max(&row.dtype))
    };
    let failed = rows.iter().filter(|row| row.error.is_some()).count();
    let wrong = rows.iter().filter(|row| row.error.is_none()).filter(|row| !right(row)).count();
    let unsteady = rows.iter().filter(|row| row.deterministic == Some(false)).count();
    lines.push(format!(
        "models: compared {} wrong {wrong} failed {failed} not deterministic {unsteady}",
        rows.len() - failed
    ));
    let mut batches: Vec<usize> =
        rows.iter().map(|row| row.batch).filter(|&batch| batch > 0).collect();
    batches.sort_unstable();
    batches.dedup();
    for batch in batches {
        let at = || rows.iter().filter(move |row| row.batch == batch);
        let ratios: Vec<f64> = at().filter_map(|row| row.warm_to_torch).collect();
        if !ratios.is_empty() {
            lines.push(format!(
                "warm batch {batch}: Sublet / PyTorch with graphs: median {:.3} worst {:.3} of {}",
                median(&ratios),
                largest(&ratios),
                ratios.len()
            ));
        }
        let floors: Vec<f64> = at().filter_map(|row| row.cold_to_floor).collect();
        let gains: Vec<f64> = at().filter_map(|row| row.torch_cold_to_cold).collect();
        if !floors.is_empty() {
            lines.push(format!(
                "cold batch {batch}: / floor median {:.3} worst {:.3}; PyTorch's / ours median {:.2} of {}",
                median(&floors), largest(&floors), median(&gains), floors.len()
            ));
        }
    }
    let lines = lines.join("\n");
    fs::write(common.out.join("models-table.txt"), format!("{table}\n{lines}\n"))?;
    summary(&common.out, "models", &lines)
}
