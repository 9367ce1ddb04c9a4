//! Types and shapes of outputs, for the operators whose rules are easy to get wrong, and for hostile numbers.

use crate::model::Builder;
use sublet_graph::{
    Attention, AutoPad, Conv, DType, Direction, Graph, GraphInput, InferInput, Literal, Node, Op,
    Rnn, RnnKind, Scalar, ScanOptions, Source, ValueId, ValueInfo, infer, infer_dtypes,
};

/// An input: its shape, or its value, or nothing.
enum Given {
    Shape(DType, Vec<usize>),
    Value(Literal),
    UnknownShape(DType),
    Absent,
}

fn f32s(shape: &[usize]) -> Given {
    Given::Shape(DType::F32, shape.to_vec())
}

fn ints(values: &[i64]) -> Given {
    Given::Value(Literal::i64(&[values.len()], values))
}

fn int(value: i64) -> Given {
    Given::Value(Literal::i64(&[], &[value]))
}

/// The outputs as text, `f32[2, 3] i64?`, or the error.
fn outputs(op: &Op, given: &[Given], count: usize) -> String {
    let inputs: Vec<Option<InferInput>> = given
        .iter()
        .map(|given| match given {
            Given::Shape(dtype, shape) => {
                Some(InferInput { dtype: *dtype, shape: Some(shape), value: None })
            }
            Given::Value(value) => Some(InferInput {
                dtype: value.dtype(),
                shape: Some(value.shape()),
                value: Some(value),
            }),
            Given::UnknownShape(dtype) => {
                Some(InferInput { dtype: *dtype, shape: None, value: None })
            }
            Given::Absent => None,
        })
        .collect();
    match infer(op, &inputs, count) {
        Ok(types) => {
            let show = |of: &sublet_graph::TensorType| match &of.shape {
                Some(shape) => format!("{}{shape:?}", of.dtype),
                None => format!("{}?", of.dtype),
            };
            types.iter().map(show).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("error {error}"),
    }
}

#[track_caller]
fn check(op: Op, given: &[Given], count: usize, expected: &str) {
    let found = outputs(&op, given, count);
    match expected.strip_prefix("error ") {
        None => assert_eq!(found, expected, "{op}"),
        Some(text) => assert!(found.starts_with("error") && found.contains(text), "{op}: {found}"),
    }
}

#[test]
fn what_is_not_known_leaves_shapes_open() {
    let reshape = Op::Reshape { allow_zero: false };
    let unknown = || Given::UnknownShape(DType::I64);
    check(reshape.clone(), &[f32s(&[2, 3]), unknown()], 1, "f32?");
    check(reshape.clone(), &[Given::UnknownShape(DType::F32), ints(&[2, 3])], 1, "f32[2, 3]");
    check(reshape.clone(), &[Given::UnknownShape(DType::F32), ints(&[2, -1])], 1, "f32?");
    check(reshape.clone(), &[f32s(&[2, 3]), ints(&[4, -1])], 1, "error [2, 3] cannot be reshaped");
    check(reshape, &[f32s(&[2, 3])], 1, "error input 2 is missing");
    check(Op::Squeeze, &[f32s(&[1, 3, 1])], 1, "f32[3]");
    check(Op::NonZero, &[f32s(&[2, 3])], 1, "i64?");
    check(Op::Shape { start: -2, end: None }, &[f32s(&[4, 5, 6])], 1, "i64[2]");
    check(Op::Shape { start: 0, end: Some(-1) }, &[Given::UnknownShape(DType::F16)], 1, "i64?");
}

#[test]
fn element_types_must_agree() {
    let i64s = Given::Shape(DType::I64, vec![2]);
    check(
        Op::MatMul,
        &[f32s(&[2]), i64s],
        1,
        "error inputs 1 and 2 have element types f32 and i64",
    );
    let wheres = [Given::Shape(DType::I64, vec![2]), f32s(&[2]), f32s(&[2])];
    check(Op::Where, &wheres, 1, "error input 1 has element type i64, not bool");
    let quantize = |to| Op::QuantizeLinear { axis: 1, block: 0, to };
    let zero = || Given::Shape(DType::I8, vec![]);
    check(quantize(None), &[f32s(&[2, 3]), f32s(&[])], 1, "u8[2, 3]");
    check(quantize(None), &[f32s(&[2, 3]), f32s(&[]), zero()], 1, "i8[2, 3]");
    check(
        quantize(Some(DType::U8)),
        &[f32s(&[2, 3]), f32s(&[]), zero()],
        1,
        "error zero point is i8",
    );
    check(quantize(None), &[f32s(&[2, 3]), f32s(&[2])], 1, "error scale [2] does not fit");
}

#[test]
fn hostile_sizes_are_errors() {
    let value = Scalar { dtype: DType::F32, bits: 0 };
    let fill = Op::ConstantOfShape { value };
    check(fill.clone(), &[ints(&[1 << 40, 1 << 40])], 1, "error too large");
    check(fill, &[ints(&[-1])], 1, "error [-1] is not a shape");
    check(Op::Tile, &[f32s(&[4]), ints(&[i64::MAX])], 1, "error overflows");
    check(Op::Expand, &[f32s(&[1]), ints(&[i64::MAX, 8])], 1, "error too large");
    let pad = Op::Pad { mode: sublet_graph::PadMode::Constant };
    check(pad.clone(), &[f32s(&[4]), ints(&[i64::MAX, i64::MAX])], 1, "error cannot be padded");
    check(pad.clone(), &[f32s(&[4]), ints(&[-3, -2])], 1, "error cannot be padded");
    check(pad, &[f32s(&[4]), ints(&[-3, 2])], 1, "f32[3]");
    check(Op::Range, &[int(0), int(i64::MAX), int(1)], 1, "error too large");
    check(Op::Range, &[int(0), int(1), int(0)], 1, "error do not make a range");
    check(Op::Range, &[int(i64::MAX), int(i64::MIN), int(i64::MIN)], 1, "i64[2]");
    check(Op::Range, &[int(7), int(1), int(-2)], 1, "i64[3]");
    let top = Op::TopK { axis: 0, largest: true, sorted: true };
    check(top, &[f32s(&[4]), ints(&[5])], 2, "error k is 5");
    let depth = Op::DepthToSpace { block: usize::MAX, column_row_depth: false };
    check(depth, &[f32s(&[1, 4, 2, 2])], 1, "error do not make blocks");
}

#[test]
fn convolutions_and_their_groups() {
    let conv = |group| Conv {
        kernel: vec![],
        strides: vec![2],
        dilations: vec![],
        pads: vec![1, 1],
        auto_pad: AutoPad::Explicit,
        group,
    };
    let op = |group| Op::Conv { conv: conv(group), activation: Default::default() };
    check(op(1), &[f32s(&[1, 4, 9]), f32s(&[6, 4, 3]), f32s(&[6])], 1, "f32[1, 6, 5]");
    check(op(2), &[f32s(&[1, 4, 9]), f32s(&[6, 2, 3])], 1, "f32[1, 6, 5]");
    check(op(3), &[f32s(&[1, 4, 9]), f32s(&[6, 4, 3])], 1, "error 3 groups do not fit");
    check(op(0), &[f32s(&[1, 4, 9]), f32s(&[6, 4, 3])], 1, "error 0 groups do not fit");
    check(op(1), &[f32s(&[1, 4, 9]), f32s(&[6, 4, 3]), f32s(&[5])], 1, "error bias [5]");
    let residual =
        |shape: &[usize]| [f32s(&[1, 4, 9]), f32s(&[6, 4, 3]), Given::Absent, f32s(shape)];
    check(op(1), &residual(&[1, 6, 5]), 1, "f32[1, 6, 5]");
    check(op(1), &residual(&[1, 6, 1]), 1, "error residual [1, 6, 1] differs");
    let transposed =
        Op::ConvTranspose { conv: conv(2), output_padding: vec![1], output_shape: None };
    check(transposed, &[f32s(&[1, 4, 5]), f32s(&[4, 3, 3])], 1, "f32[1, 6, 10]");
    let columns = Op::Col2Im { dilations: vec![], pads: vec![], strides: vec![] };
    let given = [f32s(&[1, 20, 12]), ints(&[5, 5]), ints(&[2, 2])];
    check(columns.clone(), &given, 1, "error columns [1, 20, 12]");
    check(columns, &[f32s(&[1, 20, 16]), ints(&[5, 5]), ints(&[2, 2])], 1, "f32[1, 5, 5, 5]");
}

#[test]
fn attention_in_both_layouts() {
    let op = |heads: usize, kv: usize| {
        Op::Attention(Attention {
            scale: None,
            is_causal: false,
            q_num_heads: heads,
            kv_num_heads: kv,
            softcap: 0.0,
            qk_output_mode: 0,
        })
    };
    let flat = || vec![f32s(&[2, 4, 24]), f32s(&[2, 6, 8]), f32s(&[2, 6, 10])];
    let expected = "f32[2, 4, 30] f32[2, 1, 6, 8] f32[2, 1, 6, 10] f32[2, 3, 4, 6]";
    check(op(3, 1), &flat(), 4, expected);
    let mut cached = flat();
    cached.extend([Given::Absent, f32s(&[2, 1, 5, 8]), f32s(&[2, 1, 5, 10])]);
    let expected = "f32[2, 4, 30] f32[2, 1, 11, 8] f32[2, 1, 11, 10] f32[2, 3, 4, 11]";
    check(op(3, 1), &cached, 4, expected);
    check(op(5, 1), &flat(), 1, "error is not 5 heads");
    let split = || vec![f32s(&[2, 3, 4, 8]), f32s(&[2, 3, 6, 8]), f32s(&[2, 3, 6, 7])];
    check(op(0, 0), &split(), 1, "f32[2, 3, 4, 7]");
    let mut masked = split();
    masked.push(Given::Shape(DType::Bool, vec![4, 5]));
    check(op(0, 0), &masked, 1, "f32[2, 3, 4, 7]");
    masked[3] = f32s(&[3, 6]);
    check(op(0, 0), &masked, 1, "error shapes [3, 6] and [2, 3, 4, 6] do not broadcast");
}

#[test]
fn recurrent_layers_in_both_layouts() {
    let op = |kind, batch_first| {
        Op::Rnn(Rnn {
            kind,
            hidden: 5,
            direction: Direction::Bidirectional,
            activations: vec![],
            clip: None,
            batch_first,
        })
    };
    let lstm = RnnKind::Lstm { couple_input_forget: false };
    let given =
        |gates: usize| [f32s(&[7, 2, 3]), f32s(&[2, 5 * gates, 3]), f32s(&[2, 5 * gates, 5])];
    check(op(lstm, false), &given(4), 3, "f32[7, 2, 2, 5] f32[2, 2, 5] f32[2, 2, 5]");
    check(op(RnnKind::Simple, true), &given(1), 2, "f32[7, 2, 2, 5] f32[7, 2, 5]");
    check(op(RnnKind::Simple, true), &given(1), 3, "error has 2 outputs, 3 are wanted");
    check(op(RnnKind::Gru { linear_before_reset: true }, false), &given(4), 1, "error input 3");
}

#[test]
fn transforms_of_signals() {
    let dft = |inverse, onesided| Op::Dft { inverse, onesided };
    check(dft(false, true), &[f32s(&[1, 10, 1])], 1, "f32[1, 6, 2]");
    check(dft(true, true), &[f32s(&[1, 6, 2])], 1, "f32[1, 10, 1]");
    check(dft(false, false), &[f32s(&[1, 10, 2]), int(16)], 1, "f32[1, 16, 2]");
    check(dft(false, false), &[f32s(&[1, 10, 2]), Given::Absent, int(2)], 1, "error axis 2");
    let stft = Op::Stft { onesided: true };
    let given = [f32s(&[1, 128, 1]), int(8), f32s(&[16])];
    check(stft.clone(), &given, 1, "f32[1, 15, 9, 2]");
    check(stft, &[f32s(&[1, 128, 1]), int(0), f32s(&[16])], 1, "error frames of 16 every 0");
}

fn named(graph: &mut Graph, name: &str, source: Source) -> ValueId {
    graph.add_value(ValueInfo { name: name.into(), source, dtype: None, dims: None })
}

/// `(state, x) → (state + x, state + x)`.
fn adder() -> Graph {
    let mut body = Graph::default();
    let state = named(&mut body, "state", Source::Input);
    let x = named(&mut body, "x", Source::Input);
    let sum = named(&mut body, "sum", Source::Node);
    body.inputs = [state, x].map(|value| GraphInput { value, default: None }).to_vec();
    body.nodes.push(Node {
        name: "add".into(),
        op: Op::Binary(sublet_graph::Binary::Add),
        inputs: vec![Some(state), Some(x)],
        outputs: vec![Some(sum)],
    });
    body.outputs = vec![sum, sum];
    body
}

fn scan() -> Op {
    Op::Scan(ScanOptions {
        body: Box::new(adder()),
        states: 1,
        scan_inputs: 1,
        input_axes: vec![1],
        input_reverse: vec![false],
        output_axes: vec![-1],
        output_reverse: vec![false],
    })
}

#[test]
fn scans_stack_what_their_body_gives() {
    check(scan(), &[f32s(&[3]), f32s(&[3, 7])], 2, "f32[3] f32[3, 7]");
    // The state grows in the first iteration: then nothing is known.
    check(scan(), &[f32s(&[1]), f32s(&[3, 7])], 2, "f32? f32?");
    check(scan(), &[f32s(&[3]), Given::Shape(DType::I64, vec![3, 7])], 2, "error node `add`");
    check(scan(), &[f32s(&[3])], 2, "error 1 inputs for 1 states, 1 scans");
}

#[test]
fn every_value_of_a_model_gets_a_type() {
    let mut b = Builder::new();
    let x = b.input("x", &[0, 0]);
    let state = b.random(&[3]);
    let shape = b.node(Op::Shape { start: 0, end: None }, &[x]);
    let y = b.node(scan(), &[state, x]);
    b.output(shape);
    b.output(y);
    infer_dtypes(&mut b.model).expect("types work out");
    let types = |graph: &Graph| {
        graph.values.iter().map(|value| value.dtype.expect("a type")).collect::<Vec<_>>()
    };
    assert_eq!(types(&b.model.graph), [DType::F32, DType::F32, DType::I64, DType::F32]);
    assert_eq!(types(b.model.graph.nodes[1].op.bodies()[0]), [DType::F32; 3]);
    // The body of the scan adds what is not of one type.
    let mut wrong = Builder::new();
    let x = wrong.input("x", &[0, 0]);
    let state = wrong.ints(&[1, 2, 3]);
    let y = wrong.node(scan(), &[state, x]);
    wrong.output(y);
    let error = infer_dtypes(&mut wrong.model).unwrap_err().to_string();
    assert!(error.starts_with("node `n0/add`: Add: inputs 1 and 2 have"), "{error}");
}
