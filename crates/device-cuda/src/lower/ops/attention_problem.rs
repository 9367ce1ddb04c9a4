//! Attention in one pass by the library, measured against three passes.

use super::attention::{Heads, Passes};
use super::attention_weights::{Mask, Weights};
use crate::dnn::{EngineChoice, Layout, SdpAttention};
use crate::driver::{Address, CudaError, Stream};
use crate::lower::{Emitter, Gpu, LowerError};
use crate::program::{Action, Enqueue};
use crate::tune::Problem;
use serde::{Deserialize, Serialize};
use sublet_graph::DType;

/// Attention that the library may know an engine for. Operands: query, keys, values, result, mask.
pub struct WithEngines<'a> {
    gpu: &'a Gpu,
    passes: &'a Passes,
    one_pass: SdpAttention,
    /// What the three passes need.
    scratch_bytes: usize,
}

/// Who computes it.
#[derive(Clone, Serialize, Deserialize)]
pub enum AttentionChoice {
    Engine(EngineChoice),
    Passes,
}

impl<'a> WithEngines<'a> {
    /// `None` where only the passes do.
    pub fn new(gpu: &'a Gpu, passes: &'a Passes) -> Result<Option<WithEngines<'a>>, LowerError> {
        let Some(one_pass) = one_pass(passes) else { return Ok(None) };
        // Makes the choices within the passes, and tells what they need: where does not matter.
        let mut emitter = Emitter::new(gpu, 1 << 40, 0);
        passes.emit(&mut emitter)?;
        let (_, scratch_bytes, _) = emitter.finish();
        Ok(Some(WithEngines { gpu, passes, one_pass, scratch_bytes }))
    }
}

/// The one pass that comes to the same; `None` where there is none.
fn one_pass(passes: &Passes) -> Option<SdpAttention> {
    let Passes { heads: [query, keys, values, result], weights, scale } = passes;
    let half = matches!(query.dtype, DType::F16 | DType::BF16);
    let sizes_fit = [query, values].iter().all(|heads| heads.size % 8 == 0 && heads.size <= 128);
    let aligned = passes.operands().iter().all(|address| address % 16 == 0);
    let plain = weights.kept.is_none() && weights.lengths.is_none() && weights.softcap == 0.0;
    // Without a past, the first query sees the first key alone.
    let causal = match weights.causal_past {
        None => false,
        Some(0) => true,
        Some(_) => return None,
    };
    if !half || !sizes_fit || !aligned || !plain {
        return None;
    }
    let bias = match &weights.mask {
        None => None,
        Some(mask) => Some(bias(mask, weights)?),
    };
    Some(SdpAttention {
        dtype: query.dtype,
        q: layout(query),
        k: layout(keys),
        v: layout(values),
        y: layout(result),
        bias,
        causal,
        scale: *scale as f32,
    })
}

/// A mask that is added, has a row for every query, and speaks of all keys.
fn bias(mask: &Mask, weights: &Weights) -> Option<Layout> {
    let [batch, heads, queries, keys] = weights.shape;
    let suits = mask.dtype == weights.dtype
        && mask.keys == keys
        && (mask.steps[2] != 0 || queries == 1)
        && keys.is_multiple_of(8);
    let axis =
        |size: usize, step: usize| if step == 0 { (1, queries * keys) } else { (size, step) };
    let (batch, batch_step) = axis(batch, mask.steps[0]);
    let (heads, head_step) = axis(heads, mask.steps[1]);
    suits.then(|| Layout::new(&[batch, heads, queries, keys], &[batch_step, head_step, keys, 1]))
}

fn layout(heads: &Heads) -> Layout {
    let [batch, head, row] = heads.steps();
    Layout::new(&[heads.batch, heads.heads, heads.sequence, heads.size], &[batch, head, row, 1])
}

impl Problem for WithEngines<'_> {
    type Choice = AttentionChoice;

    fn key(&self) -> String {
        let a = &self.one_pass;
        let layout = |of: &Layout| format!("{:?}/{:?}", of.sizes, of.steps).replace(' ', "");
        format!(
            "attention {} q{} k{} v{} y{} mask{}{}",
            a.dtype.wire_name(),
            layout(&a.q),
            layout(&a.k),
            layout(&a.v),
            layout(&a.y),
            a.bias.as_ref().map_or("-".to_owned(), layout),
            if a.causal { " causal" } else { "" },
        )
    }

    fn operands(&self) -> Vec<(usize, DType)> {
        let a = &self.one_pass;
        // From the first element to behind the last.
        let bytes = |layout: &Layout| {
            let reach =
                layout.sizes.iter().zip(&layout.steps).map(|(size, step)| (size - 1) * step);
            ((reach.sum::<i64>() + 1).max(0) as usize * a.dtype.size(), a.dtype)
        };
        [&a.q, &a.k, &a.v, &a.y].into_iter().chain(&a.bias).map(bytes).collect()
    }

    fn choices(&self) -> Result<Vec<AttentionChoice>, CudaError> {
        // Where the library fails, the passes do without it.
        let engines = self.one_pass.choices(&self.gpu.dnn).unwrap_or_default();
        let engines = engines.into_iter().map(AttentionChoice::Engine);
        Ok(engines.chain([AttentionChoice::Passes]).collect())
    }

    fn scratch_bytes(&self, choice: &AttentionChoice) -> usize {
        match choice {
            AttentionChoice::Engine(engine) => engine.workspace_bytes(),
            AttentionChoice::Passes => self.scratch_bytes,
        }
    }

    fn calls(
        &self,
        choice: &AttentionChoice,
        operands: &[Address],
        scratch: Address,
    ) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        match choice {
            AttentionChoice::Engine(engine) => {
                let dnn = &self.gpu.dnn;
                Ok(vec![self.one_pass.call(dnn, engine, operands, scratch)?])
            }
            AttentionChoice::Passes => {
                let mut emitter = Emitter::new(self.gpu, scratch, 0);
                let emitted = self.passes.on(operands).emit(&mut emitter);
                emitted.map_err(|error| match error {
                    LowerError::Cuda(error) => error,
                    other => CudaError::unsupported("attention in passes", other.to_string()),
                })?;
                let (actions, _, _) = emitter.finish();
                let call = |action| -> Box<dyn Enqueue> { Box::new(Emitted(action)) };
                Ok(actions.into_iter().map(|timed| call(timed.action)).collect())
            }
        }
    }
}

/// An action as a call.
struct Emitted(Action);

impl Enqueue for Emitted {
    fn enqueue(&self, stream: &Stream) -> Result<(), CudaError> {
        self.0.enqueue(stream)
    }

    fn name(&self) -> String {
        self.0.name()
    }
}
