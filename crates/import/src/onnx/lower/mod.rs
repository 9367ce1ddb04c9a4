//! Nodes of the file → operators of the IR, one file per family of operators.
//!
//! Each family's `lower` returns `false` for operators that are not its own. An operator is read in whatever version the
//! file's opset gives it and written in the newest form (see [`sublet_graph::Op`]).

mod contrib;
mod control;
mod conv;
mod elementwise;
mod generate;
mod index;
mod loss;
mod lowering;
mod normalization;
mod product;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod shape;
mod signal;
mod softmax;

use super::attributes::Attributes;
use super::graph;
use super::order::node_name;
use super::problem::{Problem, unsupported};
use super::proto::NodeProto;
use super::scope::Importer;
use super::{OPSET_MAX, domain};
use crate::{ImportError, Place};
use lowering::Lowering;
use std::collections::HashSet;

/// Lowers one node into the graph under construction. `read` holds the names that somebody reads.
pub fn node<'m>(
    importer: &mut Importer<'m>,
    node: &'m NodeProto,
    index: usize,
    read: &HashSet<&'m str>,
) -> Result<(), ImportError> {
    let name = node_name(index, node);
    let place_name = format!("{}{name}", importer.frame().prefix);
    let place = || Place::Node { name: place_name.clone(), op: qualified(node) };
    lower(importer, node, &name, read).map_err(|problem| problem.at(place))
}

fn lower<'m>(
    importer: &mut Importer<'m>,
    node: &'m NodeProto,
    name: &str,
    read: &HashSet<&'m str>,
) -> Result<(), Problem> {
    let mut inputs = Vec::with_capacity(node.input.len());
    for (index, input) in node.input.iter().enumerate() {
        inputs.push(graph::read(importer, index, input)?);
    }
    let attributes = Attributes::new(node, &importer.frame().arguments)?;
    let names = (node.input.len() + node.output.len()) as u64;
    importer.count_attributes(attributes.bytes().saturating_add(8 * names))?;
    if let Some(function) = importer.called(node) {
        return Ok(importer.call(function, node, name, &inputs, &attributes, read)?);
    }
    let domain = domain(&node.domain);
    let opset = match importer.frame().opsets.get(domain) {
        Some(&version) => version,
        None if domain.is_empty() => {
            return Err(Problem::Invalid("the file imports no opset of ONNX".to_owned()));
        }
        None => OPSET_MAX,
    };
    let mut lowering = Lowering::new(importer, node, name, opset, inputs, attributes, read);
    if !dispatch(&mut lowering, domain)? {
        return unsupported("the operator");
    }
    lowering.finished()
}

fn dispatch(cx: &mut Lowering<'_, '_>, domain: &str) -> Result<bool, Problem> {
    let op = cx.op;
    match domain {
        "" => Ok(elementwise::lower(cx, op)?
            || shape::lower(cx, op)?
            || generate::lower(cx, op)?
            || index::lower(cx, op)?
            || product::lower(cx, op)?
            || conv::lower(cx, op)?
            || normalization::lower(cx, op)?
            || softmax::lower(cx, op)?
            || reduce::lower(cx, op)?
            || quantize::lower(cx, op)?
            || resize::lower(cx, op)?
            || signal::lower(cx, op)?
            || recurrent::lower(cx, op)?
            || control::lower(cx, op)?
            || loss::lower(cx, op)?),
        "com.microsoft" => contrib::lower(cx, op),
        "ai.onnx.ml" => contrib::lower_ml(cx, op),
        _ => Ok(false),
    }
}

/// The operator with its domain, as error messages show it.
fn qualified(node: &NodeProto) -> String {
    match domain(&node.domain) {
        "" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    }
}
