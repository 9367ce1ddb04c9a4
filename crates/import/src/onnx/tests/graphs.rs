//! Names, order, nested graphs, functions, inputs and outputs.

use super::build::*;
use crate::onnx::import_onnx;
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::{
    GraphProto, ModelProto, NodeProto, StringStringEntryProto, TypeProto, type_proto,
};
use crate::{ImportError, Limits, NoExternalData, Place};
use prost::Message;
use sublet_graph::{Dim, Source};

/// An opset-16 model with `f32` inputs `x` and `y` and one output.
fn with_nodes(nodes: Vec<NodeProto>, output: &str) -> ModelProto {
    model(16, main_graph(&["x", "y"], nodes, &[output], DataType::Float))
}

#[test]
fn nodes_are_sorted_and_dead_ones_dropped() {
    let model = with_nodes(
        vec![
            node("Relu", &["b"], &["c"]),
            node("Frobnicate", &["x"], &["unread"]),
            node("Abs", &["x"], &["a"]),
            node("Exp", &["a"], &["b"]),
        ],
        "c",
    );
    assert_eq!(text(&imported(&model)), "a = Abs(x)\nb = Exp(a)\nc = Relu(b)");
}

#[test]
fn a_cycle_names_a_node_on_it() {
    let model = with_nodes(
        vec![
            node("Relu", &["b"], &["c"]).named("after"),
            node("Add", &["x", "b"], &["a"]).named("one"),
            node("Exp", &["a"], &["b"]).named("two"),
        ],
        "c",
    );
    let message = refused(&model);
    assert!(message.contains("cycle"), "{message}");
    assert!(message.contains("`one`") || message.contains("`two`"), "{message}");
    let own = with_nodes(vec![node("Add", &["x", "c"], &["c"])], "c");
    assert!(refused(&own).contains("cycle"));
}

#[test]
fn a_name_has_one_meaning() {
    let twice = with_nodes(vec![node("Relu", &["x"], &["c"]), node("Exp", &["x"], &["c"])], "c");
    assert!(refused(&twice).contains("`c` is defined twice"));
    let input = with_nodes(vec![node("Relu", &["y"], &["x"])], "x");
    assert!(refused(&input).contains("`x` is defined twice"));
    let mut initializer = with_nodes(vec![node("Relu", &["x"], &["w"])], "w");
    initializer.graph.as_mut().unwrap().initializer.push(f32s("w", &[1], &[0.0]));
    assert!(refused(&initializer).contains("also an initializer"));
    let mut initializers = with_nodes(vec![node("Relu", &["x"], &["c"])], "c");
    let tensor = f32s("w", &[1], &[0.0]);
    initializers.graph.as_mut().unwrap().initializer = vec![tensor.clone(), tensor];
    assert_eq!(refused(&initializers), "tensor `w`: is defined twice");
    let inputs = model(16, main_graph(&["x", "x"], Vec::new(), &["x"], DataType::Float));
    assert!(refused(&inputs).contains("`x` is defined twice"));
    let outputs = model(16, main_graph(&["x"], Vec::new(), &["x", "x"], DataType::Float));
    assert_eq!(refused(&outputs), "output `x`: is listed twice");
}

#[test]
fn outputs_keep_their_names_whatever_they_stand_for() {
    let mut graph = main_graph(
        &["x"],
        vec![
            node("Relu", &["x"], &["a"]),
            node("Identity", &["a"], &["b"]),
            node("Identity", &["b"], &["c"]),
            node("Identity", &["x"], &["d"]),
            node("Identity", &["w"], &["e"]),
        ],
        &["x", "b", "c", "d", "w", "e"],
        DataType::Float,
    );
    graph.initializer.push(f32s("w", &[1], &[0.5]));
    let model = imported(&model(16, graph));
    let names: Vec<_> = model.graph.outputs.iter().map(|&id| &model.graph.value(id).name).collect();
    assert_eq!(names, ["x", "b", "c", "d", "w", "e"]);
    assert_eq!(
        text(&model),
        "b = Relu(x)\nc = Identity(b)\nd = Identity(x)\ne = Identity(f32[1][0.5])"
    );
    assert_eq!(model.weights.len(), 1);
}

#[test]
fn inputs_and_outputs_keep_types_and_dimensions() {
    let mut model = with_nodes(vec![node("Relu", &["x"], &["c"])], "c");
    model.metadata_props.push(StringStringEntryProto { key: "k".into(), value: "v".into() });
    let model = imported(&model);
    let dims = Some(vec![Dim::Named("n".to_owned()), Dim::Fixed(3), Dim::Fixed(4)]);
    for value in [model.graph.inputs[0].value, model.graph.outputs[0]] {
        assert_eq!(model.graph.value(value).dims, dims);
        assert_eq!(model.graph.value(value).dtype, Some(sublet_graph::DType::F32));
    }
    assert_eq!(model.graph.inputs.len(), 2);
    assert_eq!(model.metadata, [("k".to_owned(), "v".to_owned())]);
    assert_eq!(model.name, "test");
}

#[test]
fn only_tensors_go_in_and_out() {
    let sequence = TypeProto { value: Some(type_proto::Value::Sequence(Default::default())) };
    let mut model = with_nodes(vec![node("Relu", &["x"], &["c"])], "c");
    let graph = model.graph.as_mut().unwrap();
    graph.input[1].r#type = Some(sequence.clone());
    assert_eq!(refused(&model), "input `y`: type sequence is not supported");
    let mut model = with_nodes(vec![node("Relu", &["x"], &["c"])], "c");
    model.graph.as_mut().unwrap().output[0].r#type = Some(sequence);
    assert_eq!(refused(&model), "output `c`: type sequence is not supported");
    let mut model = with_nodes(vec![node("Relu", &["x"], &["c"])], "c");
    model.graph.as_mut().unwrap().input[0].r#type = None;
    assert_eq!(refused(&model), "input `x`: has no element type");
}

#[test]
fn initializers_are_defaults_of_inputs_or_constants_by_ir_version() {
    let mut model = with_nodes(vec![node("Add", &["x", "y"], &["c"])], "c");
    let initializer = f32s("y", &[1], &[0.5]);
    model.graph.as_mut().unwrap().initializer = vec![initializer, f32s("unread", &[1], &[0.0])];
    let defaults = imported(&model);
    assert_eq!(text(&defaults), "c = Add(x, y)");
    let default = defaults.graph.inputs[1].default.expect("a default");
    assert_eq!(format!("{:?}", defaults.weight(default).value), "f32[1][0.5]");
    assert_eq!(defaults.weights.len(), 1, "unread initializers are dropped");
    model.ir_version = 3;
    let constants = imported(&model);
    assert_eq!(text(&constants), "c = Add(x, f32[1][0.5])");
    assert_eq!(constants.graph.inputs.len(), 1);
}

#[test]
fn versions_outside_the_known_are_refused() {
    let good = || with_nodes(vec![node("Relu", &["x"], &["c"])], "c");
    for ir_version in [0, 2, 14] {
        let model = ModelProto { ir_version, ..good() };
        assert_eq!(refused(&model), format!("model: IR version {ir_version} is not supported"));
    }
    for version in [0, 28] {
        let mut model = good();
        model.opset_import[0].version = version;
        assert_eq!(refused(&model), format!("model: opset {version} is not supported"));
    }
    let none = ModelProto { opset_import: Vec::new(), ..good() };
    assert!(refused(&none).contains("no opset"));
    let mut alias = good();
    alias.opset_import[0].domain = "ai.onnx".to_owned();
    imported(&alias);
}

#[test]
fn both_branches_take_what_either_reads() {
    let mut then = graph(&[], vec![node("Add", &["x", "w"], &["t"])], &["t"]);
    then.initializer.push(f32s("local", &[1], &[2.0]));
    let otherwise = graph(&[], vec![node("Mul", &["y", "local"], &["e"])], &["e"]);
    let branch = |otherwise: GraphProto| {
        let cond = node("Constant", &[], &["cond"]).with("value_int", 1);
        let cast = node("Cast", &["cond"], &["bool"]).with("to", 9);
        let branch = node("If", &["bool"], &["o"])
            .with("then_branch", then.clone())
            .with("else_branch", otherwise);
        let mut model = with_nodes(vec![branch, cond, cast], "o");
        model.graph.as_mut().unwrap().initializer.push(f32s("w", &[1], &[0.5]));
        model
    };
    // The other branch's initializer is not in scope.
    let message = refused(&branch(otherwise));
    assert!(message.contains("input 1, `local`, is not defined"), "{message}");

    let otherwise = graph(&[], Vec::new(), &["y"]);
    assert_eq!(
        text(&imported(&branch(otherwise))),
        "bool = Cast { to: Bool }(i64[][1])
o = If { then: 1 nodes, else: 0 nodes }(bool, x, y)
  (x, y) -> (t)
  t = Add(x, f32[1][0.5])
  (x, y) -> (y)"
    );
}

#[test]
fn values_are_captured_through_every_level() {
    let inner = graph(&["i2", "c2", "s2"], vec![node("Add", &["s2", "x"], &["o2"])], &["c2", "o2"]);
    let outer = graph(
        &["i", "c", "s"],
        vec![node("Loop", &["", "c", "s"], &["o"]).with("body", inner)],
        &["c", "o"],
    );
    let nodes =
        vec![node("Exp", &["x"], &["e"]), node("Loop", &["", "", "e"], &["z"]).with("body", outer)];
    let model = imported(&with_nodes(nodes, "z"));
    assert_eq!(
        text(&model),
        "e = Exp(x)
z = Loop { body: 1 nodes, carried: 1 }(_, _, e, x)
  (i, c, s, x) -> (c, o)
  o = Loop { body: 1 nodes, carried: 1 }(_, c, s, x)
    (i2, c2, s2, x) -> (c2, o2)
    o2 = Add(s2, x)"
    );
}

#[test]
fn an_inner_name_hides_an_outer_one() {
    let body = graph(&["i", "c", "x"], vec![node("Abs", &["x"], &["y"])], &["c", "y"]);
    let model =
        imported(&with_nodes(vec![node("Loop", &["", "", "x"], &["z"]).with("body", body)], "z"));
    let expected = "z = Loop { body: 1 nodes, carried: 1 }(_, _, x)
  (i, c, x) -> (c, y)
  y = Abs(x)";
    assert_eq!(text(&model), expected);
}

#[test]
fn scans_of_both_versions() {
    let body = graph(&["s", "e"], vec![node("Add", &["s", "e"], &["t"])], &["t", "e"]);
    let scan = node("Scan", &["x", "y"], &["o", "p"])
        .with("body", body.clone())
        .with("num_scan_inputs", 1);
    let nine = imported(&with_nodes(vec![scan], "p"));
    assert_eq!(
        text(&nine),
        "_, p = Scan { body: 1 nodes, states: 1 }(x, y)
  (s, e) -> (t, e)
  t = Add(s, e)"
    );
    let scan =
        node("Scan", &["", "x", "y"], &["o", "p"]).with("body", body).with("num_scan_inputs", 1);
    let mut eight = with_nodes(vec![scan], "p");
    eight.opset_import[0].version = 8;
    assert_eq!(
        text(&imported(&eight)),
        "_, p = Scan { body: 1 nodes, states: 0 }(x, y)
  (x, y) -> (it/0, it/1)
  it/0, it/1 = Scan { body: 1 nodes, states: 1 }(x, y)
    (s, e) -> (t, e)
    t = Add(s, e)"
    );
}

#[test]
fn bodies_must_fit_their_node() {
    let body = |inputs: &[&str], outputs: &[&str]| graph(inputs, Vec::new(), outputs);
    let cases = [
        (
            node("Loop", &["", "", "x"], &["o"]).with("body", body(&["i", "c"], &["c", "c"])),
            "inputs",
        ),
        (
            node("Loop", &["", "", "x"], &["o"]).with("body", body(&["i", "c", "s"], &["c"])),
            "outputs",
        ),
        (
            node("Loop", &["", "", "", "x"], &["o"])
                .with("body", body(&["i", "c", "s", "t"], &["c", "s", "t"])),
            "missing",
        ),
        (node("Loop", &["", "", "x"], &["o"]), "`body` is missing"),
        (
            node("Scan", &["x"], &["o"])
                .with("body", body(&["s"], &["s"]))
                .with("num_scan_inputs", 2),
            "num_scan_inputs",
        ),
        (
            node("If", &["x"], &["o"])
                .with("then_branch", body(&[], &["x"]))
                .with("else_branch", body(&[], &["x", "y"])),
            "2 outputs",
        ),
    ];
    for (node, expected) in cases {
        let message = refused(&with_nodes(vec![node], "o"));
        assert!(message.contains(expected) && message.starts_with("node `it`"), "{message}");
    }
}

/// A model that calls `local.f` on `x` and `y`.
fn calling(function_nodes: Vec<NodeProto>, call: NodeProto) -> ModelProto {
    let mut model = with_nodes(vec![call], "o");
    model.functions.push(function("f", &["a", "b"], &["r"], function_nodes));
    model
}

#[test]
fn functions_are_expanded_where_they_are_called() {
    let nodes = vec![
        node("Exp", &["a"], &["t"]).named("exp"),
        node("LeakyRelu", &["t"], &["r"]).with("alpha", reference("slope", AttributeType::Float)),
    ];
    let call = node("f", &["x"], &["o"]).of("local").named("call");
    let default = text(&imported(&calling(nodes.clone(), call.clone())));
    assert_eq!(default, "t = Exp(x)\no = LeakyRelu { alpha: 0.01 }(t)");
    let given = text(&imported(&calling(nodes.clone(), call.clone().with("slope", 0.5))));
    assert_eq!(given, "t = Exp(x)\no = LeakyRelu { alpha: 0.5 }(t)");
    let mut model = calling(nodes, call);
    let mut with_default = crate::onnx::proto::AttributeProto::from(0.25);
    with_default.name = "slope".to_owned();
    model.functions[0].attribute_proto.push(with_default);
    assert!(text(&imported(&model)).contains("alpha: 0.25"));
    // An optional input that the call leaves out is left out inside.
    let clip =
        calling(vec![node("Clip", &["a", "b"], &["r"])], node("f", &["x"], &["o"]).of("local"));
    assert_eq!(text(&imported(&clip)), "o = Clip(x)");
}

#[test]
fn errors_within_a_function_say_where() {
    let call = || node("f", &["x"], &["o"]).of("local").named("call");
    let message = refused(&calling(vec![node("Nope", &["a"], &["r"]).named("inside")], call()));
    assert_eq!(message, "node `call/inside` (Nope): the operator is not supported");
    // Names of the caller are not the function's.
    let message = refused(&calling(vec![node("Abs", &["y"], &["r"])], call()));
    assert!(message.contains("input 0, `y`, is not defined"), "{message}");
    let message = refused(&calling(Vec::new(), call()));
    assert!(message.contains("does not compute output `r`"), "{message}");
}

#[test]
fn recursion_and_expansion_are_bounded() {
    let own = vec![node("f", &["a"], &["r"]).of("local")];
    let model = calling(own, node("f", &["x"], &["o"]).of("local"));
    assert!(matches!(import(&model), Err(ImportError::Limit { place: Place::Node { .. }, .. })));

    // Fifteen functions that each call the next one four times: 2^30 nodes.
    let mut model = with_nodes(vec![node("f0", &["x"], &["o"]).of("local")], "o");
    for level in 0..15 {
        let next = format!("f{}", level + 1);
        let call = |from: &str, to: &str| node(&next, &[from], &[to]).of("local");
        let nodes = vec![call("a", "b"), call("b", "c"), call("c", "d"), call("d", "r")];
        model.functions.push(function(&format!("f{level}"), &["a"], &["r"], nodes));
    }
    model.functions.push(function("f15", &["a"], &["r"], vec![node("Abs", &["a"], &["r"])]));
    let limits = Limits { nodes: 10_000, ..Limits::default() };
    let result = import_onnx(model.encode_to_vec().into(), &NoExternalData, &limits);
    assert!(matches!(result, Err(ImportError::Limit { what: "nodes", .. })), "{result:?}");
}

#[test]
fn lists_in_functions_are_bounded_however_often_they_are_called() {
    let list = vec![7i64; 1000];
    let nodes = vec![
        node("Constant", &[], &["c"]).with("value_ints", &list[..]),
        node("Add", &["a", "c"], &["r"]),
    ];
    let mut model = with_nodes(Vec::new(), "v20");
    let graph = model.graph.as_mut().unwrap();
    let names: Vec<_> = (0..=20).map(|index| format!("v{index}")).collect();
    graph.node.push(node("Abs", &["x"], &["v0"]));
    for pair in names.windows(2) {
        graph.node.push(node("f", &[&pair[0]], &[&pair[1]]).of("local"));
    }
    model.functions.push(function("f", &["a"], &["r"], nodes));
    let result = |decoded_bytes| {
        let limits = Limits { decoded_bytes, ..Limits::default() };
        import_onnx(model.encode_to_vec().into(), &NoExternalData, &limits)
    };
    let weights = result(1 << 20).unwrap().weights;
    assert_eq!((weights.len(), weights[1].name.as_str()), (20, "it/c#2"));
    assert!(matches!(result(100_000), Err(ImportError::Limit { what: "bytes of attributes", .. })));
}

#[test]
fn weights_of_nested_graphs_are_the_models() {
    let mut body = graph(&["i", "c", "s"], vec![node("Add", &["s", "w"], &["t"])], &["c", "t"]);
    body.initializer.push(f32s("w", &[1], &[1.0]));
    let mut main = with_nodes(
        vec![
            node("Add", &["x", "w"], &["a"]),
            node("Loop", &["", "", "a"], &["z"]).with("body", body),
        ],
        "z",
    );
    main.graph.as_mut().unwrap().initializer.push(f32s("w", &[1], &[2.0]));
    let model = imported(&main);
    let names: Vec<_> = model.weights.iter().map(|weight| weight.name.as_str()).collect();
    assert_eq!(names, ["w", "it.body/w"]);
    let body = model.graph.nodes[1].op.bodies()[0];
    assert!(body.values.iter().any(|info| matches!(info.source, Source::Weight(id) if id.0 == 1)));
}
