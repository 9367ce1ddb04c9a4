//! `If`, `Loop` and `Scan`: bodies run on values outside the arena.

use super::held::copy;
use super::prepare::PreparedStep;
use super::stack::Stack;
use super::{Failure, Held, Prepped, Weights};
use crate::{KernelError, Tensor, View};
use sublet_device::AlignedBuffer;
use sublet_graph::{DType, Op, ScanOptions};
use sublet_plan::{Operand, Step};

/// A loop that has not ended after this many iterations is taken for endless.
const ITERATIONS_MAX: u64 = 1 << 20;

impl Prepped<'_> {
    /// Outputs of a control-flow operator.
    pub fn control<W: Weights>(
        &self,
        step: &Step,
        prepared: &PreparedStep,
        weights: &W,
        inputs: &[Option<View<'_>>],
    ) -> Result<Vec<Tensor>, Failure> {
        let bodies: Vec<_> = step
            .bodies
            .iter()
            .zip(&prepared.bodies)
            .map(|(plan, prepared)| Prepped { plan, prepared })
            .collect();
        match &step.op {
            Op::If { .. } => {
                let inputs = all(inputs)?;
                let taken = if truth(inputs[0])? { 0 } else { 1 };
                let outer = inputs[1..].iter().map(|&view| Held::Borrowed(view));
                bodies[taken].body(weights, outer)
            }
            Op::Loop { carried, .. } => bodies[0].repeat(weights, *carried, inputs),
            Op::Scan(scan) => bodies[0].scan(weights, scan, &all(inputs)?),
            op => unreachable!("{op} has no bodies"),
        }
    }

    /// Runs a body once.
    fn body<'h, W: Weights>(
        &self,
        weights: &W,
        inputs: impl Iterator<Item = Held<'h>>,
    ) -> Result<Vec<Tensor>, Failure> {
        if let Some(why) = &self.plan.unusable {
            return Err(KernelError::Invalid(why.clone()).into());
        }
        let mut held = self.prepared.no_held();
        for (input, value) in self.plan.inputs.iter().zip(inputs) {
            held[input.slot.0 as usize] = Some(value);
        }
        for (index, step) in self.plan.steps.iter().enumerate() {
            self.step(index, weights, &mut [], &mut held)
                .map_err(|failure| failure.inside(&step.name))?;
        }
        let mut outputs = Vec::with_capacity(self.plan.outputs.len());
        for (index, output) in self.plan.outputs.iter().enumerate() {
            outputs.push(match output.from {
                Operand::Slot(slot) if self.is_sole(index) => {
                    held[slot.0 as usize].take().expect("outputs are kept").into_tensor()
                }
                _ => copy(self.output(index, weights, &[], &held)),
            });
        }
        Ok(outputs)
    }

    /// Whether no other output is the same value.
    fn is_sole(&self, index: usize) -> bool {
        let from = self.plan.outputs[index].from;
        self.plan.outputs.iter().filter(|output| output.from == from).count() == 1
    }

    fn repeat<W: Weights>(
        &self,
        weights: &W,
        carried: usize,
        inputs: &[Option<View<'_>>],
    ) -> Result<Vec<Tensor>, Failure> {
        let trips = inputs[0].map(count).transpose()?;
        let mut goes_on = inputs[1].map(truth).transpose()?.unwrap_or(true);
        let rest = all(&inputs[2..])?;
        let mut states: Vec<_> = rest[..carried].iter().map(|&view| Held::Borrowed(view)).collect();
        let mut stacks = self.stacks(1 + carried);
        let mut iteration: u64 = 0;
        while goes_on && trips.is_none_or(|trips| iteration < trips) {
            if iteration == ITERATIONS_MAX {
                let what = format!("the loop has not ended after {ITERATIONS_MAX} iterations");
                return Err(Failure::invalid(what));
            }
            let number = scalar(DType::I64, &iteration.to_le_bytes());
            let condition = scalar(DType::Bool, &[1]);
            let outer = rest[carried..].iter().map(|&view| Held::Borrowed(view));
            let inputs = [Held::Owned(number), Held::Owned(condition)];
            let mut outputs = self
                .body(weights, inputs.into_iter().chain(states.drain(..)).chain(outer))?
                .into_iter();
            let condition = outputs.next().expect("checked when the plan was made");
            goes_on = truth(condition.view())?;
            states.extend(outputs.by_ref().take(carried).map(Held::Owned));
            for (stack, value) in stacks.iter_mut().zip(outputs) {
                stack.push(value.view())?;
            }
            iteration += 1;
        }
        let mut results: Vec<_> = states.into_iter().map(Held::into_tensor).collect();
        for stack in stacks {
            results.push(stack.finish(0, false)?);
        }
        Ok(results)
    }

    fn scan<W: Weights>(
        &self,
        weights: &W,
        scan: &ScanOptions,
        inputs: &[View<'_>],
    ) -> Result<Vec<Tensor>, Failure> {
        let (initial, rest) = inputs.split_at(scan.states);
        let (scanned, outer) = rest.split_at(scan.scan_inputs);
        let mut axes = Vec::with_capacity(scanned.len());
        for (index, view) in scanned.iter().enumerate() {
            let axis = scan.input_axes.get(index).copied().unwrap_or(0);
            let resolved = if axis < 0 { axis + view.rank() as i64 } else { axis };
            if !(0..view.rank() as i64).contains(&resolved) {
                return Err(Failure::invalid(format!("no axis {axis} in {:?}", view.shape)));
            }
            axes.push(resolved as usize);
        }
        let mut lengths = scanned.iter().zip(&axes).map(|(view, &axis)| view.shape[axis]);
        let length = lengths.next().unwrap_or(0);
        if lengths.any(|other| other != length) {
            return Err(Failure::invalid("scanned inputs differ in length"));
        }
        let mut states: Vec<_> = initial.iter().map(|&view| Held::Borrowed(view)).collect();
        let mut stacks = self.stacks(scan.states);
        for iteration in 0..length {
            let slices = scanned.iter().zip(&axes).enumerate().map(|(index, (&view, &axis))| {
                let reverse = scan.input_reverse.get(index).copied().unwrap_or(false);
                slice(view, axis, if reverse { length - 1 - iteration } else { iteration })
            });
            let outer = outer.iter().map(|&view| Held::Borrowed(view));
            let mut outputs =
                self.body(weights, states.drain(..).chain(slices).chain(outer))?.into_iter();
            states.extend(outputs.by_ref().take(scan.states).map(Held::Owned));
            for (stack, value) in stacks.iter_mut().zip(outputs) {
                stack.push(value.view())?;
            }
        }
        let mut results: Vec<_> = states.into_iter().map(Held::into_tensor).collect();
        for (index, stack) in stacks.into_iter().enumerate() {
            let axis = scan.output_axes.get(index).copied().unwrap_or(0);
            let reverse = scan.output_reverse.get(index).copied().unwrap_or(false);
            results.push(stack.finish(axis, reverse)?);
        }
        Ok(results)
    }

    /// A stack for each output of the body from `first` on.
    fn stacks(&self, first: usize) -> Vec<Stack> {
        let outputs = &self.plan.outputs[first..];
        outputs.iter().map(|output| Stack::new(output.dtype, output.shape.clone())).collect()
    }
}

fn all<'a>(inputs: &[Option<View<'a>>]) -> Result<Vec<View<'a>>, Failure> {
    let missing = || Failure::invalid("an input is missing");
    inputs.iter().map(|input| input.ok_or_else(missing)).collect()
}

/// The truth of a one-element `bool` tensor.
fn truth(view: View<'_>) -> Result<bool, Failure> {
    match (view.dtype, view.bytes) {
        (DType::Bool, [byte]) => Ok(*byte != 0),
        _ => Err(Failure::invalid(format!(
            "a condition is {}{:?} and not one bool",
            view.dtype, view.shape
        ))),
    }
}

/// A one-element integer tensor as a number of iterations; negative numbers are none.
fn count(view: View<'_>) -> Result<u64, Failure> {
    match (view.dtype, view.len()) {
        (DType::I64, 1) => Ok(u64::try_from(view.values::<i64>()[0]).unwrap_or(0)),
        (DType::I32, 1) => Ok(u64::try_from(view.values::<i32>()[0]).unwrap_or(0)),
        _ => Err(Failure::invalid(format!("a trip count is {}{:?}", view.dtype, view.shape))),
    }
}

fn scalar(dtype: DType, bytes: &[u8]) -> Tensor {
    let mut buffer = AlignedBuffer::zeroed(bytes.len());
    buffer.copy_from_slice(bytes);
    Tensor { dtype: Some(dtype), shape: Vec::new(), buffer }
}

/// The `index`th slice along `axis`, without that axis.
fn slice<'a>(view: View<'_>, axis: usize, index: usize) -> Held<'a> {
    let outer: usize = view.shape[..axis].iter().product();
    let inner = view.shape[axis + 1..].iter().product::<usize>() * view.dtype.size();
    let length = view.shape[axis];
    let mut buffer = AlignedBuffer::zeroed(outer * inner);
    if inner > 0 {
        for (group, row) in buffer.chunks_exact_mut(inner).enumerate() {
            let from = (group * length + index) * inner;
            row.copy_from_slice(&view.bytes[from..from + inner]);
        }
    }
    let mut shape = view.shape.to_vec();
    shape.remove(axis);
    Held::Owned(Tensor { dtype: Some(view.dtype), shape, buffer })
}
