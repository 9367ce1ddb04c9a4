//! Calls of functions that the model defines: their nodes go into the caller's graph.

use super::attributes::{Arguments, Attributes};
use super::proto::{FunctionProto, NodeProto};
use super::scope::{Frame, FrameKind, Importer, Resolved};
use super::{domain, opsets};
use crate::{ImportError, Place};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use sublet_graph::ValueId;

impl<'m> Importer<'m> {
    /// The model's own function that a node calls, if it does.
    pub fn called(&self, node: &'m NodeProto) -> Option<&'m FunctionProto> {
        let key = (domain(&node.domain), node.op_type.as_str(), node.overload.as_str());
        self.functions.get(&key).copied()
    }

    /// Expands a call. `name` is the calling node's, `read` holds the names that somebody reads.
    pub fn call(
        &mut self,
        function: &'m FunctionProto,
        node: &'m NodeProto,
        name: &str,
        inputs: &[Option<ValueId>],
        attributes: &Attributes<'m>,
        read: &HashSet<&'m str>,
    ) -> Result<(), ImportError> {
        let place = || Place::Node { name: name.to_owned(), op: node.op_type.clone() };
        if inputs.len() > function.input.len() || node.output.len() > function.output.len() {
            return Err(place().invalid("has more inputs or outputs than its function"));
        }
        let frame = Frame {
            kind: FrameKind::Function,
            names: HashMap::new(),
            initializers: HashMap::new(),
            opsets: Rc::new(opsets(&function.opset_import)?),
            arguments: Rc::new(arguments(function, attributes)),
            prefix: format!("{}{name}/", self.frame().prefix),
        };
        self.enter(&place, frame)?;
        for (index, formal) in function.input.iter().enumerate() {
            let value = inputs.get(index).copied().flatten();
            self.define(formal, value).map_err(|reason| place().invalid(reason))?;
        }
        let results: Vec<(&'m str, &'m str)> = node
            .output
            .iter()
            .zip(&function.output)
            .map(|(outer, inner)| (outer.as_str(), inner.as_str()))
            .filter(|(outer, _)| !outer.is_empty() && read.contains(outer))
            .collect();
        self.nodes(&function.node, results.iter().map(|(_, inner)| *inner))?;
        let mut values = Vec::with_capacity(results.len());
        for (outer, inner) in results {
            match self.resolve(inner)? {
                Resolved::Value(value) => values.push((outer, value)),
                Resolved::Absent | Resolved::Unknown => {
                    let reason = format!("its function does not compute output `{inner}`");
                    return Err(place().invalid(reason));
                }
            }
        }
        self.leave_function();
        for (outer, value) in values {
            self.define(outer, Some(value)).map_err(|reason| place().invalid(reason))?;
        }
        Ok(())
    }
}

/// Attributes of the call, and the function's defaults for those that it leaves out.
fn arguments<'m>(function: &'m FunctionProto, given: &Attributes<'m>) -> Arguments<'m> {
    let mut arguments: Arguments<'m> = HashMap::new();
    for default in &function.attribute_proto {
        arguments.insert(&default.name, default);
    }
    arguments.extend(given.arguments());
    arguments
}
