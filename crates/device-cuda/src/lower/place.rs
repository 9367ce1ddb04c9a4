//! Where the values of a program lie in a lane's arena.

use super::Order;
use super::fuse::Group;
use sublet_graph::Op;
use sublet_plan::{Arena, Operand, Place, Plan, SlotId, Step};

/// Where a slot's elements are found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Home {
    /// Bytes from the start of the arena's values.
    Arena(usize),
    /// A view of a weight or a known value.
    Same(Operand),
    /// It is never stored: it passes between fused steps.
    Nowhere,
}

/// Homes of all slots, and the bytes of arena that they need together.
pub struct Placement {
    pub homes: Vec<Home>,
    pub bytes: usize,
}

/// Gives every value that is stored a place: values that are needed at the same time never overlap, and what only
/// changes a shape lies where its input does.
///
/// # Errors
/// The name of a slot's step whose shape only the run tells, or a plan whose arena would overflow.
pub fn place(plan: &Plan, groups: &[Group], orders: &[Order]) -> Result<Placement, String> {
    let (views, starts) = views(plan, groups, orders);
    let lives = lives(plan, groups, &views);
    let mut arena = Arena::default();
    let mut homes = vec![Home::Nowhere; plan.slots.len()];
    let take = |arena: &mut Arena, slot: SlotId| -> Result<Home, String> {
        let offset = arena.take(bytes(plan, slot)?).ok_or("the arena would overflow")?;
        Ok(Home::Arena(offset))
    };
    for input in &plan.inputs {
        homes[input.slot.0 as usize] = take(&mut arena, input.slot)?;
    }
    // What ends with each group, and what was never read, is given back after it.
    let mut ending: Vec<Vec<SlotId>> = vec![Vec::new(); groups.len() + 1];
    for (slot, life) in lives.iter().enumerate() {
        if let Some(last) = life.last {
            ending[last.min(groups.len())].push(SlotId(slot as u32));
        }
    }
    for (index, group) in groups.iter().enumerate() {
        for &output in &group.outputs {
            bytes(plan, output)?;
            if root(&views, Operand::Slot(output)) == Operand::Slot(output) {
                homes[output.0 as usize] = take(&mut arena, output)?;
            }
        }
        for &slot in &ending[index] {
            if let Home::Arena(offset) = homes[slot.0 as usize] {
                arena.give(offset, bytes(plan, slot)?);
            }
        }
    }
    for slot in 0..plan.slots.len() {
        match root(&views, Operand::Slot(SlotId(slot as u32))) {
            Operand::Slot(same) if same.0 as usize != slot => {
                homes[slot] = match homes[same.0 as usize] {
                    Home::Arena(offset) => Home::Arena(offset + starts[slot]),
                    other => other,
                };
            }
            Operand::Slot(_) => {}
            other => homes[slot] = Home::Same(other),
        }
    }
    Ok(Placement { homes, bytes: arena.peak() })
}

/// Whether a step only gives its first input another shape.
pub fn is_view(op: &Op) -> bool {
    matches!(
        op,
        Op::Identity | Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze
    )
}

/// Whether a group only takes parts of its input, which stay where they are.
pub fn takes_parts(group: &Group, orders: &[Order]) -> bool {
    let is_part = |slot: &SlotId| matches!(orders[slot.0 as usize], Order::Within(_));
    !group.outputs.is_empty() && group.outputs.iter().all(is_part)
}

/// For each slot, what it is a view of, and the byte of it that it starts at. Only a row-major value can be one of another
/// shape.
fn views(plan: &Plan, groups: &[Group], orders: &[Order]) -> (Vec<Option<Operand>>, Vec<usize>) {
    let mut starts = vec![0; plan.slots.len()];
    let is_plain = |operand: &Operand| match operand {
        Operand::Slot(slot) => orders[slot.0 as usize] == Order::RowMajor,
        Operand::Weight(_) | Operand::Literal(_) => true,
    };
    let mut views: Vec<_> = plan.slots.iter().map(|slot| slot.view_of.map(Operand::Slot)).collect();
    for group in groups {
        let [only] = group.steps[..] else { continue };
        let step: &Step = &plan.steps[only];
        if takes_parts(group, orders) {
            let mut start = 0;
            for &part in &group.outputs {
                let columns = plan.slot_shape(part).and_then(<[usize]>::last).copied();
                views[part.0 as usize] = step.inputs[0];
                starts[part.0 as usize] = start;
                start += columns.expect("parts have shapes") * plan.slot(part).dtype.size();
            }
            continue;
        }
        if let (true, Some(Some(from)), Some(Some(to))) =
            (is_view(&step.op), step.inputs.first(), step.outputs.first())
            && is_plain(from)
            && is_plain(&Operand::Slot(*to))
        {
            views[to.0 as usize] = Some(*from);
        }
    }
    (views, starts)
}

fn root(views: &[Option<Operand>], mut operand: Operand) -> Operand {
    while let Operand::Slot(slot) = operand {
        let Some(from) = views[slot.0 as usize] else { break };
        operand = from;
    }
    operand
}

#[derive(Clone, Copy, Default)]
struct Life {
    /// The last group that reads or writes it; the number of groups when the plan's end does.
    last: Option<usize>,
}

fn lives(plan: &Plan, groups: &[Group], views: &[Option<Operand>]) -> Vec<Life> {
    let mut lives = vec![Life::default(); plan.slots.len()];
    let mut touch = |operand: Operand, at: usize| {
        if let Operand::Slot(slot) = root(views, operand) {
            let last = &mut lives[slot.0 as usize].last;
            *last = Some(last.map_or(at, |last| last.max(at)));
        }
    };
    // Inputs are written before the first group runs, in every run.
    for input in &plan.inputs {
        touch(Operand::Slot(input.slot), 0);
    }
    for (index, group) in groups.iter().enumerate() {
        group.inputs.iter().for_each(|&input| touch(input, index));
        group.outputs.iter().for_each(|&output| touch(Operand::Slot(output), index));
    }
    for output in &plan.outputs {
        touch(output.from, groups.len());
    }
    lives
}

fn bytes(plan: &Plan, slot: SlotId) -> Result<usize, String> {
    let of = plan.slot(slot);
    let Place::Arena { shape, .. } = &of.place else {
        return Err("a value whose shape only the run tells".to_owned());
    };
    sublet_graph::byte_len(of.dtype, shape).ok_or_else(|| format!("{shape:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::{fuse, order};
    use crate::options::{Precision, Tf32};
    use std::collections::HashMap;
    use sublet_device::Image;
    use sublet_device_cpu::Evaluator;
    use sublet_graph::{
        Attention, Binary, DType, Graph, GraphInput, Model, Node, RewriteOptions, Source, Unary,
        ValueId, ValueInfo,
    };
    use sublet_import::{Limits, NoExternalData};
    use sublet_plan::{CompileOptions, Layout, LayoutOptions};

    fn plan(onnx: Vec<u8>, shape: &[usize]) -> Plan {
        let mut model =
            sublet_import::import_onnx(onnx.into(), &NoExternalData, &Limits::default()).unwrap();
        sublet_graph::infer_dtypes(&mut model).unwrap();
        sublet_graph::rewrite(&mut model, &Evaluator, &RewriteOptions::default());
        let layout = Layout::new(&model, LayoutOptions::default());
        let shapes = [Some(shape.to_vec())];
        let options = CompileOptions::default();
        Plan::compile(&model.graph, &model, &layout, &shapes, &Evaluator, &options).unwrap()
    }

    /// Writes each value's name into every unit of its range, and reads it back where it is used.
    fn check(plan: &Plan) {
        let groups = fuse::groups(plan);
        let orders = vec![Order::RowMajor; plan.slots.len()];
        let placement = place(plan, &groups, &orders).unwrap();
        let (views, _) = views(plan, &groups, &orders);
        let mut memory: HashMap<usize, SlotId> = HashMap::new();
        let range = |slot: SlotId| match placement.homes[slot.0 as usize] {
            Home::Arena(offset) => {
                let end = offset + bytes(plan, slot).unwrap();
                assert!(end <= placement.bytes);
                (offset..end).step_by(64)
            }
            home => panic!("{slot:?} is at {home:?}"),
        };
        let write = |memory: &mut HashMap<usize, SlotId>, slot: SlotId| {
            memory.extend(range(slot).map(|at| (at, slot)));
        };
        let read = |memory: &HashMap<usize, SlotId>, operand: Operand| {
            if let Operand::Slot(slot) = root(&views, operand) {
                range(slot).for_each(|at| assert_eq!(memory.get(&at), Some(&slot), "at {at}"));
            }
        };
        plan.inputs.iter().for_each(|input| write(&mut memory, input.slot));
        for group in &groups {
            group.inputs.iter().for_each(|&input| read(&memory, input));
            for &output in &group.outputs {
                if views[output.0 as usize].is_none() {
                    write(&mut memory, output);
                }
            }
            group.inputs.iter().for_each(|&input| read(&memory, input));
        }
        plan.outputs.iter().for_each(|output| read(&memory, output.from));
    }

    #[test]
    fn nothing_is_overwritten_before_its_last_use() {
        check(&plan(sublet_catalog::perceptron(1, 5, 32), &[3, 32]));
        check(&plan(sublet_catalog::convolutions(1, 5, 8), &[2, 8, 16, 16]));
        check(&plan(sublet_catalog::rectifier(32), &[7, 32]));
    }

    #[test]
    fn values_share_the_arena() {
        let plan = plan(sublet_catalog::perceptron(1, 12, 64), &[64, 64]);
        let orders = vec![Order::RowMajor; plan.slots.len()];
        let placement = place(&plan, &fuse::groups(&plan), &orders).unwrap();
        assert!(placement.bytes <= 3 * 64 * 64 * 4, "{} bytes for a chain", placement.bytes);
    }

    /// Queries, keys and values split off one value, and perhaps a sum that reads the queries.
    fn packed_attention(also_sum: bool) -> (Plan, Image) {
        let mut graph = Graph::default();
        let mut value = |source| {
            let (name, dtype) = (String::new(), Some(DType::F32));
            graph.add_value(ValueInfo { name, source, dtype, dims: None })
        };
        let x = value(Source::Input);
        let [packed, q, k, v, y, sum] = std::array::from_fn(|_| value(Source::Node));
        let attention = Attention {
            scale: None,
            is_causal: false,
            q_num_heads: 2,
            kv_num_heads: 2,
            softcap: 0.0,
            qk_output_mode: 0,
        };
        let mut node = |op: Op, inputs: &[ValueId], outputs: &[ValueId]| {
            let some = |ids: &[ValueId]| ids.iter().copied().map(Some).collect();
            let (inputs, outputs) = (some(inputs), some(outputs));
            graph.nodes.push(Node { name: op.name(), op, inputs, outputs });
        };
        node(Op::Unary(Unary::Exp), &[x], &[packed]);
        node(Op::Split { axis: 2, parts: 3 }, &[packed], &[q, k, v]);
        node(Op::Attention(attention), &[q, k, v], &[y]);
        if also_sum {
            node(Op::Binary(Binary::Add), &[q, y], &[sum]);
        }
        graph.inputs.push(GraphInput { value: x, default: None });
        graph.outputs.push(if also_sum { sum } else { y });
        let (weights, metadata) = (Vec::new(), Vec::new());
        let model = Model { name: "packed".into(), graph, weights, metadata };
        let layout = Layout::new(&model, LayoutOptions::default());
        let (shapes, options) = ([Some(vec![2, 4, 48])], CompileOptions::default());
        let plan = Plan::compile(&model.graph, &model, &layout, &shapes, &Evaluator, &options);
        (plan.unwrap(), Image::pack(&model, layout))
    }

    #[test]
    fn parts_that_attention_alone_reads_stay_where_they_are() {
        let (plan, image) = packed_attention(false);
        let groups = fuse::groups(&plan);
        let orders = order::orders(&plan, &groups, &image, Precision { tf32: Tf32::Off });
        let placement = place(&plan, &groups, &orders).unwrap();
        let taking: Vec<bool> = groups.iter().map(|group| takes_parts(group, &orders)).collect();
        assert_eq!(taking, [false, true, false]);
        let at = |slot: SlotId| match placement.homes[slot.0 as usize] {
            Home::Arena(offset) => offset,
            home => panic!("{slot:?} is at {home:?}"),
        };
        let packed = at(groups[0].outputs[0]);
        let parts: Vec<usize> = groups[1].outputs.iter().map(|&part| at(part)).collect();
        assert_eq!(parts, [packed, packed + 64, packed + 128]);
        assert!(groups[1].outputs.iter().all(|part| orders[part.0 as usize] == Order::Within(48)));
        // The result is written while the parts are read.
        let result = at(groups[2].outputs[0]);
        assert!(result >= packed + 2 * 4 * 48 * 4 || result + 2 * 4 * 16 * 4 <= packed);
    }

    #[test]
    fn parts_that_others_read_are_taken_out() {
        let (plan, image) = packed_attention(true);
        let groups = fuse::groups(&plan);
        let orders = order::orders(&plan, &groups, &image, Precision { tf32: Tf32::Off });
        assert!(orders.iter().all(|&order| order == Order::RowMajor));
        assert!(groups.iter().all(|group| !takes_parts(group, &orders)));
    }
}
