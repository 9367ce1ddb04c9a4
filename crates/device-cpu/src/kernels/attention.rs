//! Scaled dot-product attention, with grouped heads, masks, soft cap and a cache of past keys and values.
//!
//! Each task computes one head of one batch entry and holds that head's scores only.

use super::element::{Real, with_real};
use super::operands::{input, integers, invalid, optional};
use super::parallel;
use super::product::{Mat, Product};
use super::simd::vectorise_for;
use super::softmax::softmax_row;
use crate::{KernelError, View, ViewMut};
use sublet_graph::{Attention, DType};

/// Computes [`sublet_graph::Op::Attention`]: query, key, value, mask, past key, past value, lengths without padding.
/// Outputs: result, present key, present value, scores.
pub fn run(
    attention: &Attention,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let dtype = input(inputs, 0)?.dtype;
    with_real!("Attention", dtype, T => compute::<T>(attention, inputs, outputs))
}

/// Query, key or value in either layout, as a matrix per head.
#[derive(Clone, Copy)]
struct Heads<'a, T> {
    values: &'a [T],
    batch: usize,
    heads: usize,
    sequence: usize,
    size: usize,
    /// `[batch, sequence, heads · size]` rather than `[batch, heads, sequence, size]`.
    inside: bool,
}

impl<'a, T: Real> Heads<'a, T> {
    fn new(view: View<'a>, heads: usize) -> Result<Self, KernelError> {
        let values = view.values::<T>();
        match *view.shape {
            [batch, heads, sequence, size] => {
                Ok(Heads { values, batch, heads, sequence, size, inside: false })
            }
            [batch, sequence, hidden] if heads > 0 && hidden % heads == 0 => {
                Ok(Heads { values, batch, heads, sequence, size: hidden / heads, inside: true })
            }
            _ => Err(invalid(format!("attention over shape {:?} with {heads} heads", view.shape))),
        }
    }

    fn head(&self, batch: usize, head: usize) -> Mat<'a, T> {
        let hidden = self.heads * self.size;
        let (start, row_stride) = if self.inside {
            (batch * self.sequence * hidden + head * self.size, hidden)
        } else {
            ((batch * self.heads + head) * self.sequence * self.size, self.size)
        };
        Mat {
            values: self.values.get(start..).unwrap_or(&[]),
            rows: self.sequence,
            cols: self.size,
            row_stride,
            col_stride: 1,
        }
    }

    /// All heads one after the other, each behind its part of `past`.
    fn after(&self, past: Option<&Heads<'_, T>>) -> Vec<T> {
        let mut all = Vec::with_capacity(self.values.len() + past.map_or(0, |p| p.values.len()));
        for batch in 0..self.batch {
            for head in 0..self.heads {
                for part in past.into_iter().chain([self]) {
                    let rows = part.head(batch, head);
                    for row in 0..rows.rows {
                        all.extend_from_slice(&rows.values[row * rows.row_stride..][..rows.cols]);
                    }
                }
            }
        }
        all
    }
}

/// What is added to the scores of one head.
struct Bias<'a, T> {
    mask: Option<Mask<'a, T>>,
    /// Query `i` may see keys up to `i` plus this many.
    causal_past: Option<usize>,
    /// Per batch entry, how many keys are not padding.
    lengths: Option<Vec<usize>>,
}

struct Mask<'a, T> {
    allowed: Option<&'a [u8]>,
    added: Option<&'a [T]>,
    /// Steps over batch, head and query; zero where the mask is broadcast.
    steps: [usize; 3],
    /// How many keys the mask speaks of; those after are not seen.
    keys: usize,
}

fn compute<T: Real + Product>(
    attention: &Attention,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let query = Heads::<T>::new(input(inputs, 0)?, attention.q_num_heads)?;
    let key = Heads::<T>::new(input(inputs, 1)?, attention.kv_num_heads)?;
    let value = Heads::<T>::new(input(inputs, 2)?, attention.kv_num_heads)?;
    let past =
        |index: usize| optional(inputs, index).map(|view| Heads::<T>::new(view, 0)).transpose();
    let (past_key, past_value) = (past(4)?, past(5)?);
    let past_len = past_key.map_or(0, |past| past.sequence);
    let total = past_len + key.sequence;
    let fits = key.heads > 0
        && query.heads.is_multiple_of(key.heads)
        && value.heads == key.heads
        && query.size == key.size
        && (key.batch, value.batch) == (query.batch, query.batch)
        && past_value.map_or(0, |past| past.sequence) + value.sequence == total;
    if !fits {
        return Err(invalid("query, key and value that do not fit together"));
    }
    let wants_cache = outputs.iter().skip(1).take(2).any(Option::is_some);
    let caches = (wants_cache || past_key.is_some())
        .then(|| (key.after(past_key.as_ref()), value.after(past_value.as_ref())));
    let (mut keys, mut values) = (key, value);
    if let Some((all_keys, all_values)) = &caches {
        keys = Heads { values: all_keys, sequence: total, inside: false, ..key };
        values = Heads { values: all_values, sequence: total, inside: false, ..value };
        for (index, all) in [(1, all_keys), (2, all_values)] {
            if let Some(out) = outputs.get_mut(index).and_then(Option::as_mut) {
                out.values::<T>().copy_from_slice(all);
            }
        }
    }
    let bias = Bias {
        mask: mask(optional(inputs, 3), [query.batch, query.heads, query.sequence, total])?,
        causal_past: attention.is_causal.then_some(past_len),
        lengths: lengths(optional(inputs, 6), query.batch)?,
    };
    let wants_scores = outputs.get(3).is_some_and(Option::is_some);
    let work = query.sequence * total * (query.size + value.size);
    let results = parallel::tasks(query.batch * query.heads, work, |index| {
        let (batch, head) = (index / query.heads, index % query.heads);
        let shared = head / (query.heads / keys.heads);
        let one = Head {
            query: query.head(batch, head),
            keys: keys.head(batch, shared),
            values: values.head(batch, shared),
        };
        one.compute(attention, &bias, (batch, head), wants_scores)
    });
    let results: Vec<(Vec<T>, Vec<T>)> = results.into_iter().collect::<Result<_, _>>()?;
    if let Some(out) = outputs.get_mut(3).and_then(Option::as_mut) {
        let parts = out.values::<T>().chunks_mut((query.sequence * total).max(1));
        parts.zip(&results).for_each(|(out, (_, scores))| out.copy_from_slice(scores));
    }
    if let Some(out) = outputs.first_mut().and_then(Option::as_mut) {
        gather(&query, value.size, &results, out.values::<T>());
    }
    Ok(())
}

/// Puts the results of all heads where the layout of the query has them.
fn gather<T: Real>(query: &Heads<'_, T>, size: usize, results: &[(Vec<T>, Vec<T>)], out: &mut [T]) {
    for (index, (result, _)) in results.iter().enumerate() {
        let (batch, head) = (index / query.heads, index % query.heads);
        for (row, values) in result.chunks(size.max(1)).enumerate() {
            let at = if query.inside {
                ((batch * query.sequence + row) * query.heads + head) * size
            } else {
                (index * query.sequence + row) * size
            };
            out[at..at + size].copy_from_slice(values);
        }
    }
}

struct Head<'a, T> {
    query: Mat<'a, T>,
    keys: Mat<'a, T>,
    values: Mat<'a, T>,
}

impl<T: Real + Product> Head<'_, T> {
    /// The result, and the scores at the stage that the operator asks for.
    fn compute(
        &self,
        attention: &Attention,
        bias: &Bias<'_, T>,
        (batch, head): (usize, usize),
        wants_scores: bool,
    ) -> Result<(Vec<T>, Vec<T>), KernelError> {
        let (queries, keys) = (self.query.rows, self.keys.rows);
        let mut scores = vec![T::ZERO; queries * keys];
        let mut kept = Vec::new();
        let keep = |stage: u8, scores: &[T], kept: &mut Vec<T>| {
            if wants_scores && attention.qk_output_mode == stage {
                kept.extend_from_slice(scores);
            }
        };
        T::product(&mut scores, self.query, self.keys.transposed(), None)?;
        let scale = match attention.scale {
            Some(scale) => T::of(scale),
            None => T::ONE / T::from_f64(self.query.cols as f64).sqrt(),
        };
        vectorise_for::<T, _>(
            #[inline(always)]
            || {
                for x in scores.iter_mut() {
                    *x *= scale;
                }
            },
        );
        keep(0, &scores, &mut kept);
        if attention.softcap > 0.0 {
            let cap = T::of(attention.softcap);
            vectorise_for::<T, _>(
                #[inline(always)]
                || {
                    for x in scores.iter_mut() {
                        *x = cap * (*x / cap).tanh();
                    }
                },
            );
        }
        keep(1, &scores, &mut kept);
        for (row, scores) in scores.chunks_mut(keys.max(1)).enumerate() {
            bias.add(batch, head, row, scores);
        }
        keep(2, &scores, &mut kept);
        vectorise_for::<T, _>(
            #[inline(always)]
            || {
                for row in scores.chunks_mut(keys.max(1)) {
                    softmax_row(row);
                }
            },
        );
        keep(3, &scores, &mut kept);
        let mut out = vec![T::ZERO; queries * self.values.cols];
        T::product(&mut out, Mat::new(&scores, queries, keys), self.values, None)?;
        Ok((out, kept))
    }
}

impl<T: Real> Bias<'_, T> {
    fn add(&self, batch: usize, head: usize, query: usize, scores: &mut [T]) {
        if let Some(mask) = &self.mask {
            let at = batch * mask.steps[0] + head * mask.steps[1] + query * mask.steps[2];
            let known = mask.keys;
            for (score, at) in scores[..known].iter_mut().zip(at..) {
                if let Some(added) = mask.added {
                    *score += added[at];
                }
                if mask.allowed.is_some_and(|allowed| allowed[at] == 0) {
                    *score = T::NEG_INFINITY;
                }
            }
            scores[known..].fill(T::NEG_INFINITY);
        }
        if let Some(past) = self.causal_past {
            let visible = (query + past + 1).min(scores.len());
            scores[visible..].fill(T::NEG_INFINITY);
        }
        if let Some(lengths) = &self.lengths {
            let visible = lengths[batch].min(scores.len());
            scores[visible..].fill(T::NEG_INFINITY);
        }
    }
}

fn mask<'a, T: Real>(
    view: Option<View<'a>>,
    scores: [usize; 4],
) -> Result<Option<Mask<'a, T>>, KernelError> {
    let Some(view) = view else { return Ok(None) };
    let mut shape = [1; 4];
    if view.rank() > 4 {
        return Err(invalid(format!("an attention mask of shape {:?}", view.shape)));
    }
    shape[4 - view.rank()..].copy_from_slice(view.shape);
    let fits = (0..3).all(|axis| shape[axis] == 1 || shape[axis] == scores[axis]);
    if !fits || shape[3] > scores[3] {
        return Err(invalid(format!("an attention mask {:?} for scores {scores:?}", view.shape)));
    }
    let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3]];
    let steps = std::array::from_fn(|axis| if shape[axis] == 1 { 0 } else { strides[axis] });
    let (allowed, added) = if view.dtype == DType::Bool {
        (Some(view.values::<u8>()), None)
    } else {
        (None, Some(view.values::<T>()))
    };
    Ok(Some(Mask { allowed, added, steps, keys: shape[3] }))
}

fn lengths(view: Option<View<'_>>, batch: usize) -> Result<Option<Vec<usize>>, KernelError> {
    let Some(view) = view else { return Ok(None) };
    let lengths = integers(view)?;
    if lengths.len() != batch {
        return Err(invalid(format!("{} lengths for {batch} batch entries", lengths.len())));
    }
    Ok(Some(lengths.iter().map(|&length| length.max(0) as usize).collect()))
}
