//! The order in which a graph's nodes are lowered: topological whatever the file's order, without nodes that
//! nobody reads.

use super::proto::{GraphProto, NodeProto};
use crate::{ImportError, Place};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// A graph's nodes in execution order.
pub struct Order<'m> {
    /// Index in the file, and the node.
    pub nodes: Vec<(usize, &'m NodeProto)>,
    /// Names that a node of the order or the graph's outputs read.
    pub read: HashSet<&'m str>,
}

impl<'m> Order<'m> {
    /// `outputs` are the names that must be computed. Where the file's order is topological it is kept.
    pub fn new(
        nodes: &'m [NodeProto],
        outputs: impl Iterator<Item = &'m str>,
    ) -> Result<Self, ImportError> {
        let mut producers: HashMap<&str, usize> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                if producers.insert(output, index).is_some() {
                    let reason = format!("value {} is defined twice", crate::error::Name(output));
                    return Err(node_place(index, node).invalid(reason));
                }
            }
        }
        let reads: Vec<Vec<&str>> = nodes.iter().map(node_reads).collect();
        let sorted = sort(nodes, &reads, &producers)?;

        let mut read: HashSet<&str> = outputs.collect();
        let mut order = Vec::with_capacity(sorted.len());
        for &index in sorted.iter().rev() {
            let node = &nodes[index];
            if node.output.iter().any(|output| read.contains(output.as_str())) {
                read.extend(&reads[index]);
                order.push((index, node));
            }
        }
        order.reverse();
        Ok(Order { nodes: order, read })
    }
}

/// Nodes, with those of nested graphs, all of which ordering looks at.
pub fn count(nodes: &[NodeProto]) -> usize {
    let nested = |node: &NodeProto| {
        let graphs = node.attribute.iter().filter_map(|attribute| attribute.g.as_deref());
        graphs.map(|graph| count(&graph.node)).sum::<usize>()
    };
    nodes.iter().map(|node| 1 + nested(node)).sum()
}

/// A node without a name is called after its operator and its index in the file.
pub fn node_name(index: usize, node: &NodeProto) -> String {
    if node.name.is_empty() { format!("{}#{index}", node.op_type) } else { node.name.clone() }
}

fn node_place(index: usize, node: &NodeProto) -> Place {
    Place::Node { name: node_name(index, node), op: node.op_type.clone() }
}

/// Kahn's algorithm; of the nodes that are ready, the first in the file goes first.
fn sort(
    nodes: &[NodeProto],
    reads: &[Vec<&str>],
    producers: &HashMap<&str, usize>,
) -> Result<Vec<usize>, ImportError> {
    let mut waiting_for = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, names) in reads.iter().enumerate() {
        for producer in names.iter().filter_map(|name| producers.get(name)) {
            waiting_for[index] += 1;
            readers[*producer].push(index);
        }
    }
    let ready = (0..nodes.len()).filter(|&index| waiting_for[index] == 0);
    let mut ready: BinaryHeap<_> = ready.map(Reverse).collect();
    let mut sorted = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        sorted.push(index);
        for &reader in &readers[index] {
            waiting_for[reader] -= 1;
            if waiting_for[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match (0..nodes.len()).find(|&index| waiting_for[index] > 0) {
        None => Ok(sorted),
        Some(stuck) => {
            let index = on_cycle(stuck, reads, producers, &waiting_for);
            Err(node_place(index, &nodes[index]).invalid("reads its own result (a cycle)"))
        }
    }
}

/// Follows what a stuck node waits for until it comes back to a node: that one lies on a cycle.
fn on_cycle(
    start: usize,
    reads: &[Vec<&str>],
    producers: &HashMap<&str, usize>,
    waiting_for: &[usize],
) -> usize {
    let mut seen = vec![false; reads.len()];
    let mut index = start;
    while !seen[index] {
        seen[index] = true;
        let stuck = reads[index].iter().filter_map(|name| producers.get(name));
        index = *stuck.into_iter().find(|&&p| waiting_for[p] > 0).expect("a stuck node waits");
    }
    index
}

/// Names that a node reads, itself or in its nested graphs.
fn node_reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).collect();
    for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_deref()) {
        names.extend(free_names(graph));
    }
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}

/// Names that a graph reads and does not define. Nesting is bounded by the decoder.
fn free_names(graph: &GraphProto) -> Vec<&str> {
    let mut defined: HashSet<&str> = HashSet::new();
    defined.extend(graph.input.iter().map(|input| input.name.as_str()));
    defined.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
    defined.extend(graph.node.iter().flat_map(|node| &node.output).map(String::as_str));
    let mut free: Vec<&str> = graph.node.iter().flat_map(node_reads).collect();
    free.extend(graph.output.iter().map(|output| output.name.as_str()));
    free.retain(|name| !defined.contains(name));
    free
}
