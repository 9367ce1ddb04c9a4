//! Attention and rotary embeddings.

use super::InferError;
use super::context::{Context, Types, one, tensor};
use crate::shape::{broadcast, invalid};
use crate::{Attention, DType};

/// Sizes of one of query, key and value, whichever of the two layouts it has.
#[derive(Clone, Copy)]
struct Heads {
    batch: usize,
    heads: usize,
    sequence: usize,
    size: usize,
}

/// Inputs: query, key, value, mask, past key, past value, count of keys that are not padding. Outputs: result, present
/// key, present value, products of query and key.
pub(super) fn attention(attention: &Attention, context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 1, 4])?;
    let value_dtype = context.same_dtype(&[2, 5])?;
    if attention.qk_output_mode > 3 {
        return invalid(format!("qk_matmul_output_mode is {}", attention.qk_output_mode));
    }
    if context.get(4).is_some() != context.get(5).is_some() {
        return invalid("past key and past value come together".to_owned());
    }
    context.expect_dtype(6, &[DType::I64])?;
    let query = heads(context, 0, attention.q_num_heads)?;
    let key = heads(context, 1, attention.kv_num_heads)?;
    let value = heads(context, 2, attention.kv_num_heads)?;
    let (Some(query), Some(key), Some(value)) = (query, key, value) else {
        return Ok(vec![
            tensor(dtype, None),
            tensor(dtype, None),
            tensor(value_dtype, None),
            tensor(dtype, None),
        ]);
    };
    check_heads(context, query, key, value)?;
    let past = context.ranked(4, 4..=4)?;
    let total = match (past, context.get(4)) {
        (Some(past), _) => past[2].checked_add(key.sequence),
        (None, None) => Some(key.sequence),
        (None, Some(_)) => None,
    };
    if let (Some(mask), Some(total)) = (context.shape(3), total) {
        check_mask(mask, [query.batch, query.heads, query.sequence, total])?;
    }
    let result = if context.shape(0).is_some_and(|shape| shape.len() == 3) {
        let hidden = query.heads.checked_mul(value.size);
        hidden.map(|hidden| vec![query.batch, query.sequence, hidden])
    } else {
        Some(vec![query.batch, query.heads, query.sequence, value.size])
    };
    let cache = |one: Heads| total.map(|total| vec![one.batch, one.heads, total, one.size]);
    let products = total.map(|total| vec![query.batch, query.heads, query.sequence, total]);
    Ok(vec![
        tensor(dtype, result),
        tensor(dtype, cache(key)),
        tensor(value_dtype, cache(value)),
        tensor(dtype, products),
    ])
}

fn heads(context: &Context, index: usize, heads: usize) -> Result<Option<Heads>, InferError> {
    context.need(index)?;
    match context.shape(index) {
        None => Ok(None),
        Some(&[batch, heads, sequence, size]) => Ok(Some(Heads { batch, heads, sequence, size })),
        Some(&[batch, sequence, hidden]) if heads > 0 && hidden % heads == 0 => {
            Ok(Some(Heads { batch, heads, sequence, size: hidden / heads }))
        }
        Some(shape) => {
            invalid(format!("input {} of shape {shape:?} is not {heads} heads", index + 1))
        }
    }
}

fn check_heads(
    context: &Context,
    query: Heads,
    key: Heads,
    value: Heads,
) -> Result<(), InferError> {
    let agree = query.batch == key.batch
        && key.batch == value.batch
        && key.heads == value.heads
        && key.sequence == value.sequence
        && query.size == key.size
        && key.heads > 0
        && query.heads.is_multiple_of(key.heads);
    if !agree {
        let shapes = [0, 1, 2].map(|index| context.shape(index).unwrap_or_default());
        return invalid(format!("query, key and value {shapes:?} do not fit"));
    }
    let pasts = (context.ranked(4, 4..=4)?, context.ranked(5, 4..=4)?);
    if let (Some(past_key), Some(past_value)) = pasts {
        let fits = |past: &[usize], one: Heads| {
            past[0] == one.batch && past[1] == one.heads && past[3] == one.size
        };
        if !fits(past_key, key) || !fits(past_value, value) || past_key[2] != past_value[2] {
            return invalid(format!("past key {past_key:?} and value {past_value:?} do not fit"));
        }
    }
    Ok(())
}

/// A mask broadcasts to the products; along the last axis it may be shorter than the keys.
fn check_mask(mask: &[usize], products: [usize; 4]) -> Result<(), InferError> {
    let mut full = mask.to_vec();
    if let Some(last) = full.last_mut()
        && *last < products[3]
    {
        *last = products[3];
    }
    if broadcast(&[&full, &products])? != products {
        return invalid(format!("mask {mask:?} does not broadcast to {products:?}"));
    }
    Ok(())
}

pub(super) fn rotary_embedding(num_heads: usize, rotary_dim: usize, context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 1, 2])?;
    context.need(1)?;
    context.need(2)?;
    context.expect_dtype(3, &[DType::I64])?;
    let shape = context.ranked(0, 3..=4)?;
    let head_size = match shape {
        None => None,
        Some(&[_, _, hidden]) if num_heads > 0 && hidden % num_heads == 0 => {
            Some(hidden / num_heads)
        }
        Some(&[_, _, _, size]) => Some(size),
        Some(shape) => return invalid(format!("{shape:?} is not {num_heads} heads")),
    };
    if let Some(size) = head_size
        && (rotary_dim > size
            || (rotary_dim == 0 && !size.is_multiple_of(2))
            || !rotary_dim.is_multiple_of(2))
    {
        return invalid(format!("rotates {rotary_dim} of {size} elements of a head"));
    }
    one(dtype, shape.map(<[usize]>::to_vec))
}
