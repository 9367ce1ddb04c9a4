//! Scaled dot-product attention: scores by one product, a kernel for mask and softmax, results by another product.
//!
//! Heads are read where they lie, also inside `[batch, sequence, heads · size]` and within longer rows. Entries of the
//! batch are taken a few at a time, so that their scores stay in the device's cache between the three passes.

use super::attention_problem::WithEngines;
use super::attention_weights::{Mask, Weights};
use super::map::{Access, Map, map};
use super::operands::{input, optional, output};
use super::product::{Axes, compute, multiply};
use super::product_calls::emit_best;
use crate::blas::{Matrix, Product};
use crate::driver::Address;
use crate::lower::{Emitter, LowerError, Order, Value};
use sublet_graph::{Attention, DType};

/// Query, key or value in either layout.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub address: Address,
    pub dtype: DType,
    pub batch: usize,
    pub heads: usize,
    pub sequence: usize,
    pub size: usize,
    /// Of `[batch, sequence, heads · size]` rather than `[batch, heads, sequence, size]`: elements from one position to
    /// the next.
    pub row: Option<usize>,
}

impl Heads {
    fn of(value: &Value, heads: usize) -> Result<Heads, LowerError> {
        let (address, dtype) = (value.address, value.dtype);
        match *value.shape.as_slice() {
            [batch, heads, sequence, size] => {
                Ok(Heads { address, dtype, batch, heads, sequence, size, row: None })
            }
            [batch, sequence, hidden] if heads > 0 && hidden.is_multiple_of(heads) => {
                let size = hidden / heads;
                let row = Some(match value.order {
                    Order::Within(row) => row,
                    _ => hidden,
                });
                Ok(Heads { address, dtype, batch, heads, sequence, size, row })
            }
            _ => Err(LowerError::Invalid(format!(
                "attention over shape {:?} with {heads} heads",
                value.shape
            ))),
        }
    }

    /// Elements from one batch entry, head and position to the next.
    pub fn steps(&self) -> [usize; 3] {
        let Heads { heads, sequence, size, .. } = *self;
        match self.row {
            Some(row) => [sequence * row, size, row],
            None => [heads * sequence * size, sequence * size, size],
        }
    }
}

/// Bytes of scores that are worked on at a time: they fit into the caches of the devices this is for, beside the rest.
const SCORES_BYTES: usize = 24 << 20;

/// Emits `Op::Attention`.
pub fn attention(
    emitter: &mut Emitter<'_>,
    op: &Attention,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let y = output(outputs, 0)?;
    let query = Heads::of(input(inputs, 0)?, op.q_num_heads)?;
    let key = Heads::of(input(inputs, 1)?, op.kv_num_heads)?;
    let value = Heads::of(input(inputs, 2)?, op.kv_num_heads)?;
    if !query.dtype.is_float() {
        return Err(LowerError::unsupported(format!("attention of {}", query.dtype)));
    }
    let keys = with_past(emitter, key, optional(inputs, 4), optional(outputs, 1))?;
    let values = with_past(emitter, value, optional(inputs, 5), optional(outputs, 2))?;
    let fits = keys.heads > 0
        && query.heads.is_multiple_of(keys.heads)
        && values.heads == keys.heads
        && query.size == keys.size
        && values.sequence == keys.sequence
        && (keys.batch, values.batch) == (query.batch, query.batch);
    if !fits {
        return Err(LowerError::Invalid("query, key and value that do not fit together".into()));
    }
    let scores = [query.batch, query.heads, query.sequence, keys.sequence];
    let weights = Weights {
        dtype: query.dtype,
        shape: scores,
        mask: optional(inputs, 3).map(|mask| Mask::of(mask, scores)).transpose()?,
        causal_past: op.is_causal.then(|| keys.sequence - key.sequence),
        lengths: optional(inputs, 6).map(|lengths| lengths.address),
        softcap: op.softcap,
        kept: optional(outputs, 3).map(|kept| (kept.address, op.qk_output_mode)),
    };
    if y.elements() == 0 {
        return Ok(());
    }
    if keys.sequence == 0 {
        emitter.fill(y.address, 0, y.bytes());
        return Ok(());
    }
    let scale = op.scale.map_or(1.0 / (query.size as f64).sqrt(), f64::from);
    // As the query lies, but in rows of its own.
    let row = query.row.map(|_| query.heads * values.size);
    let result = Heads { address: y.address, size: values.size, row, ..query };
    let passes = Passes { heads: [query, keys, values, result], weights, scale };
    match WithEngines::new(emitter.gpu, &passes)? {
        Some(problem) => emit_best(emitter, &problem, &passes.operands()),
        None => passes.emit(emitter),
    }
}

/// Attention in three passes.
pub struct Passes {
    /// Query, keys, values, result.
    pub heads: [Heads; 4],
    pub weights: Weights,
    pub scale: f64,
}

impl Passes {
    /// Addresses of query, keys, values, result and mask.
    pub fn operands(&self) -> Vec<Address> {
        let mask = self.weights.mask.as_ref().map(|mask| mask.address);
        self.heads.iter().map(|heads| heads.address).chain(mask).collect()
    }

    /// The same on other operands.
    pub fn on(&self, operands: &[Address]) -> Passes {
        let mut heads = self.heads;
        heads.iter_mut().zip(operands).for_each(|(heads, &address)| heads.address = address);
        let mut weights = self.weights.clone();
        if let Some(mask) = &mut weights.mask {
            mask.address = operands[4];
        }
        Passes { heads, weights, scale: self.scale }
    }

    /// Emits the passes, a few entries of the batch at a time.
    pub fn emit(&self, emitter: &mut Emitter<'_>) -> Result<(), LowerError> {
        let Passes { heads, weights, scale } = self;
        emit(emitter, *heads, weights, *scale)
    }
}

fn emit(
    emitter: &mut Emitter<'_>,
    [query, keys, values, result]: [Heads; 4],
    weights: &Weights,
    scale: f64,
) -> Result<(), LowerError> {
    let dtype = query.dtype;
    // Half precision would overflow before the softmax, and lose what it tells apart.
    let scores = if dtype.size() == 2 { DType::F32 } else { dtype };
    let elements = query.heads * query.sequence * keys.sequence;
    let together = (SCORES_BYTES / (elements * scores.size()).max(1)).clamp(1, query.batch);
    let scores_at = emitter.scratch(together * elements * scores.size());
    let weights_at = if scores == dtype {
        scores_at
    } else {
        emitter.scratch(together * elements * dtype.size())
    };
    let groups = query.heads / keys.heads;
    let (q, k, v, y) = (query.steps(), keys.steps(), values.steps(), result.steps());
    let arithmetic = compute(emitter.gpu, dtype);
    let (queries, total) = (query.sequence, keys.sequence);
    // Steps of scores, packed, over batch entries and heads.
    let s = [query.heads * queries * total, queries * total];
    let scoring = Product {
        out: scores,
        a: Matrix::rows(q[2]),
        b: Matrix::columns(k[2]),
        alpha: scale,
        ..Product::dense(dtype, [queries, total, query.size], arithmetic)
    };
    let gathering = Product {
        b: Matrix::rows(v[2]),
        d: Matrix::rows(y[2]),
        ..Product::dense(dtype, [queries, values.size, total], arithmetic)
    };
    for first in (0..query.batch).step_by(together) {
        let count = together.min(query.batch - first);
        // Query heads of a group share a head of keys and values.
        let axes = |a: [usize; 2], b: [usize; 2], d: [usize; 2]| {
            Axes::new([
                (count, [a[0], b[0], d[0]]),
                (keys.heads, [a[1] * groups, b[1], d[1] * groups]),
                (groups, [a[1], 0, d[1]]),
            ])
        };
        let at = |heads: &Heads, step: usize| {
            heads.address + (first * step * heads.dtype.size()) as Address
        };
        let scoring_axes = axes([q[0], q[1]], [k[0], k[1]], s);
        let addresses = [at(&query, q[0]), at(&keys, k[0]), scores_at];
        multiply(emitter, &scoring, &scoring_axes, addresses)?;
        weights.emit(emitter, (scores, scores_at), weights_at, first..first + count)?;
        let gathering_axes = axes(s, [v[0], v[1]], [y[0], y[1]]);
        let addresses = [weights_at, at(&values, v[0]), at(&result, y[0])];
        multiply(emitter, &gathering, &gathering_axes, addresses)?;
    }
    Ok(())
}

/// Keys or values behind those of the past, in the place that is wanted for them. Unchanged where there is neither.
fn with_past(
    emitter: &mut Emitter<'_>,
    new: Heads,
    past: Option<&Value>,
    present: Option<&Value>,
) -> Result<Heads, LowerError> {
    let past = past.map(|past| Heads::of(past, 0)).transpose()?;
    if past.is_none() && present.is_none() {
        return Ok(new);
    }
    let fits = past.is_none_or(|past| {
        (past.batch, past.heads, past.size, past.dtype)
            == (new.batch, new.heads, new.size, new.dtype)
    });
    if !fits {
        return Err(LowerError::Invalid("a past of keys or values that does not fit".into()));
    }
    let before = past.map_or(0, |past| past.sequence);
    let sequence = before + new.sequence;
    let bytes = new.batch * new.heads * sequence * new.size * new.dtype.size();
    let address = match present {
        Some(present) => present.address,
        None => emitter.scratch(bytes),
    };
    let all = Heads { address, sequence, row: None, ..new };
    for (part, start) in past.into_iter().map(|past| (past, 0)).chain([(new, before)]) {
        let access = |heads: &Heads, skipped: usize| {
            let [batch, head, row] = heads.steps();
            Access {
                address: heads.address + (skipped * row * heads.dtype.size()) as Address,
                dtype: heads.dtype,
                strides: [batch, head, row, 1].map(|step| step as i64).to_vec(),
            }
        };
        let kernel = Map {
            name: "append to a cache",
            dims: vec![part.batch, part.heads, part.sequence, part.size],
            loads: vec![access(&part, 0)],
            stores: vec![access(&all, start)],
            body: "    y0 = x0;\n".to_owned(),
            fault: None,
        };
        map(emitter, kernel)?;
    }
    Ok(all)
}
