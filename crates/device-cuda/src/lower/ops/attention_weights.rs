//! The kernel between attention's two products: scores become weights.

use super::ctype::{computed, stored};
use super::target::{Launch, Target};
use crate::driver::{Address, LaunchShape};
use crate::lower::{LowerError, Value};
use crate::program::Argument;
use std::ops::Range;
use sublet_graph::DType;

/// What happens to scores of `shape` `[batch, heads, queries, keys]`.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Type of weights, mask and kept scores.
    pub dtype: DType,
    pub shape: [usize; 4],
    pub mask: Option<Mask>,
    /// Query `i` sees keys up to `i` plus this many.
    pub causal_past: Option<usize>,
    /// Where, for each batch entry, the number of keys lies that are not padding, as `i64`.
    pub lengths: Option<Address>,
    /// 0: off.
    pub softcap: f32,
    /// Where scores are kept, and at which stage.
    pub kept: Option<(Address, u8)>,
}

/// Added to the scores or, of booleans, telling which keys are seen.
#[derive(Clone, Debug)]
pub struct Mask {
    pub address: Address,
    pub dtype: DType,
    /// Elements from one batch entry, head and query to the next; 0 where it is the same.
    pub steps: [usize; 3],
    /// How many keys it speaks of; those behind are not seen.
    pub keys: usize,
}

impl Mask {
    /// Of a value that broadcasts to `scores`, and may be shorter along the keys.
    pub fn of(value: &Value, scores: [usize; 4]) -> Result<Mask, LowerError> {
        let bad = || {
            let shape = &value.shape;
            LowerError::Invalid(format!("an attention mask {shape:?} for scores {scores:?}"))
        };
        let missing = 4usize.checked_sub(value.shape.len()).ok_or_else(bad)?;
        let mut shape = [1; 4];
        shape[missing..].copy_from_slice(&value.shape);
        let fits = (0..3).all(|axis| shape[axis] == 1 || shape[axis] == scores[axis]);
        if !fits || shape[3] > scores[3] {
            return Err(bad());
        }
        let steps = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3]];
        let steps = std::array::from_fn(|axis| if shape[axis] == 1 { 0 } else { steps[axis] });
        Ok(Mask { address: value.address, dtype: value.dtype, steps, keys: shape[3] })
    }
}

/// Elements that a thread keeps in registers at most.
const HELD_MAX: usize = 32;

impl Weights {
    /// Emits the kernel for some entries of the batch: their scores, of a type, to their weights, which may lie at the
    /// same place when they are of the same type.
    pub fn emit(
        &self,
        target: &mut dyn Target,
        (scores, scores_at): (DType, Address),
        weights_at: Address,
        entries: Range<usize>,
    ) -> Result<(), LowerError> {
        let [_, heads, queries, keys] = self.shape;
        let lanes = match keys {
            0..=1024 => 32,
            1025..=8192 => 256,
            _ => 1024,
        };
        let rows_of_block = if lanes == 32 { 4 } else { 1 };
        let mut pack = 16 / scores.size();
        while !keys.is_multiple_of(pack) {
            pack /= 2;
        }
        let held = keys.div_ceil(lanes * pack) * pack <= HELD_MAX;
        let rows = entries.len() * heads * queries;
        let grid = u32::try_from(rows.div_ceil(rows_of_block)).ok().filter(|&grid| grid < 1 << 31);
        let grid = grid.ok_or_else(|| LowerError::unsupported("so many rows of scores"))?;
        if keys > i32::MAX as usize / 2 {
            return Err(LowerError::unsupported("so many keys"));
        }
        let size = |size: usize| Argument::I64(size as i64);
        let mask = self.mask.as_ref();
        let mut arguments = vec![
            Argument::Address(scores_at),
            Argument::Address(weights_at),
            Argument::Address(self.kept.map_or(0, |(address, _)| address)),
            Argument::Address(mask.map_or(0, |mask| mask.address)),
        ];
        arguments.extend(mask.map_or([0; 3], |mask| mask.steps).map(size));
        arguments.extend([
            Argument::Address(self.lengths.unwrap_or(0)),
            size(entries.start),
            size(self.causal_past.unwrap_or(0)),
            Argument::F32(self.softcap),
            size(rows),
        ]);
        let arrangement = format!(
            "#define LANES {lanes}\n#define ROWS {rows_of_block}\n#define PACK {pack}\n#define HELD {}\n",
            i32::from(held)
        );
        target.launch(Launch {
            name: format!("attention weights {rows}x{keys}"),
            source: self.source(scores, &arrangement),
            entry: "attention",
            shape: LaunchShape {
                grid: [grid, 1, 1],
                block: [(lanes * rows_of_block) as u32, 1, 1],
                shared_bytes: 0,
            },
            arguments,
        })
    }

    fn source(&self, scores: DType, arrangement: &str) -> String {
        let [_, heads, queries, keys] = self.shape;
        let (mask_kind, mask_type, mask_keys) = match &self.mask {
            None => (0, self.dtype, 0),
            Some(mask) if mask.dtype == DType::Bool => (2, DType::Bool, mask.keys),
            Some(mask) => (1, mask.dtype, mask.keys),
        };
        format!(
            "\ntypedef {} S;\ntypedef {} T;\ntypedef {} C;\ntypedef {} M;\n\
             #define LEN {keys}\n#define QUERIES {queries}ll\n#define HEADS {heads}ll\n{arrangement}\
             #define MASK {mask_kind}\n#define MASK_KEYS {mask_keys}\n#define CAUSAL {}\n\
             #define SOFTCAP {}\n#define KEPT {}\n{}{}",
            stored(scores),
            stored(self.dtype),
            computed(self.dtype),
            stored(mask_type),
            i32::from(self.causal_past.is_some()),
            i32::from(self.softcap > 0.0),
            self.kept.map_or(-1, |(_, stage)| i32::from(stage)),
            include_str!("../../kernels/rows.cuh"),
            include_str!("../../kernels/attention.cu"),
        )
    }
}
