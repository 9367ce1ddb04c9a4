//! In which order the elements of pictures lie: convolutions that are faster channels last get them so, and what lies
//! between two such convolutions stays so.

use super::Order;
use super::fuse::Group;
use super::ops::conv::wants_channels_last;
use super::ops::elementwise::is_elementwise;
use crate::options::Precision;
use sublet_device::Image;
use sublet_graph::Op;
use sublet_plan::{Operand, Plan, SlotId};

/// The order of every slot. Inputs and outputs of the plan are row-major.
pub fn orders(plan: &Plan, groups: &[Group], image: &Image, precision: Precision) -> Vec<Order> {
    let mut orders = vec![Order::RowMajor; plan.slots.len()];
    // What is also seen in another shape is row-major: a view is the same bytes.
    let mut is_viewed = vec![false; plan.slots.len()];
    for root in plan.slots.iter().filter_map(|slot| slot.view_of) {
        is_viewed[root.0 as usize] = true;
    }
    for group in groups {
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
