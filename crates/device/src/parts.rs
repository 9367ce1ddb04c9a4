//! The requests of a batch: their inputs joined where a plan reads them.

use crate::{DeviceError, Part};
use sublet_plan::Plan;

/// Checks the parts of a launch against the plan, and hands each piece of input to `write` with the input's index and
/// the piece's offset in bytes from the input's start.
///
/// # Errors
/// [`DeviceError::Invalid`], naming the input.
pub fn gather(
    plan: &Plan,
    parts: &[Part],
    mut write: impl FnMut(usize, usize, &[u8]),
) -> Result<(), DeviceError> {
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
        let Some(shape) = plan.slot_shape(input.slot) else {
            return Err(invalid("an input without a place", &input.name));
        };
        let mut at = 0;
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
            write(index, at, bytes);
            at += bytes.len();
        }
        if parts.len() > 1 && Some(rows) != shape.first().copied() {
            return Err(invalid(&format!("{rows} rows for shape {shape:?}"), &input.name));
        }
    }
    Ok(())
}

/// Each part's share of an output of this shape: its shape, and its range of the output's bytes.
///
/// # Errors
/// [`DeviceError::Invalid`] when the output of a batch of several does not have a row per row.
pub fn divide(
    name: &str,
    shape: &[usize],
    bytes: usize,
    parts: &[Part],
) -> Result<Vec<(Vec<usize>, std::ops::Range<usize>)>, DeviceError> {
    if parts.len() == 1 {
        return Ok(vec![(shape.to_vec(), 0..bytes)]);
    }
    let rows: usize = parts.iter().map(|part| part.rows).sum();
    let (first, rest) = split_first(shape);
    if first != Some(rows) {
        let what = format!("an output of shape {shape:?} of a batch of {rows} rows");
        return Err(invalid(&what, name));
    }
    let row_bytes = bytes.checked_div(rows).unwrap_or(0);
    let mut at = 0;
    let mut shares = Vec::with_capacity(parts.len());
    for part in parts {
        let end = at + part.rows * row_bytes;
        shares.push(([&[part.rows], rest].concat(), at..end));
        at = end;
    }
    Ok(shares)
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
