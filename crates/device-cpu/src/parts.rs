//! The requests of a batch: their inputs joined in the arena, the outputs divided again.

use sublet_device::{DeviceError, Part};
use sublet_graph::Literal;
use sublet_plan::{Place, Plan};

use crate::View;

/// Checks the parts against the plan and writes their inputs to the places of the plan's inputs.
pub fn gather(plan: &Plan, parts: &[Part], arena: &mut [u8]) -> Result<(), DeviceError> {
    if parts.is_empty() {
        return Err(invalid("a launch without parts", "the launch"));
    }
    for part in parts {
        if part.inputs.len() != plan.inputs.len() {
            let what = format!("{} inputs for {}", part.inputs.len(), plan.inputs.len());
            return Err(invalid(&what, "the launch"));
        }
    }
    for (index, input) in plan.inputs.iter().enumerate() {
        let Place::Arena { offset, shape } = &plan.slot(input.slot).place else {
            return Err(invalid("an input without a place", &input.name));
        };
        let mut at = *offset;
        let mut rows = 0;
        for part in parts {
            let literal = &part.inputs[index];
            if literal.dtype() != input.dtype {
                let what = format!("a tensor of {} for one of {}", literal.dtype(), input.dtype);
                return Err(invalid(&what, &input.name));
            }
            let fits = if parts.len() == 1 {
                literal.shape() == shape
            } else {
                let (first, rest) = split_first(literal.shape());
                rows += part.rows;
                first == Some(part.rows)
                    && rest == split_first(shape).1
                    && Some(rows) <= shape.first().copied()
            };
            if !fits {
                let what = format!("shape {:?} for {shape:?}", literal.shape());
                return Err(invalid(&what, &input.name));
            }
            let bytes = literal.bytes();
            arena[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
        if parts.len() > 1 && Some(rows) != shape.first().copied() {
            return Err(invalid(&format!("{rows} rows for shape {shape:?}"), &input.name));
        }
    }
    Ok(())
}

/// Appends each part's rows of an output to that part's outputs.
pub fn divide(
    name: &str,
    view: View<'_>,
    parts: &[Part],
    outputs: &mut [Vec<Literal>],
) -> Result<(), DeviceError> {
    if parts.len() == 1 {
        outputs[0].push(literal(view, view.shape.to_vec(), view.bytes));
        return Ok(());
    }
    let rows: usize = parts.iter().map(|part| part.rows).sum();
    let (first, rest) = split_first(view.shape);
    if first != Some(rows) {
        let what = format!("an output of shape {:?} of a batch of {rows} rows", view.shape);
        return Err(invalid(&what, name));
    }
    let row_bytes = view.bytes.len().checked_div(rows).unwrap_or(0);
    let mut at = 0;
    for (part, outputs) in parts.iter().zip(outputs) {
        let end = at + part.rows * row_bytes;
        let shape = [&[part.rows], rest].concat();
        outputs.push(literal(view, shape, &view.bytes[at..end]));
        at = end;
    }
    Ok(())
}

fn literal(of: View<'_>, shape: Vec<usize>, bytes: &[u8]) -> Literal {
    Literal::new(of.dtype, shape, bytes::Bytes::copy_from_slice(bytes))
        .expect("a view is as long as its shape says")
}

fn split_first(shape: &[usize]) -> (Option<usize>, &[usize]) {
    match shape {
        [first, rest @ ..] => (Some(*first), rest),
        [] => (None, &[]),
    }
}

fn invalid(what: &str, place: &str) -> DeviceError {
    DeviceError::Invalid { what: what.to_owned(), place: place.to_owned() }
}
