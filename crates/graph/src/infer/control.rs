//! Operators with bodies.

use super::context::{Context, Types, tensor};
use super::graph::infer_graph_types;
use super::{InferError, InferInput, TensorType};
use crate::shape::{self, invalid};
use crate::{DType, Graph, ScanOptions};

/// Inputs: condition, then what both bodies read.
pub(super) fn branch(then_branch: &Graph, else_branch: &Graph, context: &Context) -> Types {
    context.need(0)?;
    context.expect_dtype(0, &[DType::Bool])?;
    let inputs = context.inputs()[1..].to_vec();
    let then_types = body_dtypes(then_branch, &inputs, context)?;
    let else_types = body_dtypes(else_branch, &inputs, context)?;
    if then_types != else_types {
        return invalid(format!("one branch gives {then_types:?}, the other {else_types:?}"));
    }
    Ok(then_types.into_iter().map(|dtype| tensor(dtype, None)).collect())
}

/// Inputs: trip count, condition, carried values, then what the body reads from outside.
pub(super) fn repeat(body: &Graph, carried: usize, context: &Context) -> Types {
    context.expect_dtype(0, &[DType::I64])?;
    context.expect_dtype(1, &[DType::Bool])?;
    if context.inputs().len() < 2 + carried {
        return invalid(format!("{} inputs for {carried} loop values", context.inputs().len()));
    }
    let inputs = loop_body_inputs(&context.inputs()[2..]);
    let types = body_dtypes(body, &inputs, context)?;
    let Some((&DType::Bool, types)) = types.split_first() else {
        return invalid("the body does not end with a condition".to_owned());
    };
    for (index, &dtype) in types.iter().take(carried).enumerate() {
        let initial = context.dtype(2 + index)?;
        if initial != dtype {
            return invalid(format!("loop value {index} starts as {initial}, goes on as {dtype}"));
        }
    }
    if types.len() < carried {
        return invalid(format!("the body gives {} of {carried} loop values", types.len()));
    }
    Ok(types.iter().map(|&dtype| tensor(dtype, None)).collect())
}

/// What a loop's body gets, when the node gets `carried` (and outer values) after trip count and condition. Shapes are
/// unknown, for an iteration may change them.
pub(super) fn loop_body_inputs<'a>(
    carried: &[Option<InferInput<'a>>],
) -> Vec<Option<InferInput<'a>>> {
    let of = |dtype| Some(InferInput { dtype, shape: None, value: None });
    let carried = carried.iter().map(|input| input.and_then(|input| of(input.dtype)));
    [of(DType::I64), of(DType::Bool)].into_iter().chain(carried).collect()
}

/// Inputs: initial states, scanned inputs, then what the body reads from outside.
pub(super) fn scan(scan: &ScanOptions, context: &Context) -> Types {
    let inputs = context.inputs();
    let (states, scanned) = (scan.states, scan.scan_inputs);
    if states.checked_add(scanned).is_none_or(|count| count > inputs.len()) {
        return invalid(format!("{} inputs for {states} states, {scanned} scans", inputs.len()));
    }
    let mut length = None;
    let mut slices = Vec::with_capacity(scanned);
    for index in 0..scanned {
        let Some(x) = context.shape(states + index) else {
            slices.push(None);
            continue;
        };
        let axis = shape::axis(scan.input_axes.get(index).copied().unwrap_or(0), x.len())?;
        if *length.get_or_insert(x[axis]) != x[axis] {
            return invalid(format!("scanned input {index} of {x:?} has another length"));
        }
        slices.push(Some([&x[..axis], &x[axis + 1..]].concat()));
    }
    let body_inputs = scan_body_inputs(scan, inputs, &slices);
    let types = body_types(&scan.body, &body_inputs, context)?;
    if types.len() < states {
        return invalid(format!("the body gives {} of {states} states", types.len()));
    }
    // Shapes hold for every iteration only if no state changes its shape from one to the next.
    let mut steady = true;
    for (index, of_body) in types[..states].iter().enumerate() {
        let initial = context.need(index)?;
        if initial.dtype != of_body.dtype {
            let (from, to) = (initial.dtype, of_body.dtype);
            return invalid(format!("state {index} starts as {from}, goes on as {to}"));
        }
        steady &= initial.shape.is_some() && initial.shape == of_body.shape.as_deref();
    }
    let mut result = Vec::with_capacity(types.len());
    for (index, of_body) in types.into_iter().enumerate() {
        let shape = match (of_body.shape.filter(|_| steady), length) {
            (Some(mut shape), Some(length)) if index >= states => {
                let axis = scan.output_axes.get(index - states).copied().unwrap_or(0);
                shape.insert(shape::axis(axis, shape.len() + 1)?, length);
                Some(shape)
            }
            (shape, _) => shape.filter(|_| index < states),
        };
        result.push(tensor(of_body.dtype, shape));
    }
    Ok(result)
}

/// What a scan's body gets: states, one slice of each scanned input, outer values.
pub(super) fn scan_body_inputs<'a>(
    scan: &ScanOptions,
    inputs: &[Option<InferInput<'a>>],
    slices: &'a [Option<Vec<usize>>],
) -> Vec<Option<InferInput<'a>>> {
    inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let input = (*input)?;
            let shape = match index.checked_sub(scan.states) {
                Some(index) if index < scan.scan_inputs => {
                    slices.get(index).and_then(|slice| slice.as_deref())
                }
                _ => input.shape,
            };
            // States change from iteration to iteration: only outer values stay what they are.
            let outer = index >= scan.states + scan.scan_inputs;
            Some(InferInput { shape, value: input.value.filter(|_| outer), ..input })
        })
        .collect()
}

/// Element types of a body's outputs: as recorded in the body, else inferred.
fn body_dtypes(
    body: &Graph,
    inputs: &[Option<InferInput>],
    context: &Context,
) -> Result<Vec<DType>, InferError> {
    let recorded: Option<Vec<DType>> =
        body.outputs.iter().map(|&output| body.values.get(output.0 as usize)?.dtype).collect();
    match recorded {
        Some(recorded) if body.inputs.len() == inputs.len() => Ok(recorded),
        _ => Ok(body_types(body, inputs, context)?.into_iter().map(|found| found.dtype).collect()),
    }
}

fn body_types(
    body: &Graph,
    inputs: &[Option<InferInput>],
    context: &Context,
) -> Result<Vec<TensorType>, InferError> {
    infer_graph_types(body, inputs, context.weights)
        .map_err(|error| InferError::Invalid(error.to_string()))
}
