//! Removal of values and weights that nothing refers to, and of weights that are there twice.

use crate::{DType, Graph, Literal, Model, Source, ValueId, Weight, WeightId};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Removes the values of a graph that no node, input or output mentions, and numbers the rest anew.
pub(super) fn drop_values(graph: &mut Graph) {
    let mut used = vec![false; graph.values.len()];
    for_each_value(graph, &mut |id| used[id.0 as usize] = true);
    let mut renumbered = Vec::with_capacity(used.len());
    let mut next = 0;
    for &used in &used {
        renumbered.push(ValueId(next));
        next += u32::from(used);
    }
    for_each_value(graph, &mut |id| *id = renumbered[id.0 as usize]);
    let mut index = 0;
    graph.values.retain(|_| {
        index += 1;
        used[index - 1]
    });
}

fn for_each_value(graph: &mut Graph, visit: &mut dyn FnMut(&mut ValueId)) {
    for input in &mut graph.inputs {
        visit(&mut input.value);
    }
    for node in &mut graph.nodes {
        node.inputs.iter_mut().chain(&mut node.outputs).flatten().for_each(&mut *visit);
    }
    graph.outputs.iter_mut().for_each(visit);
}

/// Removes the weights that no graph of the model mentions, and numbers the rest anew, in order of first mention.
pub(super) fn drop_weights(model: &mut Model) {
    let mut order = Vec::new();
    let mut renumbered = vec![None; model.weights.len()];
    for_each_weight(&mut model.graph, &mut |id| {
        let new = *renumbered[id.0 as usize].get_or_insert_with(|| {
            order.push(*id);
            WeightId(order.len() as u32 - 1)
        });
        *id = new;
    });
    let mut old: Vec<Option<Weight>> =
        std::mem::take(&mut model.weights).into_iter().map(Some).collect();
    model.weights =
        order.iter().map(|id| old[id.0 as usize].take().expect("each weight once")).collect();
}

/// Lets the nodes of a graph that read one weight read it through one value.
pub(super) fn merge_values(graph: &mut Graph) {
    let mut first: HashMap<WeightId, ValueId> = HashMap::new();
    for node in &mut graph.nodes {
        for id in node.inputs.iter_mut().flatten() {
            if let Source::Weight(weight) = graph.values[id.0 as usize].source {
                *id = *first.entry(weight).or_insert(*id);
            }
        }
    }
}

/// Lets all weights with one type, shape and bytes be one. Returns how many became superfluous.
pub(super) fn merge_weights(model: &mut Model) -> usize {
    let mut groups: HashMap<(DType, &[usize]), Vec<u32>> = HashMap::new();
    for (index, weight) in model.weights.iter().enumerate() {
        let key = (weight.value.dtype(), weight.value.shape());
        groups.entry(key).or_default().push(index as u32);
    }
    let mut first: Vec<u32> = (0..model.weights.len() as u32).collect();
    let mut merged = 0;
    // Bytes are hashed only where type and shape leave a doubt.
    for group in groups.values().filter(|group| group.len() > 1) {
        let mut seen: HashMap<u64, Vec<u32>> = HashMap::new();
        for &index in group {
            let value = &model.weights[index as usize].value;
            let same = seen.entry(hash(value)).or_default();
            let equal =
                |other: &&u32| model.weights[**other as usize].value.bytes() == value.bytes();
            match same.iter().find(equal) {
                Some(&other) => {
                    first[index as usize] = other;
                    merged += 1;
                }
                None => same.push(index),
            }
        }
    }
    for_each_weight(&mut model.graph, &mut |id| *id = WeightId(first[id.0 as usize]));
    merged
}

fn hash(value: &Literal) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.bytes().hash(&mut hasher);
    hasher.finish()
}

/// Visits every mention of a weight, in order of execution, nested graphs included.
fn for_each_weight(graph: &mut Graph, visit: &mut dyn FnMut(&mut WeightId)) {
    for input in &mut graph.inputs {
        if let Some(default) = &mut input.default {
            visit(default);
        }
    }
    // Weights are numbered by the node that first reads them, so that packing in numerical order is nearly right.
    let mut visited = vec![false; graph.values.len()];
    for node in &mut graph.nodes {
        for id in node.inputs.iter().flatten() {
            if let Source::Weight(weight) = &mut graph.values[id.0 as usize].source
                && !std::mem::replace(&mut visited[id.0 as usize], true)
            {
                visit(weight);
            }
        }
        for body in node.op.bodies_mut() {
            for_each_weight(body, visit);
        }
    }
    for (value, visited) in graph.values.iter_mut().zip(visited) {
        if let Source::Weight(weight) = &mut value.source
            && !visited
        {
            visit(weight);
        }
    }
}
