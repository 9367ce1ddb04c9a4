//! Recurrent layers: RNN, LSTM and GRU, forward, reverse and in both directions.
//!
//! The inputs of all steps are multiplied by their weights in one product; each step then multiplies the state. Both
//! are dot products with rows of the weights, which round alike for any number of sequences and steps.

use super::activation;
use super::dots::{self, Rows};
use super::operands::{input, integers, invalid, optional, unsupported};
use super::unary;
use crate::{KernelError, View, ViewMut};
use sublet_graph::{Activation, DType, Direction, Rnn, RnnKind, Unary};

/// Computes [`sublet_graph::Op::Rnn`]. Outputs: all states, the last states, (LSTM) the last cells.
pub fn run(
    rnn: &Rnn,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    if x.dtype != DType::F32 {
        return Err(unsupported(format!("a recurrent layer of {}", x.dtype)));
    }
    let layer = Layer::new(rnn, inputs)?;
    let Layer { batch, hidden, directions, .. } = layer;
    let mut all = outputs.first_mut().and_then(Option::take);
    let mut states = vec![0.0; directions * batch * hidden];
    let mut cells = vec![0.0; directions * batch * hidden];
    for direction in 0..directions {
        let part = direction * batch * hidden..(direction + 1) * batch * hidden;
        let mut state = State {
            hidden: initial(&layer, optional(inputs, 5), direction)?,
            cell: initial(&layer, optional(inputs, 6), direction)?,
        };
        let all = all.as_mut().map(|all| all.values::<f32>());
        layer.direction(direction, &mut state, all)?;
        states[part.clone()].copy_from_slice(&state.hidden);
        cells[part].copy_from_slice(&state.cell);
    }
    for (out, values) in outputs.iter_mut().skip(1).zip([states, cells]) {
        let Some(out) = out else { continue };
        for (row, values) in values.chunks(hidden.max(1)).enumerate() {
            let (direction, entry) = (row / batch, row % batch);
            let row = if rnn.batch_first { entry * directions + direction } else { row };
            out.values::<f32>()[row * hidden..][..hidden].copy_from_slice(values);
        }
    }
    Ok(())
}

/// The sizes and weights of a layer.
struct Layer<'a> {
    rnn: &'a Rnn,
    x: &'a [f32],
    w: &'a [f32],
    r: &'a [f32],
    /// `[directions, 2 · gates · hidden]`: of the input, then of the state.
    b: Option<&'a [f32]>,
    /// LSTM: `[directions, 3 · hidden]` for the input, output and forget gate.
    peepholes: Option<&'a [f32]>,
    /// Of each batch entry.
    lengths: Vec<usize>,
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    gates: usize,
    directions: usize,
}

struct State {
    hidden: Vec<f32>,
    cell: Vec<f32>,
}

impl<'a> Layer<'a> {
    fn new(rnn: &'a Rnn, inputs: &[Option<View<'a>>]) -> Result<Self, KernelError> {
        let (x, w, r) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
        let &[first, second, width] = x.shape else {
            return Err(invalid(format!("a recurrent layer over shape {:?}", x.shape)));
        };
        let (steps, batch) = if rnn.batch_first { (second, first) } else { (first, second) };
        let gates = match rnn.kind {
            RnnKind::Simple => 1,
            RnnKind::Lstm { .. } => 4,
            RnnKind::Gru { .. } => 3,
        };
        let directions = if rnn.direction == Direction::Bidirectional { 2 } else { 1 };
        let hidden = rnn.hidden;
        let rows = directions * gates * hidden;
        let (b, peepholes) = (optional(inputs, 3), optional(inputs, 7));
        let fits = w.len() == rows * width
            && r.len() == rows * hidden
            && b.is_none_or(|b| b.len() == 2 * rows)
            && peepholes.is_none_or(|p| p.len() == directions * 3 * hidden);
        if !fits {
            return Err(invalid(format!(
                "weights {:?} and {:?} for {hidden} hidden units over {:?}",
                w.shape, r.shape, x.shape
            )));
        }
        let lengths = match optional(inputs, 4) {
            Some(view) => {
                let lengths = integers(view)?;
                let valid = |&length: &i64| usize::try_from(length).ok().filter(|&l| l <= steps);
                let lengths: Option<Vec<usize>> = lengths.iter().map(valid).collect();
                lengths
                    .filter(|lengths| lengths.len() == batch)
                    .ok_or_else(|| invalid(format!("sequence lengths beyond {steps} steps")))?
            }
            None => vec![steps; batch],
        };
        Ok(Layer {
            rnn,
            x: x.values(),
            w: w.values(),
            r: r.values(),
            b: b.map(|b| b.values()),
            peepholes: peepholes.map(|p| p.values()),
            lengths,
            steps,
            batch,
            inputs: width,
            hidden,
            gates,
            directions,
        })
    }

    /// Runs one direction over all steps; `state` holds the first state before and the last after.
    fn direction(
        &self,
        direction: usize,
        state: &mut State,
        mut all: Option<&mut [f32]>,
    ) -> Result<(), KernelError> {
        let Layer { steps, batch, inputs, hidden, .. } = *self;
        let width = self.gates * hidden;
        let reverse = self.rnn.direction == Direction::Reverse || direction == 1;
        let w = Rows { values: &self.w[direction * width * inputs..], stride: inputs };
        let mut projected = vec![0.0; steps * batch * width];
        dots::run(&mut projected, width, inputs, Rows { values: self.x, stride: inputs }, w);
        let functions = self.functions(direction)?;
        let mut gates = vec![0.0; width];
        let mut recurrent = vec![0.0; batch * width];
        let r = Rows { values: &self.r[direction * width * hidden..], stride: hidden };
        let b = self.b.map_or(&[][..], |b| &b[direction * 2 * width..][..2 * width]);
        for round in 0..steps {
            dots::run(
                &mut recurrent,
                width,
                hidden,
                Rows { values: &state.hidden, stride: hidden },
                r,
            );
            for entry in 0..batch {
                let length = self.lengths[entry];
                let step = if reverse { length.wrapping_sub(1 + round) } else { round };
                if round >= length {
                    continue;
                }
                let row = self.row(step, entry);
                let cell = Cell {
                    layer: self,
                    x: &projected[row * width..][..width],
                    recurrent: &recurrent[entry * width..][..width],
                    b,
                    hidden: &mut state.hidden[entry * hidden..][..hidden],
                    memory: &mut state.cell[entry * hidden..][..hidden],
                    functions: &functions,
                    direction,
                };
                cell.step(&r, &mut gates);
                if let Some(all) = all.as_deref_mut() {
                    let at = self.place(step, direction, entry);
                    all[at..at + hidden].copy_from_slice(&state.hidden[entry * hidden..][..hidden]);
                }
            }
        }
        if let Some(all) = all {
            for entry in 0..batch {
                for step in self.lengths[entry]..steps {
                    let at = self.place(step, direction, entry);
                    all[at..at + hidden].fill(0.0);
                }
            }
        }
        Ok(())
    }

    /// Which row of the input holds a step of a batch entry.
    fn row(&self, step: usize, entry: usize) -> usize {
        if self.rnn.batch_first { entry * self.steps + step } else { step * self.batch + entry }
    }

    /// Where the state after a step goes in the output of all states.
    fn place(&self, step: usize, direction: usize, entry: usize) -> usize {
        let row = if self.rnn.batch_first {
            (entry * self.steps + step) * self.directions + direction
        } else {
            (step * self.directions + direction) * self.batch + entry
        };
        row * self.hidden
    }

    /// The functions of one direction: of gates, of the candidate, (LSTM) of the cell.
    fn functions(&self, direction: usize) -> Result<[Unary; 3], KernelError> {
        let (count, usual) = match self.rnn.kind {
            RnnKind::Simple => (1, [Unary::Tanh; 3]),
            RnnKind::Lstm { .. } => (3, [Unary::Sigmoid, Unary::Tanh, Unary::Tanh]),
            RnnKind::Gru { .. } => (2, [Unary::Sigmoid, Unary::Tanh, Unary::Tanh]),
        };
        if self.rnn.activations.is_empty() {
            return Ok(usual);
        }
        let own = self.rnn.activations.get(direction * count..(direction + 1) * count);
        let own = own.ok_or_else(|| invalid("too few activations for a recurrent layer"))?;
        Ok(std::array::from_fn(|index| own.get(index).copied().unwrap_or(usual[index])))
    }
}

/// One step of one batch entry.
struct Cell<'a> {
    layer: &'a Layer<'a>,
    /// The input times its weights, and the state times its weights: gate after gate.
    x: &'a [f32],
    recurrent: &'a [f32],
    b: &'a [f32],
    hidden: &'a mut [f32],
    memory: &'a mut [f32],
    functions: &'a [Unary; 3],
    direction: usize,
}

impl Cell<'_> {
    fn step(mut self, r: &Rows<'_>, gates: &mut [f32]) {
        for (gate, (x, recurrent)) in gates.iter_mut().zip(self.x.iter().zip(self.recurrent)) {
            *gate = x + recurrent;
        }
        let (of_input, of_state) = self.b.split_at(self.b.len() / 2);
        for (gate, (first, second)) in gates.iter_mut().zip(of_input.iter().zip(of_state)) {
            *gate += first + second;
        }
        match self.layer.rnn.kind {
            RnnKind::Simple => {
                self.apply(0, gates);
                self.hidden.copy_from_slice(gates);
            }
            RnnKind::Lstm { couple_input_forget } => self.lstm(couple_input_forget, gates),
            RnnKind::Gru { linear_before_reset } => self.gru(linear_before_reset, r, gates),
        }
    }

    /// Gates: input, output, forget, candidate.
    fn lstm(&mut self, coupled: bool, gates: &mut [f32]) {
        let size = self.hidden.len();
        let (input, rest) = gates.split_at_mut(size);
        let (output, rest) = rest.split_at_mut(size);
        let (forget, candidate) = rest.split_at_mut(size);
        let peepholes = self.layer.peepholes.map(|p| &p[self.direction * 3 * size..][..3 * size]);
        let look = |gate: &mut [f32], part: usize, memory: &[f32]| {
            if let Some(peepholes) = peepholes {
                let seen = peepholes[part * size..].iter().zip(memory);
                gate.iter_mut().zip(seen).for_each(|(gate, (weight, cell))| *gate += weight * cell);
            }
        };
        look(input, 0, self.memory);
        look(forget, 2, self.memory);
        self.apply(0, input);
        if coupled {
            forget.iter_mut().zip(&*input).for_each(|(forget, input)| *forget = 1.0 - input);
        } else {
            self.apply(0, forget);
        }
        self.apply(1, candidate);
        for (index, cell) in self.memory.iter_mut().enumerate() {
            *cell = forget[index] * *cell + input[index] * candidate[index];
        }
        look(output, 1, self.memory);
        self.apply(0, output);
        self.hidden.copy_from_slice(self.memory);
        // The clip bounds what enters the gates, not the cell.
        activate(self.functions[2], self.hidden);
        self.hidden.iter_mut().zip(&*output).for_each(|(hidden, output)| *hidden *= output);
    }

    /// Gates: update, reset, candidate.
    fn gru(&mut self, linear_before_reset: bool, r: &Rows<'_>, gates: &mut [f32]) {
        let size = self.hidden.len();
        let (update, rest) = gates.split_at_mut(size);
        let (reset, candidate) = rest.split_at_mut(size);
        self.apply(0, update);
        self.apply(0, reset);
        let bias = |index: usize| self.b.get(index).copied().unwrap_or(0.0);
        if linear_before_reset {
            for (index, candidate) in candidate.iter_mut().enumerate() {
                let linear = self.recurrent[2 * size + index] + bias(5 * size + index);
                *candidate =
                    self.x[2 * size + index] + reset[index] * linear + bias(2 * size + index);
            }
        } else {
            let kept: Vec<f32> = reset.iter().zip(&*self.hidden).map(|(r, h)| r * h).collect();
            let mut product = vec![0.0; size];
            let r = Rows { values: &r.values[2 * size * size..], stride: size };
            dots::run(&mut product, size, size, Rows { values: &kept, stride: size }, r);
            for (index, candidate) in candidate.iter_mut().enumerate() {
                let biases = bias(5 * size + index) + bias(2 * size + index);
                *candidate = self.x[2 * size + index] + product[index] + biases;
            }
        }
        self.apply(1, candidate);
        for (index, hidden) in self.hidden.iter_mut().enumerate() {
            *hidden = (1.0 - update[index]) * candidate[index] + update[index] * *hidden;
        }
    }

    /// Bounds the values and applies function `which`.
    fn apply(&self, which: usize, values: &mut [f32]) {
        if let Some(clip) = self.layer.rnn.clip {
            values.iter_mut().for_each(|x| *x = activation::clip(*x, -clip, clip));
        }
        activate(self.functions[which], values);
    }
}

fn activate(function: Unary, values: &mut [f32]) {
    match function {
        Unary::Sigmoid => activation::apply(Activation::Sigmoid, values),
        Unary::Tanh => activation::apply(Activation::Tanh, values),
        other => unary::apply(other, values),
    }
}

/// The first state of a direction, `[batch, hidden]`; zeros when it is not given.
fn initial(
    layer: &Layer<'_>,
    view: Option<View<'_>>,
    direction: usize,
) -> Result<Vec<f32>, KernelError> {
    let Layer { batch, hidden, directions, .. } = *layer;
    let Some(view) = view else { return Ok(vec![0.0; batch * hidden]) };
    if view.len() != directions * batch * hidden {
        return Err(invalid(format!("an initial state of shape {:?}", view.shape)));
    }
    let values = view.values::<f32>();
    let row = |entry: usize| {
        if layer.rnn.batch_first {
            entry * directions + direction
        } else {
            direction * batch + entry
        }
    };
    let rows = (0..batch).flat_map(|entry| &values[row(entry) * hidden..][..hidden]);
    Ok(rows.copied().collect())
}
