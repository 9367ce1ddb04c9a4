//! A graph being rewritten, with an index of who makes and who reads each value.
//!
//! A rule replaces the last node of its pattern in place, so that execution order holds: everything the new node reads
//! was made before the old one. Nodes whose outputs nobody reads any more die at once.

use super::probe::Probes;
use crate::{DType, Graph, Literal, Node, Op, Source, ValueId, ValueInfo, Weight, WeightId};
use std::collections::HashSet;

/// The weights of a model whose graph is being rewritten; names stay unique.
pub(super) struct Weights {
    list: Vec<Weight>,
    names: HashSet<String>,
}

impl Weights {
    pub fn new(list: Vec<Weight>) -> Self {
        let names = list.iter().map(|weight| weight.name.clone()).collect();
        Weights { list, names }
    }

    pub fn list(&self) -> &[Weight] {
        &self.list
    }

    pub fn into_list(self) -> Vec<Weight> {
        self.list
    }

    pub fn get(&self, id: WeightId) -> &Literal {
        &self.list[id.0 as usize].value
    }

    fn add(&mut self, name: &str, value: Literal) -> WeightId {
        let mut unique = name.to_owned();
        let mut attempt = 1;
        while !self.names.insert(unique.clone()) {
            attempt += 1;
            unique = format!("{name}.{attempt}");
        }
        let id = WeightId(u32::try_from(self.list.len()).expect("fewer than 2^32 weights"));
        self.list.push(Weight { name: unique, value });
        id
    }
}

pub(super) struct Editor<'a> {
    graph: &'a mut Graph,
    weights: &'a mut Weights,
    pub probes: Probes,
    /// Whether names of outputs must stay.
    outermost: bool,
    /// Per value: the node that makes it.
    maker: Vec<Option<usize>>,
    /// Per value: the nodes that read it, once for each input.
    readers: Vec<Vec<usize>>,
    /// Per value: how often it is an output of the graph.
    exported: Vec<usize>,
    /// Per value: how often a node to be inserted reads it.
    held: Vec<usize>,
    alive: Vec<bool>,
    /// Nodes to insert, and before which.
    inserted: Vec<(usize, Node)>,
}

impl<'a> Editor<'a> {
    pub fn new(
        graph: &'a mut Graph,
        weights: &'a mut Weights,
        probes: Probes,
        outermost: bool,
    ) -> Self {
        let count = graph.values.len();
        let mut editor = Editor {
            maker: vec![None; count],
            readers: vec![Vec::new(); count],
            exported: vec![0; count],
            held: vec![0; count],
            alive: vec![true; graph.nodes.len()],
            inserted: Vec::new(),
            graph,
            weights,
            probes,
            outermost,
        };
        for (index, node) in editor.graph.nodes.iter().enumerate() {
            for output in node.outputs.iter().flatten() {
                editor.maker[output.0 as usize] = Some(index);
            }
            for input in node.inputs.iter().flatten() {
                editor.readers[input.0 as usize].push(index);
            }
        }
        for output in &editor.graph.outputs {
            editor.exported[output.0 as usize] += 1;
        }
        for index in (0..editor.alive.len()).rev() {
            editor.bury(index);
        }
        editor
    }

    pub fn node_count(&self) -> usize {
        self.graph.nodes.len()
    }

    pub fn is_alive(&self, node: usize) -> bool {
        self.alive[node]
    }

    pub fn node(&self, node: usize) -> &Node {
        &self.graph.nodes[node]
    }

    pub fn value(&self, id: ValueId) -> &ValueInfo {
        self.graph.value(id)
    }

    pub fn outermost(&self) -> bool {
        self.outermost
    }

    /// Whether a value is of a float type that rules are for.
    pub fn is_real(&self, id: ValueId) -> bool {
        self.value(id).dtype.is_some_and(is_real)
    }

    /// How far a constant may be from what a formula with a value asks for, relative to it: what its type rounds off.
    pub fn tolerance(&self, id: ValueId) -> f64 {
        match self.value(id).dtype {
            Some(DType::F16) => 1e-3,
            Some(DType::BF16) => 8e-3,
            _ => 1e-6,
        }
    }

    /// The node that makes a value; `None` for inputs, weights and what was inserted in this round.
    pub fn maker(&self, id: ValueId) -> Option<usize> {
        self.maker.get(id.0 as usize).copied().flatten()
    }

    /// The literal behind a value, if it is a weight.
    pub fn constant(&self, id: ValueId) -> Option<&Literal> {
        self.graph.weight(id).map(|weight| self.weights.get(weight))
    }

    /// How many inputs of nodes and outputs of the graph read a value.
    pub fn uses(&self, id: ValueId) -> usize {
        let id = id.0 as usize;
        self.readers[id].len() + self.exported[id] + self.held[id]
    }

    pub fn readers(&self, id: ValueId) -> &[usize] {
        &self.readers[id.0 as usize]
    }

    pub fn is_exported(&self, id: ValueId) -> bool {
        self.exported[id.0 as usize] > 0
    }

    /// An input of a node that is given.
    pub fn input(&self, node: usize, index: usize) -> Option<ValueId> {
        self.graph.nodes[node].inputs.get(index).copied().flatten()
    }

    /// The first output of a node.
    pub fn output(&self, node: usize) -> Option<ValueId> {
        self.graph.nodes[node].outputs.first().copied().flatten()
    }

    /// Gives a node another operator and other inputs; it keeps its name, outputs and place.
    pub fn replace(&mut self, node: usize, op: Op, inputs: Vec<Option<ValueId>>) {
        for input in inputs.iter().flatten() {
            self.readers[input.0 as usize].push(node);
        }
        self.graph.nodes[node].op = op;
        let old = std::mem::replace(&mut self.graph.nodes[node].inputs, inputs);
        self.release(node, old);
    }

    /// A new value that is a weight.
    pub fn add_weight(&mut self, name: &str, value: Literal) -> ValueId {
        let dtype = value.dtype();
        let source = Source::Weight(self.weights.add(name, value));
        self.add_value(name, source, dtype)
    }

    /// A new value made by a new node, which runs before `node`. Its shape is known from the next round on.
    pub fn insert_before(
        &mut self,
        node: usize,
        name: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        dtype: DType,
    ) -> ValueId {
        let output = self.add_value(name, Source::Node, dtype);
        let outputs = vec![Some(output)];
        self.insert_node_before(node, Node { name: name.to_owned(), op, inputs, outputs });
        output
    }

    pub fn add_value(&mut self, name: &str, source: Source, dtype: DType) -> ValueId {
        let info = ValueInfo { name: name.to_owned(), source, dtype: Some(dtype), dims: None };
        self.maker.push(None);
        self.readers.push(Vec::new());
        self.exported.push(0);
        self.held.push(0);
        self.graph.add_value(info)
    }

    /// Adds a whole node, which runs before `node`. Its inputs stay alive; rules see it from the next round on.
    pub fn insert_node_before(&mut self, node: usize, new: Node) {
        for input in new.inputs.iter().flatten() {
            self.held[input.0 as usize] += 1;
        }
        self.inserted.push((node, new));
    }

    /// A new value like one of another graph.
    pub fn copy_value(&mut self, value: &ValueInfo) -> ValueId {
        let id = self.add_value(&value.name, value.source, DType::F32);
        self.graph.values[id.0 as usize] = value.clone();
        id
    }

    /// Takes a node's outputs away, which inserted nodes make from now on, or which are aliased next. The node goes on
    /// reading its inputs until it is removed.
    pub fn disown(&mut self, node: usize) {
        for output in std::mem::take(&mut self.graph.nodes[node].outputs).into_iter().flatten() {
            self.maker[output.0 as usize] = None;
        }
    }

    /// Removes a node without outputs, and what only it read.
    pub fn remove(&mut self, node: usize) {
        self.bury(node);
    }

    /// Lets everyone who reads `old` read `new`, which holds the same. False when `old` is an output of the graph whose
    /// name clients know, and the name cannot be kept.
    pub fn alias(&mut self, old: ValueId, new: ValueId) -> bool {
        if self.is_exported(old) {
            if self.outermost {
                return self.take_over_name(old, new);
            }
            self.redirect_outputs(old, new);
        }
        self.redirect(old, new);
        if let Some(maker) = self.maker(old) {
            self.bury(maker);
        }
        true
    }

    /// Makes the node behind `new` write `old` instead, so that the output keeps its name.
    fn take_over_name(&mut self, old: ValueId, new: ValueId) -> bool {
        let (Some(maker), Some(forwarder)) = (self.maker(new), self.maker(old)) else {
            return false;
        };
        // The forwarding node must have no other output, for it disappears.
        if self.is_exported(new) || self.node(forwarder).outputs.iter().flatten().count() != 1 {
            return false;
        }
        let inputs = std::mem::take(&mut self.graph.nodes[forwarder].inputs);
        self.graph.nodes[forwarder].outputs.clear();
        self.alive[forwarder] = false;
        self.maker[old.0 as usize] = Some(maker);
        for output in self.graph.nodes[maker].outputs.iter_mut().flatten() {
            if *output == new {
                *output = old;
            }
        }
        self.maker[new.0 as usize] = None;
        self.redirect(new, old);
        self.release(forwarder, inputs);
        true
    }

    fn redirect(&mut self, old: ValueId, new: ValueId) {
        for reader in std::mem::take(&mut self.readers[old.0 as usize]) {
            for input in self.graph.nodes[reader].inputs.iter_mut().flatten() {
                if *input == old {
                    *input = new;
                }
            }
            self.readers[new.0 as usize].push(reader);
        }
        for (_, node) in &mut self.inserted {
            for input in node.inputs.iter_mut().flatten().filter(|input| **input == old) {
                *input = new;
                self.held[old.0 as usize] -= 1;
                self.held[new.0 as usize] += 1;
            }
        }
    }

    fn redirect_outputs(&mut self, old: ValueId, new: ValueId) {
        for output in self.graph.outputs.iter_mut().filter(|output| **output == old) {
            *output = new;
            self.exported[old.0 as usize] -= 1;
            self.exported[new.0 as usize] += 1;
        }
    }

    /// Removes a node if nobody reads any of its outputs, and then what only it read.
    fn bury(&mut self, node: usize) {
        let read = self.graph.nodes[node].outputs.iter().flatten().any(|&id| self.uses(id) > 0);
        if read || !self.alive[node] {
            return;
        }
        self.alive[node] = false;
        let inputs = std::mem::take(&mut self.graph.nodes[node].inputs);
        self.release(node, inputs);
    }

    /// Forgets one read by `node` of each of `inputs`. A worklist, for chains may be as long as the graph.
    fn release(&mut self, node: usize, inputs: Vec<Option<ValueId>>) {
        let mut work: Vec<(usize, ValueId)> =
            inputs.into_iter().flatten().map(|id| (node, id)).collect();
        while let Some((reader, id)) = work.pop() {
            let readers = &mut self.readers[id.0 as usize];
            if let Some(entry) = readers.iter().position(|&other| other == reader) {
                readers.swap_remove(entry);
            }
            let Some(maker) = self.maker(id) else { continue };
            let outputs = &self.graph.nodes[maker].outputs;
            if self.alive[maker] && outputs.iter().flatten().all(|&id| self.uses(id) == 0) {
                self.alive[maker] = false;
                let inputs = std::mem::take(&mut self.graph.nodes[maker].inputs);
                work.extend(inputs.into_iter().flatten().map(|id| (maker, id)));
            }
        }
    }

    /// Writes the nodes that are left, with the inserted ones, back in order.
    pub fn finish(mut self) {
        // Stable: nodes inserted at one place keep their order.
        self.inserted.sort_by_key(|(before, _)| *before);
        let mut inserted = self.inserted.into_iter().peekable();
        let mut nodes = Vec::with_capacity(self.graph.nodes.len());
        for (index, node) in std::mem::take(&mut self.graph.nodes).into_iter().enumerate() {
            while let Some((_, node)) = inserted.next_if(|(before, _)| *before <= index) {
                nodes.push(node);
            }
            if self.alive[index] {
                nodes.push(node);
            }
        }
        self.graph.nodes = nodes;
    }
}

/// Single precision and half: rules fuse in these, and compute what they fold in single precision.
pub(super) fn is_real(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}
