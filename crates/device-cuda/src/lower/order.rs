//! In which order elements lie. Pictures: convolutions that are faster channels last get them so, and what lies between
//! two such convolutions stays so. Queries, keys and values that one product made stay in its rows, side by side.

use super::Order;
use super::fuse::Group;
use super::ops::conv::wants_channels_last;
use super::ops::elementwise::is_elementwise;
use super::place::is_view;
use crate::options::Precision;
use sublet_device::Image;
use sublet_graph::Op;
use sublet_plan::{Operand, Plan, SlotId, Step};

/// The order of every slot. Inputs and outputs of the plan are row-major.
pub fn orders(plan: &Plan, groups: &[Group], image: &Image, precision: Precision) -> Vec<Order> {
    let mut orders = vec![Order::RowMajor; plan.slots.len()];
    // What is also seen in another shape is row-major: a view is the same bytes.
    let mut is_viewed = vec![false; plan.slots.len()];
    for root in plan.slots.iter().filter_map(|slot| slot.view_of) {
        is_viewed[root.0 as usize] = true;
    }
    for group in groups {
        if let Some(row) = row_of_parts(plan, group, &is_viewed, &orders) {
            group.outputs.iter().for_each(|part| orders[part.0 as usize] = Order::Within(row));
            continue;
        }
        for &output in &group.outputs {
            let is_given = plan.outputs.iter().any(|given| given.from == Operand::Slot(output));
            if !is_given
                && !is_viewed[output.0 as usize]
                && lies_last(plan, group, output, image, precision, &orders)
            {
                orders[output.0 as usize] = Order::ChannelsLast;
            }
        }
    }
    orders
}

/// What libraries want addresses to be a multiple of, in bytes.
const ALIGNMENT: usize = 16;

/// Elements in a row of the value that a group splits, when its parts need not be taken out: attention alone reads them,
/// and reads heads wherever they lie.
fn row_of_parts(plan: &Plan, group: &Group, is_viewed: &[bool], orders: &[Order]) -> Option<usize> {
    let [step] = group.steps[..] else { return None };
    let step = &plan.steps[step];
    let (&Op::Split { axis, .. }, Some(&Some(Operand::Slot(whole)))) =
        (&step.op, step.inputs.first())
    else {
        return None;
    };
    let &[_, _, row] = plan.slot_shape(whole)? else { return None };
    let size = plan.slot(whole).dtype.size();
    // What a step computed has a place of its own, and a view of a weight has not.
    let root = plan.slot(whole).view_of.unwrap_or(whole);
    let makes = |step: &Step| !is_view(&step.op) && step.outputs.contains(&Some(root));
    let is_made = orders[whole.0 as usize] == Order::RowMajor && plan.steps.iter().any(makes);
    if !matches!(axis, -1 | 2) || !is_made || !(row * size).is_multiple_of(ALIGNMENT) {
        return None;
    }
    for part in &step.outputs {
        let part = (*part)?;
        let is_given = plan.outputs.iter().any(|given| given.from == Operand::Slot(part));
        let &[_, _, columns] = plan.slot_shape(part)? else { return None };
        let suits = !is_given
            && !is_viewed[part.0 as usize]
            && plan.slot(part).view_of.is_none()
            && (columns * size).is_multiple_of(ALIGNMENT)
            && plan.steps.iter().all(|reader| is_head_of(part, reader));
        suits.then_some(())?;
    }
    Some(row)
}

/// Whether a step reads a value as query, keys or values alone, or not at all.
fn is_head_of(value: SlotId, step: &Step) -> bool {
    let heads = match &step.op {
        Op::Attention(attention) if attention.q_num_heads > 0 => 3,
        _ => 0,
    };
    step.inputs.iter().skip(heads).all(|input| *input != Some(Operand::Slot(value)))
}

fn lies_last(
    plan: &Plan,
    group: &Group,
    output: SlotId,
    image: &Image,
    precision: Precision,
    orders: &[Order],
) -> bool {
    let Some(shape) = plan.slot_shape(output).filter(|shape| shape.len() == 4) else {
        return false;
    };
    let is_last = |input: &Operand| matches!(input, Operand::Slot(slot) if orders[slot.0 as usize] == Order::ChannelsLast);
    let is_same_and_last =
        |input: &Operand| is_last(input) && shape_of(plan, image, *input) == Some(shape);
    if let [step] = group.steps[..] {
        let step = &plan.steps[step];
        match (&step.op, &step.inputs[..]) {
            (op @ (Op::Conv { .. } | Op::ConvTranspose { .. }), [Some(x), Some(w), ..]) => {
                let shapes = (shape_of(plan, image, *x), shape_of(plan, image, *w));
                let (Some(x), Some(w)) = shapes else { return false };
                let dtype = plan.slot(output).dtype;
                return wants_channels_last(op, dtype, [x, w], precision);
            }
            (op, [Some(x), ..]) if keeps(op) => return is_last(x),
            (Op::Concat { .. }, inputs) => return inputs.iter().flatten().all(is_last),
            _ => {}
        }
    }
    group.steps.iter().all(|&step| is_elementwise(&plan.steps[step].op))
        && group.inputs.iter().any(is_same_and_last)
}

/// Whether an operator that is not element by element gives its result in the order of its first input.
fn keeps(op: &Op) -> bool {
    matches!(
        op,
        Op::MaxPool { .. }
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::Slice
            | Op::Split { .. }
    )
}

fn shape_of<'a>(plan: &'a Plan, image: &'a Image, operand: Operand) -> Option<&'a [usize]> {
    match operand {
        Operand::Slot(slot) => plan.slot_shape(slot),
        Operand::Weight(id) => Some(&image.weight(id).shape),
        Operand::Literal(index) => Some(plan.literals[index as usize].shape()),
    }
}
