//! Control flow: branches taken when the plan is made where the condition is known, and nested plans otherwise.

use super::emit::Emitter;
use super::value::{Home, Id, Value};
use crate::{Plan, PlanError};
use sublet_graph::{DType, Graph, InferError, Node, ScanOptions, TensorType};

/// A compiled body and what is known of its outputs.
struct Body {
    plan: Plan,
    outputs: Vec<Value>,
}

impl Emitter<'_> {
    /// `If`: the taken branch in place of the node when the condition is known.
    pub fn branch(
        &mut self,
        node: &Node,
        then_branch: &Graph,
        else_branch: &Graph,
        inputs: &[Option<Id>],
    ) -> Result<Vec<Id>, PlanError> {
        let inputs = self.all_given(node, inputs)?;
        let [condition, outer @ ..] = &inputs[..] else {
            return Err(self.invalid(node, "If has no condition"));
        };
        if let Some(condition) = self.value(*condition).known_bool() {
            let taken = if condition { then_branch } else { else_branch };
            self.check_outputs(node, taken.outputs.len(), node.outputs.len())?;
            self.check_inputs(node, taken, outer.len())?;
            return self.graph(taken, outer);
        }
        let outer: Vec<_> = outer.iter().map(|&id| self.value(id).clone()).collect();
        let then_body = self.body(node, then_branch, &outer);
        let else_body = self.body(node, else_branch, &outer);
        let (then_body, else_body) = match (then_body, else_body) {
            (Ok(then_body), Ok(else_body)) => (then_body, else_body),
            // The shapes may rule one branch out, which then is never taken: the other tells the types.
            (Ok(then_body), Err(why)) => {
                let else_body = unusable(&then_body, why)?;
                (then_body, else_body)
            }
            (Err(why), Ok(else_body)) => (unusable(&else_body, why)?, else_body),
            (Err(why), Err(_)) => return Err(why),
        };
        self.check_outputs(node, then_body.outputs.len(), node.outputs.len())?;
        self.check_outputs(node, else_body.outputs.len(), node.outputs.len())?;
        let mut types = Vec::new();
        for (one, other) in then_body.outputs.iter().zip(&else_body.outputs) {
            if one.dtype != other.dtype {
                let what = format!("branches give {} and {}", one.dtype, other.dtype);
                return Err(self.invalid(node, what));
            }
            let shape = one.shape.clone().filter(|shape| other.shape.as_ref() == Some(shape));
            types.push(TensorType { dtype: one.dtype, shape });
        }
        let given: Vec<_> = inputs.into_iter().map(Some).collect();
        self.step(node, &given, types, vec![then_body.plan, else_body.plan])
    }

    /// `Loop`. Shapes of carried values are known when the body keeps them; lengths of scan outputs when the trip
    /// count is known and the condition stays true.
    pub fn repeat(
        &mut self,
        node: &Node,
        body: &Graph,
        carried: usize,
        inputs: &[Option<Id>],
    ) -> Result<Vec<Id>, PlanError> {
        if inputs.len() < 2 + carried {
            return Err(self.invalid(node, "Loop has too few inputs"));
        }
        let trips = inputs[0].map(|id| self.value(id).known_i64());
        let goes_in = inputs[1].is_none_or(|id| self.value(id).known_bool() == Some(true));
        let rest = self.all_given(node, &inputs[2..])?;
        let scalar = |dtype| unknown(dtype, Some(Vec::new()));
        let mut body_inputs = vec![scalar(DType::I64), scalar(DType::Bool)];
        body_inputs.extend(rest.iter().map(|&id| self.value(id).clone()));
        forget_values(&mut body_inputs[2..2 + carried]);
        let states = 2..2 + carried;
        let compiled = self.fixpoint(node, body, &mut body_inputs, states, 1)?;
        self.check_outputs(node, compiled.outputs.len(), node.outputs.len() + 1)?;
        let always = compiled.outputs[0].known_bool() == Some(true);
        let trips = trips.flatten().filter(|_| goes_in && always);
        let mut types: Vec<_> = body_inputs[2..2 + carried].iter().map(type_of).collect();
        for scan in &compiled.outputs[1 + carried..] {
            let shape = trips.zip(scan.shape.as_ref()).map(|(trips, shape)| {
                let mut stacked = vec![usize::try_from(trips).unwrap_or(0)];
                stacked.extend(shape);
                stacked
            });
            types.push(TensorType { dtype: scan.dtype, shape });
        }
        self.step(node, inputs, types, vec![compiled.plan])
    }

    pub fn scan(
        &mut self,
        node: &Node,
        scan: &ScanOptions,
        inputs: &[Option<Id>],
    ) -> Result<Vec<Id>, PlanError> {
        let given = self.all_given(node, inputs)?;
        if given.len() < scan.states + scan.scan_inputs {
            return Err(self.invalid(node, "Scan has too few inputs"));
        }
        let mut body_inputs: Vec<_> = given.iter().map(|&id| self.value(id).clone()).collect();
        forget_values(&mut body_inputs[..scan.states + scan.scan_inputs]);
        let mut length = None;
        for index in 0..scan.scan_inputs {
            let input = &mut body_inputs[scan.states + index];
            let Some(shape) = &mut input.shape else { continue };
            let axis = scan.input_axes.get(index).copied().unwrap_or(0);
            let axis = resolve_axis(axis, shape.len())
                .ok_or_else(|| self.invalid(node, format!("no axis {axis} in {shape:?}")))?;
            let here = shape.remove(axis);
            if *length.get_or_insert(here) != here {
                return Err(self.invalid(node, "scanned inputs differ in length"));
            }
        }
        let compiled = self.fixpoint(node, &scan.body, &mut body_inputs, 0..scan.states, 0)?;
        self.check_outputs(node, compiled.outputs.len(), node.outputs.len())?;
        let mut types: Vec<_> = body_inputs[..scan.states].iter().map(type_of).collect();
        for (index, output) in compiled.outputs[scan.states..].iter().enumerate() {
            let mut shape = None;
            if let (Some(length), Some(each)) = (length, &output.shape) {
                let axis = scan.output_axes.get(index).copied().unwrap_or(0);
                let axis = resolve_axis(axis, each.len() + 1)
                    .ok_or_else(|| self.invalid(node, format!("no output axis {axis}")))?;
                let mut stacked = each.clone();
                stacked.insert(axis, length);
                shape = Some(stacked);
            }
            types.push(TensorType { dtype: output.dtype, shape });
        }
        self.step(node, inputs, types, vec![compiled.plan])
    }

    /// Compiles a body whose inputs `states` are fed from its outputs `first_output..`: shapes that an iteration
    /// changes are not known. Where one change leads to the next, or in a body of a body, no shape of a state is: so
    /// a body is compiled at most three times, however deep it lies.
    fn fixpoint(
        &mut self,
        node: &Node,
        graph: &Graph,
        inputs: &mut [Value],
        states: std::ops::Range<usize>,
        first_output: usize,
    ) -> Result<Body, PlanError> {
        let forget = |inputs: &mut [Value]| {
            inputs[states.clone()].iter_mut().for_each(|state| state.shape = None);
        };
        if self.in_body {
            forget(inputs);
        }
        for attempt in 0.. {
            let body = self.body(node, graph, inputs)?;
            if body.outputs.len() < first_output + states.len() {
                return Err(self.invalid(node, "the body has too few outputs"));
            }
            let mut stable = true;
            for (index, after) in states.clone().zip(&body.outputs[first_output..]) {
                let before = &mut inputs[index];
                if before.dtype != after.dtype {
                    let what = format!("a {} becomes {}", before.dtype, after.dtype);
                    return Err(self.invalid(node, what));
                }
                if before.shape.is_some() && before.shape != after.shape {
                    before.shape = None;
                    stable = false;
                }
            }
            if stable {
                return Ok(body);
            }
            if attempt > 0 {
                forget(inputs);
            }
        }
        unreachable!("without known shapes of states nothing can change")
    }

    fn body(&self, node: &Node, graph: &Graph, inputs: &[Value]) -> Result<Body, PlanError> {
        self.check_inputs(node, graph, inputs.len())?;
        let mut nested = self.nested();
        let mut given = Vec::new();
        let mut bound = Vec::new();
        for (input, value) in graph.inputs.iter().zip(inputs) {
            let name = graph.value(input.value).name.clone();
            let slot = unknown(value.dtype, value.shape.clone());
            given.push((name, nested.add(slot)));
            bound.push(match &value.literal {
                Some(literal) => nested.add(Value::literal(literal.clone())),
                None => given.last().expect("just pushed").1,
            });
        }
        let outputs = nested.graph(graph, &bound)?;
        let known = outputs.iter().map(|&id| nested.value(id).clone()).collect();
        let names = graph.outputs.iter().map(|&id| graph.value(id).name.clone());
        let plan = nested.finish(given, names.zip(outputs).collect())?;
        Ok(Body { plan, outputs: known })
    }

    fn all_given(&self, node: &Node, inputs: &[Option<Id>]) -> Result<Vec<Id>, PlanError> {
        let missing = || self.invalid(node, format!("an input of {} is missing", node.op));
        inputs.iter().map(|input| input.ok_or_else(missing)).collect()
    }

    fn check_inputs(&self, node: &Node, body: &Graph, given: usize) -> Result<(), PlanError> {
        if body.inputs.len() == given {
            return Ok(());
        }
        let wanted = body.inputs.len();
        Err(self.invalid(node, format!("a body of {wanted} inputs is given {given}")))
    }

    fn check_outputs(&self, node: &Node, given: usize, wanted: usize) -> Result<(), PlanError> {
        if given == wanted {
            return Ok(());
        }
        Err(self.invalid(node, format!("a body has {given} outputs where {wanted} are wanted")))
    }
}

/// The body beside `usable` that breaks a rule: it has the same types, and fails when it is run. Whatever is not a
/// matter of shapes is an error now.
fn unusable(usable: &Body, why: PlanError) -> Result<Body, PlanError> {
    if !matches!(why, PlanError::Infer { error: InferError::Invalid(_), .. }) {
        return Err(why);
    }
    let plan = Plan {
        inputs: usable.plan.inputs.clone(),
        outputs: Vec::new(),
        slots: usable.plan.slots.clone(),
        literals: Vec::new(),
        steps: Vec::new(),
        arena_bytes: 0,
        segments: 0,
        unusable: Some(why.to_string()),
    };
    Ok(Body { plan, outputs: usable.outputs.clone() })
}

fn unknown(dtype: DType, shape: Option<Vec<usize>>) -> Value {
    Value { dtype, shape, literal: None, home: Home::Computed }
}

/// What changes from one iteration to the next has no known value.
fn forget_values(values: &mut [Value]) {
    for value in values {
        value.literal = None;
    }
}

fn type_of(value: &Value) -> TensorType {
    TensorType { dtype: value.dtype, shape: value.shape.clone() }
}

fn resolve_axis(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}
