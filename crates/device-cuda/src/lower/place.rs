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
    let views = views(plan, groups, orders);
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
            Operand::Slot(same) if same.0 as usize != slot => homes[slot] = homes[same.0 as usize],
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

/// For each slot, what it is a view of. Only a row-major value can be one of another shape.
fn views(plan: &Plan, groups: &[Group], orders: &[Order]) -> Vec<Option<Operand>> {
    let is_plain = |operand: &Operand| match operand {
        Operand::Slot(slot) => orders[slot.0 as usize] == Order::RowMajor,
        Operand::Weight(_) | Operand::Literal(_) => true,
    };
    let mut views: Vec<_> = plan.slots.iter().map(|slot| slot.view_of.map(Operand::Slot)).collect();
    for group in groups {
        let [only] = group.steps[..] else { continue };
        let step: &Step = &plan.steps[only];
        if let (true, Some(Some(from)), Some(Some(to))) =
            (is_view(&step.op), step.inputs.first(), step.outputs.first())
            && is_plain(from)
            && is_plain(&Operand::Slot(*to))
        {
            views[to.0 as usize] = Some(*from);
        }
    }
    views
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
    use crate::lower::fuse;
    use std::collections::HashMap;
    use sublet_device_cpu::Evaluator;
    use sublet_graph::RewriteOptions;
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
        let views = views(plan, &groups, &orders);
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
}
