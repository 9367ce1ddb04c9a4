//! What nodes become, above all in old versions.

use super::build::*;
use crate::onnx::proto::NodeProto;
use crate::onnx::proto::OperatorSetIdProto;
use crate::onnx::proto::tensor_proto::DataType;

/// `node` in a model of `opset`, reading `f32` inputs `x`, `y`, `z`, must become these lines.
#[track_caller]
fn check(opset: i64, node: NodeProto, expected: &str) {
    assert_eq!(lowered(opset, node), unindented(expected));
}

/// The same must be refused with a message that contains the text and names the node.
#[track_caller]
fn check_refused(opset: i64, node: NodeProto, expected: &str) {
    let op = node.op_type.clone();
    let message = refused(&one_node(opset, node));
    assert!(message.contains(expected), "{message}");
    assert!(message.starts_with("node `it` (") && message.contains(&op), "{message}");
}

fn one_node(opset: i64, node: NodeProto) -> crate::onnx::proto::ModelProto {
    let output = node.output.iter().find(|name| !name.is_empty()).cloned();
    let output = output.expect("the node has an output");
    let graph = main_graph(&["x", "y", "z"], vec![node], &[&output], DataType::Float);
    let mut model = model(opset, graph);
    let contrib = OperatorSetIdProto { domain: "com.microsoft".to_owned(), version: 1 };
    model.opset_import.push(contrib);
    model
}

/// The output is declared as whatever type it turns out to have.
fn lowered(opset: i64, node: NodeProto) -> String {
    let mut model = one_node(opset, node);
    for dtype in [DataType::Float, DataType::Bool, DataType::Int64, DataType::Double] {
        let output = &mut model.graph.as_mut().expect("a graph").output[0];
        *output = value(&output.name.clone(), dtype);
        match import(&model) {
            Ok(model) => return text(&model),
            Err(error) if error.to_string().contains("is declared as") => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no type of output fits");
}

fn unindented(text: &str) -> String {
    let lines: Vec<_> = text.trim().lines().map(str::trim_start).collect();
    lines.join("\n")
}

#[test]
fn plain_operators_keep_their_inputs() {
    check(13, node("Relu", &["x"], &["o"]), "o = Relu(x)");
    check(6, node("Relu", &["x"], &["o"]).with("consumed_inputs", &[0i64][..]), "o = Relu(x)");
    check(13, node("Add", &["x", "y"], &["o"]), "o = Add(x, y)");
    check(13, node("Less", &["x", "y"], &["o"]), "o = Less(x, y)");
    check(13, node("MatMul", &["x", "y"], &["o"]), "o = MatMul(x, y)");
    check(11, node("Clip", &["x", "", "y"], &["o"]), "o = Clip(x, _, y)");
    check(14, node("Trilu", &["x"], &["o"]).with("upper", 0), "o = Trilu { upper: false }(x)");
    check(13, node("Cast", &["x"], &["o"]).with("to", 11), "o = Cast { to: F64 }(x)");
    check(1, node("Cast", &["x"], &["o"]).with("to", "DOUBLE"), "o = Cast { to: F64 }(x)");
    check(
        13,
        node("Gemm", &["x", "y"], &["o"]).with("alpha", 0.5).with("transB", 1),
        "o = Gemm { alpha: 0.5, beta: 1.0, trans_a: false, trans_b: true }(x, y)",
    );
}

#[test]
fn variadic_operators_become_chains() {
    check(
        13,
        node("Max", &["x", "y", "z"], &["o"]),
        "it/1 = Max(x, y)
         o = Max(it/1, z)",
    );
    check(13, node("Sum", &["x"], &["o"]), "o = Identity(x)");
    let mean = lowered(13, node("Mean", &["x", "y"], &["o"]));
    assert!(mean.starts_with("it/1 = Add(x, y)\n") && mean.contains("o = Div(it/1, "), "{mean}");
}

#[test]
fn softmax_was_once_over_a_matrix() {
    let softmax = || node("Softmax", &["x"], &["o"]).with("axis", 1);
    check(13, softmax(), "o = Softmax { axis: 1 }(x)");
    check(
        11,
        softmax(),
        "it/1 = Shape { start: 0, end: None }(x)
         it/2 = Flatten { axis: 1 }(x)
         it/3 = Softmax { axis: -1 }(it/2)
         o = Reshape { allow_zero: true }(it/3, it/1)",
    );
    let last = node("LogSoftmax", &["x"], &["o"]).with("axis", -1);
    check(11, last, "o = LogSoftmax { axis: -1 }(x)");
    check(13, node("Hardmax", &["x"], &["o"]), "o = Hardmax { axis: -1 }(x)");
}

#[test]
fn attributes_that_became_inputs_are_constants() {
    let axes = &[1i64, 2][..];
    let unsqueeze = node("Unsqueeze", &["x"], &["o"]).with("axes", axes);
    check(11, unsqueeze, "o = Unsqueeze(x, i64[2][1, 2])");
    check(11, node("Squeeze", &["x"], &["o"]), "o = Squeeze(x)");
    check(13, node("Squeeze", &["x", "y"], &["o"]), "o = Squeeze(x, y)");
    let sum = node("ReduceSum", &["x"], &["o"]).with("axes", axes).with("keepdims", 0);
    check(
        11,
        sum,
        "o = Reduce { reduce: Sum, keep_dims: false, noop_with_empty_axes: false }(x, i64[2][1, 2])",
    );
    check(
        13,
        node("ReduceMean", &["x"], &["o"]).with("axes", axes),
        "o = Reduce { reduce: Mean, keep_dims: true, noop_with_empty_axes: false }(x, i64[2][1, 2])",
    );
    check(
        9,
        node("Slice", &["x"], &["o"]).with("starts", &[0i64][..]).with("ends", &[9i64][..]),
        "o = Slice(x, i64[1][0], i64[1][9])",
    );
    let pads = &[0i64, 1, 0, 1][..];
    check(
        2,
        node("Pad", &["x"], &["o"]).with("pads", pads).with("value", 1.5),
        "o = Pad { mode: Constant }(x, i64[4][0, 1, 0, 1], f32[][1.5])",
    );
    check(
        1,
        node("Reshape", &["x"], &["o"]).with("shape", &[-1i64][..]),
        "o = Reshape { allow_zero: false }(x, i64[1][-1])",
    );
    check(
        6,
        node("Clip", &["x"], &["o"]).with("min", 0.0).with("max", 6.0),
        "o = Clip(x, f32[][0.0], f32[][6.0])",
    );
    check(
        9,
        node("TopK", &["x"], &["o"]).with("k", 3),
        "o = TopK { axis: -1, largest: true, sorted: true }(x, i64[1][3])",
    );
    check(
        17,
        node("DFT", &["x"], &["o"]).with("axis", 2),
        "o = Dft { inverse: false, onesided: false }(x, _, i64[][2])",
    );
}

#[test]
fn split_has_as_many_parts_as_outputs_whoever_reads_them() {
    check(
        2,
        node("Split", &["x"], &["o", "unread"]).with("split", &[1i64, 2][..]).with("axis", 1),
        "o, _ = Split { axis: 1, parts: 2 }(x, i64[2][1, 2])",
    );
    check(18, node("Split", &["x"], &["o", ""]), "o, _ = Split { axis: 0, parts: 2 }(x)");
    check_refused(18, node("Split", &["x"], &["o"]).with("num_outputs", 2), "num_outputs");
}

#[test]
fn outputs_that_nobody_reads_are_left_out() {
    check(
        17,
        node("LayerNormalization", &["x", "y"], &["o", "mean", ""]),
        "o = LayerNorm { axis: -1, epsilon: 1e-5 }(x, y)",
    );
    let dropout = node("Dropout", &["x"], &["o", "mask"]).with("ratio", 0.5);
    check(7, dropout.clone(), "o = Identity(x)");
    check(13, node("Dropout", &["x", "y"], &["o"]), "o = Identity(x)");
    check(
        10,
        node("Dropout", &["x"], &["", "mask"]),
        "it/1 = Shape { start: 0, end: None }(x)
         mask = ConstantOfShape { value: Scalar { dtype: Bool, bits: 1 } }(it/1)",
    );
    check_refused(13, node("Dropout", &["x", "y", "z"], &["o"]), "training");
}

#[test]
fn old_broadcasting_starts_at_an_axis() {
    let add = node("Add", &["x", "y"], &["o"]).with("broadcast", 1);
    check(6, add.clone(), "o = Add(x, y)");
    check(
        6,
        add.clone().with("axis", 1),
        "it/1 = Shape { start: 0, end: None }(x)
         it/2 = Shape { start: 0, end: None }(it/1)
         it/3 = Shape { start: 0, end: None }(y)
         it/4 = Shape { start: 0, end: None }(it/3)
         it/6 = Sub(it/2, it/4)
         it/7 = Sub(it/6, i64[1][1])
         it/8 = ConstantOfShape { value: Scalar { dtype: I64, bits: 1 } }(it/7)
         it/9 = Concat { axis: 0 }(it/3, it/8)
         it/10 = Reshape { allow_zero: true }(y, it/9)
         o = Add(x, it/10)",
    );
    check_refused(6, add.with("axis", -1), "axis -1");
    check_refused(7, node("Add", &["x", "y"], &["o"]).with("axis", 1), "attribute `axis`");
}

#[test]
fn upsample_and_the_first_resize_have_their_own_coordinates() {
    let resize = |nearest: &str, scales: &str| {
        format!(
            "o = Resize(Resize {{ mode: Nearest, coordinates: Asymmetric, nearest: {nearest}, \
             antialias: false, axes: [], exclude_outside: false, extrapolation: 0.0, \
             keep_aspect: Stretch }})(x, _, {scales})"
        )
    };
    let scales = &[1.0f32, 2.0][..];
    let upsample = node("Upsample", &["x"], &["o"]).with("scales", scales);
    check(7, upsample, &resize("Floor", "f32[2][1.0, 2.0]"));
    check(9, node("Upsample", &["x", "y"], &["o"]), &resize("Floor", "y"));
    check_refused(10, node("Resize", &["x", "y"], &["o"]), "computed scales");
    check_refused(13, node("Resize", &["x"], &["o"]), "scales or sizes");
}

#[test]
fn batch_norm_is_for_inference() {
    let inputs = ["x", "y", "y", "z", "z"];
    let norm = || node("BatchNormalization", &inputs, &["o"]).with("epsilon", 0.5);
    check(15, norm().with("momentum", 0.9), "o = BatchNorm { epsilon: 0.5 }(x, y, y, z, z)");
    check(7, norm().with("spatial", 1), "o = BatchNorm { epsilon: 0.5 }(x, y, y, z, z)");
    check_refused(7, norm().with("spatial", 0), "spatial");
    let training = node("BatchNormalization", &inputs, &["", "running"]);
    check_refused(9, training.clone(), "training");
    let trained = lowered(15, training.with("training_mode", 1));
    assert!(trained.contains("running = "), "{trained}");
}

#[test]
fn recurrent_layers_take_parameters_in_order() {
    let lstm = node("LSTM", &["x", "y", "z"], &["o", "", ""])
        .with("hidden_size", 5)
        .with("activations", &["HardSigmoid", "tanh", "LeakyRelu"][..])
        .with("activation_alpha", &[0.25f32, 0.125][..])
        .with("clip", 3.0);
    check(
        14,
        lstm.clone(),
        "o = Rnn(Rnn { kind: Lstm { couple_input_forget: false }, hidden: 5, direction: Forward, \
         activations: [HardSigmoid { alpha: 0.25, beta: 0.5 }, Tanh, LeakyRelu { alpha: 0.125 }], \
         clip: Some(3.0), batch_first: false })(x, y, z)",
    );
    check_refused(14, lstm.with("direction", "bidirectional"), "3 activations where it takes 6");
    // Without the attribute, the size of the state is that of the recurrence weights.
    let gru = lowered(14, node("GRU", &["x", "y", "z"], &["o"]));
    assert!(gru.contains("hidden: 4"), "{gru}");
    let affine = node("RNN", &["x", "y", "z"], &["o"]).with("activations", &["Affine"][..]);
    check_refused(14, affine, "activation `Affine`");
}

#[test]
fn quantised_types_follow_scale_or_attribute() {
    check(
        21,
        node("DequantizeLinear", &["x", "y"], &["o"]).with("axis", 0).with("block_size", 2),
        "o = DequantizeLinear { axis: 0, block: 2 }(x, y)",
    );
    check(
        23,
        node("DequantizeLinear", &["x", "y"], &["o"]).with("output_dtype", 11),
        "it/1 = Cast { to: F64 }(y)
         o = DequantizeLinear { axis: 1, block: 0 }(x, it/1)",
    );
    check_refused(
        21,
        node("QuantizeLinear", &["x", "y"], &["o"]).with("output_dtype", 17),
        "FLOAT8E4M3FN",
    );
}

#[test]
fn losses_are_written_out() {
    check(
        13,
        node("NegativeLogLikelihoodLoss", &["x", "y"], &["o"]).with("reduction", "none"),
        "it/2 = Unsqueeze(y, i64[1][1])
         it/3 = GatherElements { axis: 1 }(x, it/2)
         it/4 = Squeeze(it/3, i64[1][1])
         o = Neg(it/4)",
    );
    let loss = node("SoftmaxCrossEntropyLoss", &["x", "y", "z"], &["o"]).with("ignore_index", -1);
    let lines = lowered(13, loss);
    assert!(lines.starts_with("it/1 = LogSoftmax { axis: 1 }(x)"), "{lines}");
    assert!(lines.contains("Gather { axis: 0 }(z, ") && lines.contains("o = Div("), "{lines}");
}

#[test]
fn operators_of_onnx_runtime() {
    let ours = |op, inputs: &[&str]| node(op, inputs, &["o"]).of("com.microsoft");
    check(13, ours("QuickGelu", &["x"]), "o = Swish { alpha: 1.702 }(x)");
    check(13, ours("BiasGelu", &["x", "y"]), "it/1 = Add(x, y)\no = Gelu { tanh: false }(it/1)");
    check(
        13,
        node("SkipLayerNormalization", &["x", "y", "z"], &["o", "", "", "sum"]).of("com.microsoft"),
        "it/1 = Add(x, y)
         o = LayerNorm { axis: -1, epsilon: 1e-12 }(it/1, z)",
    );
    check_refused(13, ours("QAttention", &["x"]), "the operator is not supported");
}

#[test]
fn whatever_is_not_understood_is_refused_by_name() {
    check_refused(13, node("Frobnicate", &["x"], &["o"]), "the operator is not supported");
    check_refused(13, node("Relu", &["x"], &["o"]).with("slope", 1), "attribute `slope`");
    check_refused(13, node("Relu", &["x", "y"], &["o"]), "2 inputs where it takes 1");
    check_refused(13, node("Add", &["x", ""], &["o"]), "required input 1");
    check_refused(13, node("Add", &["x", "nowhere"], &["o"]), "input 1, `nowhere`");
    check_refused(13, node("Softmax", &["x"], &["o"]).with("axis", 1.0), "not of type INT");
    check_refused(13, node("Cast", &["x"], &["o"]).with("to", 8), "STRING");
    check_refused(13, node("Cast", &["x"], &["o"]).with("to", 99), "element type 99");
    check_refused(15, node("RandomNormalLike", &["x"], &["o"]), "random");
    check_refused(13, node("Constant", &[], &["o"]).with("value_string", "s"), "strings");
    let twice = node("Softmax", &["x"], &["o"]).with("axis", 1).with("axis", 2);
    check_refused(13, twice, "given twice");
    for pads in [&[-1i64, 0][..], &[0i64][..], &[i64::MAX, 0][..]] {
        check_refused(13, node("Conv", &["x", "y"], &["o"]).with("pads", pads), "pads");
    }
    check_refused(13, node("Conv", &["x", "y"], &["o"]).with("strides", &[0i64][..]), "zero");
    check_refused(13, node("Conv", &["x", "y"], &["o"]).with("group", 0), "group");
}

#[test]
fn constants_take_every_form() {
    let of = |dtype, constant: NodeProto| {
        let model = imported(&model(13, main_graph(&[], vec![constant], &["c"], dtype)));
        assert_eq!(model.weights[0].name, "c");
        format!("{:?}", model.literal(model.graph.outputs[0]).expect("a constant"))
    };
    let constant = || node("Constant", &[], &["c"]);
    let (float, int) = (DataType::Float, DataType::Int64);
    assert_eq!(of(float, constant().with("value_float", 1.5)), "f32[][1.5]");
    let floats = &[1.5f32, 2.0][..];
    assert_eq!(of(float, constant().with("value_floats", floats)), "f32[2][1.5, 2.0]");
    assert_eq!(of(int, constant().with("value_int", 7)), "i64[][7]");
    assert_eq!(of(int, constant().with("value_ints", &[7i64][..])), "i64[1][7]");
    assert_eq!(of(int, constant().with("value", i64s("", &[1, 1], &[3]))), "i64[1, 1][3]");
}
