//! Random plans of element-wise steps: what groups of steps compute against what the CPU device computes step by step.

use super::cases::x;
use super::{Machine, close, in_order, place};
use crate::lower::fuse::{self, Group};
use crate::lower::ops::{fused, target::Target};
use crate::lower::{LowerError, Order, Value, step};
use std::collections::HashMap;
use sublet_device_cpu::Evaluator;
use sublet_graph::{Binary, Compare, DType, Evaluate, InferInput, Literal, Op, Unary, infer};
use sublet_plan::{Operand, Place, Plan, PlanInput, PlanOutput, Slot, SlotId, Step};

/// A plan, the values of its inputs, and the value of every slot.
pub struct Problem {
    pub plan: Plan,
    pub values: Vec<Literal>,
}

struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        (self.0 >> 33) as usize % limit
    }
}

/// A plan with about thirty steps, some of which do not fuse.
pub fn problem(seed: u64, dtype: DType) -> Problem {
    let mut noise = Noise(seed);
    let mut problem = Problem {
        plan: Plan {
            inputs: Vec::new(),
            outputs: Vec::new(),
            slots: Vec::new(),
            literals: vec![x(dtype, &[]).unwrap(), x(dtype, &[1, 16]).unwrap()],
            steps: Vec::new(),
            arena_bytes: 0,
            segments: 0,
            unusable: None,
        },
        values: Vec::new(),
    };
    for shape in [&[6usize, 16][..], &[6, 1], &[16], &[6, 16]] {
        let slot = problem.slot(x(dtype, shape).unwrap());
        let (name, shape) = (format!("in{}", slot.0), Some(shape.to_vec()));
        problem.plan.inputs.push(PlanInput { name, dtype, shape, slot });
    }
    for _ in 0..30 {
        let full: Vec<SlotId> = problem.numbers(dtype);
        let mut any = || match noise.below(8) {
            0 => Operand::Literal(0),
            1 => Operand::Literal(1),
            _ => Operand::Slot(full[full.len() - 1 - noise.below(full.len().min(6))]),
        };
        let (a, b) = (Operand::Slot(full[full.len() - 1]), any());
        let (c, other) = (any(), any());
        match noise.below(9) {
            0 => problem.step(Op::Unary(Unary::Tanh), &[c]),
            1 => problem.step(Op::Unary(Unary::Sigmoid), &[a]),
            2 => problem.step(Op::Binary(Binary::Mul), &[a, b]),
            3 => problem.step(Op::Binary(Binary::Max), &[c, b]),
            4 => {
                // Not with what may be equal but for rounding.
                problem.step(Op::Compare(Compare::Less), &[a, Operand::Literal(1)]);
                let condition = Operand::Slot(SlotId(problem.plan.slots.len() as u32 - 1));
                problem.step(Op::Where, &[condition, c, other]);
            }
            5 => problem.step(Op::Softmax { axis: -1 }, &[a]),
            6 => {
                problem.step(Op::Binary(Binary::Add), &[a, Operand::Slot(SlotId(0))]);
                let sum = Operand::Slot(SlotId(problem.plan.slots.len() as u32 - 1));
                let scale = Operand::Slot(SlotId(2));
                problem.step(Op::LayerNorm { axis: -1, epsilon: 1e-5 }, &[sum, scale]);
            }
            _ => problem.step(Op::Binary(Binary::Add), &[a, b]),
        }
    }
    for index in [problem.plan.slots.len() - 1, problem.plan.slots.len() - 5] {
        let slot = &problem.plan.slots[index];
        let from = Operand::Slot(SlotId(index as u32));
        let (name, dtype) = (format!("out{index}"), slot.dtype);
        problem.plan.outputs.push(PlanOutput { name, dtype, shape: None, from });
    }
    problem
}

impl Problem {
    fn slot(&mut self, value: Literal) -> SlotId {
        let place = Place::Arena { offset: 0, shape: value.shape().to_vec() };
        self.plan.slots.push(Slot { dtype: value.dtype(), place, view_of: None });
        self.values.push(value);
        SlotId(self.plan.slots.len() as u32 - 1)
    }

    /// Slots with numbers of a type.
    fn numbers(&self, dtype: DType) -> Vec<SlotId> {
        let slots = self.plan.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.dtype == dtype).map(|(at, _)| SlotId(at as u32)).collect()
    }

    fn value(&self, operand: Operand) -> &Literal {
        match operand {
            Operand::Slot(slot) => &self.values[slot.0 as usize],
            Operand::Literal(index) => &self.plan.literals[index as usize],
            Operand::Weight(_) => unreachable!("there are no weights"),
        }
    }

    fn step(&mut self, op: Op, inputs: &[Operand]) {
        let values: Vec<Option<&Literal>> = inputs.iter().map(|&i| Some(self.value(i))).collect();
        let known: Vec<_> = values
            .iter()
            .flatten()
            .map(|value| {
                let (dtype, shape) = (value.dtype(), Some(value.shape()));
                Some(InferInput { dtype, shape, value: None })
            })
            .collect();
        infer(&op, &known, 1).unwrap();
        let result = Evaluator.evaluate(&op, &values, 1).unwrap().remove(0);
        let slot = self.slot(result);
        self.plan.steps.push(Step {
            name: format!("step{}", self.plan.steps.len()),
            op,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(slot)],
            segments: 0,
            bodies: Vec::new(),
        });
    }
}

/// Emits a problem's groups. Returns what every stored slot should be.
pub fn emit(
    machine: &mut dyn Machine,
    problem: &Problem,
) -> Result<Vec<(Value, Literal)>, LowerError> {
    let plan = &problem.plan;
    let mut stored: HashMap<Operand, Value> = HashMap::new();
    for (index, literal) in plan.literals.iter().enumerate() {
        let mut value = machine.value(literal, Order::RowMajor);
        value.known = Some(literal.clone());
        stored.insert(Operand::Literal(index as u32), value);
    }
    for input in &plan.inputs {
        let value = machine.value(&problem.values[input.slot.0 as usize], Order::RowMajor);
        stored.insert(Operand::Slot(input.slot), value);
    }
    let mut wanted = Vec::new();
    for group in fuse::groups(plan) {
        for &slot in &group.outputs {
            let result = &problem.values[slot.0 as usize];
            let nothing = vec![0xa5; result.bytes().len()];
            let nothing = Literal::new(result.dtype(), result.shape().to_vec(), nothing.into());
            let value = machine.value(&nothing.unwrap(), Order::RowMajor);
            stored.insert(Operand::Slot(slot), value.clone());
            wanted.push((value, result.clone()));
        }
        // What is read was stored by an earlier group.
        assert!(group.inputs.iter().all(|input| stored.contains_key(input)), "{group:?}");
        emit_group(machine.target(), plan, &group, &|operand| stored.get(&operand).cloned())?;
    }
    Ok(wanted)
}

fn emit_group(
    target: &mut dyn Target,
    plan: &Plan,
    group: &Group,
    value: &dyn Fn(Operand) -> Option<Value>,
) -> Result<(), LowerError> {
    let [only] = group.steps[..] else { return fused::emit(target, plan, group, value) };
    let of = &plan.steps[only];
    let inputs: Vec<_> = of.inputs.iter().map(|input| input.and_then(value)).collect();
    let outputs: Vec<_> =
        of.outputs.iter().map(|slot| slot.and_then(|slot| value(Operand::Slot(slot)))).collect();
    step::own(target, &of.op, &inputs, &outputs)
}

/// What is wrong with what lies in memory.
pub fn check(wanted: &[(Value, Literal)], bytes: &dyn Fn(&Value) -> Vec<u8>) -> Result<(), String> {
    for (number, (value, literal)) in wanted.iter().enumerate() {
        let (got, want) = (bytes(value), in_order(literal, value));
        let size = value.dtype.size();
        for at in 0..literal.len() {
            let at = place(at, &value.shape, &value.strides()) * size;
            // Steps in between are not rounded, and errors add up over thirty steps.
            if !close(value.dtype, &got[at..at + size], &want[at..at + size], 60.0) {
                return Err(format!("stored value {number} of {} at byte {at}", wanted.len()));
            }
        }
    }
    Ok(())
}

#[test]
fn groups_cover_every_step_once_and_shorten_the_plan() {
    for seed in 0..200 {
        let problem = problem(seed, DType::F32);
        let groups = fuse::groups(&problem.plan);
        let mut steps: Vec<usize> = groups.iter().flat_map(|group| group.steps.clone()).collect();
        assert!(groups.len() < steps.len(), "{groups:?}");
        steps.sort_unstable();
        assert!(steps.into_iter().eq(0..problem.plan.steps.len()));
        let mut known: Vec<SlotId> = problem.plan.inputs.iter().map(|input| input.slot).collect();
        for group in groups {
            for input in &group.inputs {
                assert!(!matches!(input, Operand::Slot(slot) if !known.contains(slot)), "{seed}");
            }
            known.extend(&group.outputs);
        }
        for output in &problem.plan.outputs {
            assert!(!matches!(output.from, Operand::Slot(slot) if !known.contains(&slot)));
        }
    }
}
