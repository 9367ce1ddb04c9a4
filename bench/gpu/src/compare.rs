//! Where a model's rounding comes from: every value that a device computes, against exact arithmetic.
//!
//! The model runs once on the device with all its intermediate values as outputs. Each node is then computed again by
//! the CPU kernels from the device's own inputs of that node, in f32 and in the node's own type: what the device is off
//! by more than the CPU is the device's doing in this very node. Beside it stands how far each value is from that of the
//! whole model in f32, on the device and on the CPU: that is how errors grow.

use crate::Common;
use crate::exported::{Exported, Tensors};
use crate::figures::widened;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use sublet_conformance::{Direct, Loaded, relative_difference};
use sublet_device_cpu::Evaluator;
use sublet_graph::{DType, Evaluate, Literal, Node, Op, ValueId};
use sublet_plan::CompileOptions;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Nodes printed; all of them are written into the folder of results
    #[arg(long, default_value_t = 25)]
    worst: usize,
}

type Values = HashMap<ValueId, Literal>;

/// Relative differences of one node's first output.
struct Row {
    node: String,
    op: String,
    dtype: DType,
    shape: Vec<usize>,
    /// From f32 on the device's own inputs: the device's output, and the CPU's in the node's own type.
    device_alone: f64,
    cpu_alone: f64,
    /// From the whole model in f32.
    device: f64,
    cpu: f64,
    /// The largest magnitude on the device, which tells what is close to the end of the range.
    largest: f32,
}

pub fn run(common: &Common, options: &Options) -> Result<()> {
    let direct = Direct::new(common.open(&common.device)?);
    for exported in Exported::all(common)? {
        println!("{} batch {}", exported.name(), options.batch);
        let (rows, outputs) =
            one_model(&direct, &exported, options.batch).with_context(|| exported.name())?;
        let mut all = format!("{outputs}\nin order\n{}", heading());
        rows.iter().for_each(|row| all += &line(row));
        let mut worst: Vec<&Row> = rows.iter().collect();
        worst.sort_by(|a, b| excess(b).total_cmp(&excess(a)));
        let mut shown = format!("worst first\n{}", heading());
        worst.iter().take(options.worst).for_each(|row| shown += &line(row));
        print!("{outputs}{shown}");
        let name = format!("compare-{}-{}.txt", exported.case.model, exported.case.dtype);
        fs::create_dir_all(&common.out)?;
        fs::write(common.out.join(name), format!("{shown}\n{all}"))?;
    }
    Ok(())
}

/// How much more than the CPU the device rounds; what an `f16` cannot hold counts for nothing.
fn excess(row: &Row) -> f64 {
    row.device_alone / row.cpu_alone.max(rounding(row.dtype))
}

/// What rounding to a type alone does to a value, about.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2e-4,
        DType::BF16 => 1.6e-3,
        _ => 3e-8,
    }
}

fn one_model(direct: &Direct, exported: &Exported, batch: usize) -> Result<(Vec<Row>, String)> {
    let loaded =
        Loaded::from_onnx(&exported.file(batch)).map_err(|failure| anyhow!("{failure}"))?;
    let tensors = exported.tensors(batch)?;
    let served = on_device(direct, &loaded, &tensors)?;
    let watched = loaded.watched();
    let seen = on_device(direct, &watched, &tensors)?;
    let given = given(&loaded, &tensors)?;
    let on_device: Values =
        given.iter().map(|(&id, value)| (id, value.clone())).chain(seen.clone()).collect();
    let rows = rows(&loaded, &given, &on_device)?;

    let mut outputs = String::new();
    let names = |id: ValueId| &loaded.graph().value(id).name;
    for (id, got) in &served {
        let name = names(*id);
        let find = |list: &std::collections::BTreeMap<String, Literal>| list.get(name).cloned();
        let (want, exact) = (find(&tensors.outputs), find(&tensors.exact));
        let of = |a: Option<&Literal>, b: &Option<Literal>| match (a, b) {
            (Some(a), Some(b)) => {
                format!("{:.1e}", relative_difference(&widened(a), &widened(b)))
            }
            _ => "-".to_owned(),
        };
        let with_all = seen.iter().find(|(other, _)| other == id).map(|(_, value)| value);
        writeln!(
            outputs,
            "{name}: from PyTorch {}; from exact: as served {}, with all values kept {}, PyTorch {}",
            of(Some(got), &want),
            of(Some(got), &exact),
            of(with_all, &exact),
            of(want.as_ref(), &exact),
        )?;
    }
    Ok((rows, outputs))
}

/// Runs a model on the device: its outputs by value.
fn on_device(
    direct: &Direct,
    loaded: &Loaded,
    tensors: &Tensors,
) -> Result<Vec<(ValueId, Literal)>> {
    let arena = direct.device().info().arena_bytes_max.as_usize();
    let compile = CompileOptions { arena_bytes_max: arena, ..CompileOptions::default() };
    let given = loaded.in_order(&tensors.inputs);
    let plan = loaded.plan_with(&given, &compile).map_err(|failure| anyhow!("{failure}"))?;
    let inputs: Vec<Literal> = given.into_iter().flatten().cloned().collect();
    let attached = direct.attach(loaded.image().clone())?;
    direct.load(attached)?;
    let ran = direct.run(attached, plan, inputs);
    direct.detach(attached);
    let outputs = ran?.parts.swap_remove(0);
    Ok(loaded.graph().outputs.iter().copied().zip(outputs).collect())
}

/// Inputs and weights.
fn given(loaded: &Loaded, tensors: &Tensors) -> Result<Values> {
    let model = loaded.model();
    let mut values: Values = (0..model.graph.values.len() as u32)
        .filter_map(|id| Some((ValueId(id), model.literal(ValueId(id))?.clone())))
        .collect();
    for (input, tensor) in model.graph.inputs.iter().zip(loaded.in_order(&tensors.inputs)) {
        let default = input.default.map(|weight| &model.weight(weight).value);
        let tensor = tensor.or(default).context("an input without a value")?;
        values.insert(input.value, tensor.clone());
    }
    Ok(values)
}

fn rows(loaded: &Loaded, given: &Values, on_device: &Values) -> Result<Vec<Row>> {
    let mut exact: Values = given.iter().map(|(&id, value)| (id, widened(value))).collect();
    let mut on_cpu = given.clone();
    let device_wide: Values = on_device.iter().map(|(&id, value)| (id, widened(value))).collect();
    let mut rows = Vec::new();
    for node in &loaded.graph().nodes {
        let wide = Node { op: widened_op(&node.op), ..node.clone() };
        let keep = |values: &mut Values, node: &Node| -> Result<()> {
            let computed = computed(node, values)?;
            values.extend(computed);
            Ok(())
        };
        keep(&mut exact, &wide)?;
        keep(&mut on_cpu, node)?;
        let alone_exact = computed(&wide, &device_wide)?;
        let alone = computed(node, on_device)?;
        let Some((id, alone_exact)) = alone_exact.first() else { continue };
        let got = on_device.get(id).context("a value that the device did not give")?;
        if !got.dtype().is_float() {
            continue;
        }
        let from = |got: &Literal, want: &Literal| relative_difference(&widened(got), want);
        rows.push(Row {
            node: node.name.clone(),
            op: node.op.to_string().chars().take(40).collect(),
            dtype: got.dtype(),
            shape: got.shape().to_vec(),
            device_alone: from(got, alone_exact),
            cpu_alone: from(&alone[0].1, alone_exact),
            device: from(got, &exact[id]),
            cpu: from(&on_cpu[id], &exact[id]),
            largest: widened(got)
                .to_f32s()
                .map_or(0.0, |values| values.iter().fold(0.0, |top, value| top.max(value.abs()))),
        });
    }
    Ok(rows)
}

/// A node's outputs on these values; those that have a name.
fn computed(node: &Node, values: &Values) -> Result<Vec<(ValueId, Literal)>> {
    let inputs: Vec<Option<&Literal>> = node
        .inputs
        .iter()
        .map(|input| {
            input.map(|id| values.get(&id).context("a value that nobody made")).transpose()
        })
        .collect::<Result<_>>()?;
    let outputs = Evaluator
        .evaluate(&node.op, &inputs, node.outputs.len())
        .with_context(|| node.name.clone())?;
    Ok(node.outputs.iter().zip(outputs).filter_map(|(id, value)| Some(((*id)?, value))).collect())
}

/// The operator where all that is of half precision has become `f32`.
fn widened_op(op: &Op) -> Op {
    match op {
        Op::Cast { to: DType::F16 | DType::BF16 } => Op::Cast { to: DType::F32 },
        other => other.clone(),
    }
}

fn heading() -> String {
    format!(
        "{:>8} {:>8} {:>8} {:>8} {:>9}  {:<40} value\n",
        "alone", "cpu", "grown", "cpu", "largest", "operator"
    )
}

fn line(row: &Row) -> String {
    format!(
        "{:>8.1e} {:>8.1e} {:>8.1e} {:>8.1e} {:>9.1e}  {:<40} {} {:?} {}\n",
        row.device_alone,
        row.cpu_alone,
        row.device,
        row.cpu,
        row.largest,
        row.op,
        row.dtype,
        row.shape,
        row.node,
    )
}
