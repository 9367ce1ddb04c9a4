//! One step: slices of the arena in, kernel called, results outside the arena kept.

use super::prepare::{Input, Output, PreparedStep};
use super::{Failure, Held, Prepped, Weights};
use crate::{Tensor, View, ViewMut, dispatch};
use smallvec::SmallVec;
use sublet_graph::{InferError, InferInput, Literal, Op, infer};
use sublet_plan::{Place, SlotId, Step};

/// Inputs of at most this many bytes, of rank 0 or 1, may be shapes, axes and the like, which inference reads.
const SHAPE_BYTES_MAX: usize = 512;

type Views<'a> = SmallVec<[Option<View<'a>>; 8]>;

impl Prepped<'_> {
    /// Runs one step.
    pub fn step<W: Weights>(
        &self,
        index: usize,
        weights: &W,
        arena: &mut [u8],
        held: &mut [Option<Held<'_>>],
    ) -> Result<(), Failure> {
        let step = &self.plan.steps[index];
        let prepared = &self.prepared.steps[index];
        let (read, mut written) = pieces(prepared, arena);
        let inputs = self.inputs(prepared, &read, weights, held);
        let results = if !step.bodies.is_empty() {
            let results = self.control(step, prepared, weights, &inputs)?;
            self.place(prepared, results, &mut written)?
        } else if step.op.shape_depends_on_data() {
            let results = dispatch::run_data_dependent(&step.op, &inputs)?;
            self.place(prepared, results, &mut written)?
        } else if prepared.allocates {
            self.compute_dynamic(step, prepared, &inputs, &mut written)?
        } else {
            self.compute(step, prepared, &inputs, &mut written)?;
            SmallVec::new()
        };
        drop(inputs);
        for (slot, tensor) in results {
            held[slot.0 as usize] = Some(Held::Owned(tensor));
        }
        for slot in &prepared.last_reads {
            held[slot.0 as usize] = None;
        }
        Ok(())
    }

    fn inputs<'b, W: Weights>(
        &'b self,
        prepared: &PreparedStep,
        read: &[&'b [u8]],
        weights: &'b W,
        held: &'b [Option<Held<'_>>],
    ) -> Views<'b> {
        let view = |input: Input| match input {
            Input::Arena { piece, slot } => {
                let (dtype, shape) = self.static_type(slot);
                View { dtype, shape, bytes: read[piece] }
            }
            Input::Held(slot) => held[slot.0 as usize].as_ref().expect("was computed").view(),
            Input::Weight(id) => weights.view(id),
            Input::Literal(index) => self.prepared.literals[index as usize].view(),
        };
        prepared.inputs.iter().map(|input| input.map(view)).collect()
    }

    fn static_type(&self, slot: SlotId) -> (sublet_graph::DType, &[usize]) {
        let slot = self.plan.slot(slot);
        match &slot.place {
            Place::Arena { shape, .. } => (slot.dtype, shape),
            Place::Dynamic => unreachable!("only slots in the arena have pieces"),
        }
    }

    /// All outputs lie in the arena.
    fn compute(
        &self,
        step: &Step,
        prepared: &PreparedStep,
        inputs: &[Option<View<'_>>],
        written: &mut [Option<&mut [u8]>],
    ) -> Result<(), Failure> {
        let mut outputs: SmallVec<[Option<ViewMut<'_>>; 4]> = prepared
            .outputs
            .iter()
            .map(|output| match output {
                Some(Output::Arena { piece, slot }) => {
                    let (dtype, shape) = self.static_type(*slot);
                    let bytes = written[*piece].take().expect("each piece is one output");
                    Some(ViewMut { dtype, shape, bytes })
                }
                _ => None,
            })
            .collect();
        Ok(dispatch::run(&step.op, inputs, &mut outputs)?)
    }

    /// Some outputs get their shapes now.
    fn compute_dynamic(
        &self,
        step: &Step,
        prepared: &PreparedStep,
        inputs: &[Option<View<'_>>],
        written: &mut [Option<&mut [u8]>],
    ) -> Result<SmallVec<[(SlotId, Tensor); 2]>, Failure> {
        let mut tensors = allocate(&step.op, inputs, prepared.outputs.len())?;
        let mut outputs: SmallVec<[Option<ViewMut<'_>>; 4]> = SmallVec::new();
        for (output, tensor) in prepared.outputs.iter().zip(&mut tensors) {
            outputs.push(output.map(|_| tensor.view_mut()));
        }
        dispatch::run(&step.op, inputs, &mut outputs)?;
        drop(outputs);
        self.place(prepared, tensors, written)
    }

    /// Moves results to where they belong: those with a place in the arena are copied there, the others are given
    /// back with their slots.
    fn place(
        &self,
        prepared: &PreparedStep,
        results: Vec<Tensor>,
        written: &mut [Option<&mut [u8]>],
    ) -> Result<SmallVec<[(SlotId, Tensor); 2]>, Failure> {
        let mut outside = SmallVec::new();
        for (output, tensor) in prepared.outputs.iter().zip(results) {
            match output {
                Some(Output::Held(slot)) => {
                    let wanted = self.plan.slot(*slot).dtype;
                    check_type(tensor.dtype() == wanted, &tensor, wanted)?;
                    outside.push((*slot, tensor));
                }
                Some(Output::Arena { piece, slot }) => {
                    let (dtype, shape) = self.static_type(*slot);
                    check_type(tensor.dtype() == dtype && tensor.shape == shape, &tensor, dtype)?;
                    let bytes = written[*piece].take().expect("each piece is one output");
                    bytes.copy_from_slice(&tensor.buffer);
                }
                None => {}
            }
        }
        Ok(outside)
    }
}

fn check_type(good: bool, got: &Tensor, wanted: sublet_graph::DType) -> Result<(), Failure> {
    if good {
        return Ok(());
    }
    let (dtype, shape) = (got.dtype(), &got.shape);
    Err(Failure::invalid(format!("a result is {dtype}{shape:?}, where the plan has a {wanted}")))
}

/// Cuts the arena into what a step reads and what it writes.
fn pieces<'a>(
    prepared: &PreparedStep,
    arena: &'a mut [u8],
) -> (SmallVec<[&'a [u8]; 8]>, SmallVec<[Option<&'a mut [u8]>; 4]>) {
    let mut read = SmallVec::new();
    let mut written = SmallVec::new();
    let mut rest = arena;
    let mut at = 0;
    for cut in &prepared.cuts {
        let (_, from) = rest.split_at_mut(cut.offset - at);
        let (piece, after) = from.split_at_mut(cut.len);
        rest = after;
        at = cut.offset + cut.len;
        if cut.written {
            written.push(Some(piece));
        } else {
            read.push(&*piece);
        }
    }
    (read, written)
}

/// Tensors for the outputs of an operator whose inputs are there.
fn allocate(op: &Op, inputs: &[Option<View<'_>>], outputs: usize) -> Result<Vec<Tensor>, Failure> {
    let values: SmallVec<[Option<Literal>; 8]> =
        inputs.iter().map(|input| input.and_then(shape_value)).collect();
    let known: SmallVec<[Option<InferInput<'_>>; 8]> = inputs
        .iter()
        .zip(&values)
        .map(|(input, value)| {
            input.map(|view| InferInput {
                dtype: view.dtype,
                shape: Some(view.shape),
                value: value.as_ref(),
            })
        })
        .collect();
    let types = infer(op, &known, outputs).map_err(|error| match error {
        InferError::Invalid(what) => crate::KernelError::Invalid(what),
        InferError::Unsupported(what) => crate::KernelError::Unsupported(what),
    })?;
    let mut tensors = Vec::with_capacity(types.len());
    for of in types {
        let shape = of.shape.ok_or_else(|| {
            Failure::invalid(format!("the shape of the result of {op} is not known"))
        })?;
        tensors.push(Tensor::zeroed(of.dtype, &shape)?);
    }
    Ok(tensors)
}

fn shape_value(view: View<'_>) -> Option<Literal> {
    if view.rank() > 1 || view.bytes.len() > SHAPE_BYTES_MAX {
        return None;
    }
    let bytes = bytes::Bytes::copy_from_slice(view.bytes);
    Literal::new(view.dtype, view.shape.to_vec(), bytes)
}
