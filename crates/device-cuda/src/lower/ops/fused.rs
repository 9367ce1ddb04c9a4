//! Steps that compute element by element, alone or several as one kernel.

use super::ctype::computed;
use super::elementwise::{self, Element, Spread};
use super::map::{Access, Map, map};
use super::target::Target;
use super::{movement, rows};
use crate::lower::fuse::Group;
use crate::lower::{LowerError, Value};
use std::fmt::Write;
use sublet_graph::{DType, Op};
use sublet_plan::{Operand, Plan, SlotId};

/// Emits one step.
pub fn single(
    target: &mut dyn Target,
    op: &Op,
    inputs: &[Option<Value>],
    output: &Value,
) -> Result<(), LowerError> {
    let mut program = Program::over(&output.shape);
    let elements = program.elements(op, inputs)?;
    let result = program.compute(op, &elements, output.dtype)?;
    program.store(output, &result);
    program.emit(target, &op.name())
}

/// Emits a group of several steps; `value` gives what is stored.
pub fn emit(
    target: &mut dyn Target,
    plan: &Plan,
    group: &Group,
    value: &dyn Fn(Operand) -> Option<Value>,
) -> Result<(), LowerError> {
    let last = *group.steps.last().expect("a group has steps");
    if let Op::LayerNorm { .. } | Op::RmsNorm { .. } = plan.steps[last].op {
        return normalized_sum(target, plan, group, value);
    }
    let shape = result(plan, last).and_then(|slot| plan.slot_shape(slot));
    let shape = shape.ok_or_else(|| LowerError::unsupported("a shape that only the run tells"))?;
    let mut program = Program::over(shape);
    let mut results: Vec<(SlotId, Element)> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for &index in &group.steps {
        let step = &plan.steps[index];
        let slot = result(plan, index)
            .ok_or_else(|| LowerError::Invalid("a fused step with several results".into()))?;
        let reads = elementwise::read(&step.op, step.inputs.len());
        let mut elements = Vec::with_capacity(step.inputs.len());
        for (position, input) in step.inputs.iter().enumerate() {
            let inside = input
                .and_then(|input| results.iter().find(|(slot, _)| Operand::Slot(*slot) == input));
            elements.push(match (input, inside) {
                (_, Some((_, element))) => Some(element.clone()),
                (Some(_), _) if position >= reads => None,
                (Some(input), None) => {
                    let value = value(*input).ok_or_else(|| missing(position))?;
                    let spread = elementwise::spread(&step.op, position, shape.len())?;
                    Some(program.load(&value, spread)?)
                }
                (None, _) => None,
            });
        }
        let element = program.compute(&step.op, &elements, plan.slot(slot).dtype)?;
        results.push((slot, element));
        names.push(step.op.name());
    }
    for &slot in &group.outputs {
        let (_, element) =
            results.iter().find(|(made, _)| *made == slot).expect("outputs are made by the steps");
        let stored = value(Operand::Slot(slot)).ok_or_else(|| missing(0))?;
        program.store(&stored, element);
    }
    names.dedup();
    program.emit(target, &names.join("+"))
}

/// Rows of the sum of two values, normalised; the sum is stored as well where it is read later.
fn normalized_sum(
    target: &mut dyn Target,
    plan: &Plan,
    group: &Group,
    value: &dyn Fn(Operand) -> Option<Value>,
) -> Result<(), LowerError> {
    let [add, normalize] = group.steps[..] else {
        return Err(LowerError::Invalid("a normalised sum has two steps".into()));
    };
    let (add, normalize) = (&plan.steps[add], &plan.steps[normalize]);
    let mut read = |operand: &Option<Operand>| -> Result<Option<Value>, LowerError> {
        let Some(operand) = operand else { return Ok(None) };
        let value = value(*operand).ok_or_else(|| missing(0))?;
        movement::in_row_major(target, &value).map(Some)
    };
    let (first, second) = (read(&add.inputs[0])?, read(&add.inputs[1])?);
    let mut inputs = vec![first];
    for operand in &normalize.inputs[1..] {
        inputs.push(read(operand)?);
    }
    let outputs: Vec<Option<Value>> = normalize
        .outputs
        .iter()
        .map(|slot| slot.and_then(|slot| value(Operand::Slot(slot))))
        .collect();
    let second = second.ok_or_else(|| missing(1))?;
    let total = add.outputs[0]
        .filter(|slot| group.outputs.contains(slot))
        .and_then(|slot| value(Operand::Slot(slot)));
    let sum = Some((&second, total.as_ref()));
    match normalize.op {
        Op::LayerNorm { axis, epsilon } => {
            rows::layer_norm(target, axis, epsilon, &inputs, &outputs, sum)
        }
        Op::RmsNorm { axis, epsilon } => {
            rows::rms_norm(target, axis, epsilon, &inputs, &outputs, sum)
        }
        ref other => Err(LowerError::unsupported(other.name())),
    }
}

fn result(plan: &Plan, step: usize) -> Option<SlotId> {
    match plan.steps[step].outputs[..] {
        [Some(slot)] => Some(slot),
        _ => None,
    }
}

fn missing(index: usize) -> LowerError {
    LowerError::Invalid(format!("input {index} has no place"))
}

/// Statements over one element of a shape, under construction.
pub struct Program {
    shape: Vec<usize>,
    loads: Vec<Access>,
    stores: Vec<Access>,
    body: String,
    variables: usize,
    fault: Option<&'static str>,
}

impl Program {
    pub fn over(shape: &[usize]) -> Program {
        Program {
            shape: shape.to_vec(),
            loads: Vec::new(),
            stores: Vec::new(),
            body: String::new(),
            variables: 0,
            fault: None,
        }
    }

    /// One element of a value that lies over the shape.
    pub fn load(&mut self, value: &Value, spread: Spread) -> Result<Element, LowerError> {
        if let Some((text, literal)) = elementwise::known_element(value.known.as_ref()) {
            return Ok(Element { text, dtype: value.dtype, known: Some(literal) });
        }
        let strides = match spread {
            Spread::Broadcast => broadcast_strides(value, &self.shape)?,
            Spread::Axis(axis) => axis_strides(value, axis, &self.shape)?,
        };
        let access = Access { address: value.address, dtype: value.dtype, strides };
        let at = self.loads.iter().position(|load| *load == access).unwrap_or_else(|| {
            self.loads.push(access);
            self.loads.len() - 1
        });
        Ok(Element { text: format!("x{at}"), dtype: value.dtype, known: None })
    }

    /// The elements of an operator's inputs.
    pub fn elements(
        &mut self,
        op: &Op,
        inputs: &[Option<Value>],
    ) -> Result<Vec<Option<Element>>, LowerError> {
        let reads = elementwise::read(op, inputs.len());
        let rank = self.shape.len();
        let mut elements = Vec::with_capacity(reads);
        for (index, input) in inputs[..reads].iter().enumerate() {
            elements.push(match input {
                Some(value) => Some(self.load(value, elementwise::spread(op, index, rank)?)?),
                None => None,
            });
        }
        Ok(elements)
    }

    /// Adds the statement that computes an operator.
    pub fn compute(
        &mut self,
        op: &Op,
        inputs: &[Option<Element>],
        result: DType,
    ) -> Result<Element, LowerError> {
        let expression = elementwise::expression(op, inputs, result)?;
        if let Some(what) = elementwise::fault(op, inputs) {
            self.fault = Some(what);
        }
        Ok(self.variable(&expression, result))
    }

    /// Adds a variable of the computed type of `dtype`.
    pub fn variable(&mut self, expression: &str, dtype: DType) -> Element {
        let text = format!("v{}", self.variables);
        self.variables += 1;
        let _ = writeln!(self.body, "    const {} {text} = {expression};", computed(dtype));
        Element { text, dtype, known: None }
    }

    /// Adds a result.
    pub fn store(&mut self, value: &Value, element: &Element) {
        let _ = writeln!(self.body, "    y{} = {};", self.stores.len(), element.text);
        let strides = value.strides().into_iter().map(|stride| stride as i64).collect();
        self.stores.push(Access { address: value.address, dtype: value.dtype, strides });
    }

    /// Emits the kernel, when it has results.
    pub fn emit(self, target: &mut dyn Target, name: &str) -> Result<(), LowerError> {
        if self.stores.is_empty() {
            return Ok(());
        }
        map(
            target,
            Map {
                name,
                dims: self.shape,
                loads: self.loads,
                stores: self.stores,
                body: self.body,
                fault: self.fault,
            },
        )
    }
}

/// Strides of a value that is broadcast to a shape; 0 along axes where it has one index.
pub fn broadcast_strides(value: &Value, shape: &[usize]) -> Result<Vec<i64>, LowerError> {
    let bad =
        || LowerError::Invalid(format!("shape {:?} does not broadcast to {shape:?}", value.shape));
    let strides = value.strides();
    // Leading ones beyond the rank of the result say nothing.
    let extra = value.shape.len().saturating_sub(shape.len());
    if value.shape[..extra].iter().any(|&dim| dim != 1) {
        return Err(bad());
    }
    let own = &value.shape[extra..];
    let added = shape.len() - own.len();
    let mut result = vec![0; shape.len()];
    for (axis, (&dim, &stride)) in own.iter().zip(&strides[extra..]).enumerate() {
        if dim == shape[added + axis] {
            result[added + axis] = if dim == 1 { 0 } else { stride as i64 };
        } else if dim != 1 {
            return Err(bad());
        }
    }
    Ok(result)
}

fn axis_strides(value: &Value, axis: usize, shape: &[usize]) -> Result<Vec<i64>, LowerError> {
    let mut strides = vec![0; shape.len()];
    match value.elements() {
        1 => {}
        count if shape.get(axis) == Some(&count) => strides[axis] = 1,
        count => {
            return Err(LowerError::Invalid(format!(
                "{count} values for axis {axis} of {shape:?}"
            )));
        }
    }
    Ok(strides)
}
