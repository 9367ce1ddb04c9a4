//! Each rule: what it makes of a small graph, and that the outputs stay what they were.

use crate::model::{Builder, check_rewrite, random, run};
use sublet_device_cpu::Evaluator;
use sublet_graph::{
    Activation, AutoPad, Binary, Conv, DType, Graph, GraphInput, Literal, Node, Op, Precision,
    Reduce, RewriteOptions, Source, Unary, ValueId, ValueInfo, infer_dtypes, rewrite,
};

fn conv(activation: Activation) -> Op {
    let conv = Conv {
        kernel: vec![3, 3],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pads: vec![1, 1, 1, 1],
        auto_pad: AutoPad::Explicit,
        group: 1,
    };
    Op::Conv { conv, activation }
}

/// The one node that is left.
fn only(graph: &Graph) -> &Node {
    let [node] = &graph.nodes[..] else { panic!("{graph}") };
    node
}

fn mul(b: &mut Builder, x: ValueId, y: ValueId) -> ValueId {
    b.node(Op::Binary(Binary::Mul), &[x, y])
}

fn add(b: &mut Builder, x: ValueId, y: ValueId) -> ValueId {
    b.node(Op::Binary(Binary::Add), &[x, y])
}

#[test]
fn constants_fold() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 3]);
        let w = b.random(&[2, 3]);
        let v = b.random(&[2, 3]);
        let sum = add(b, w, v);
        let negative = b.node(Op::Unary(Unary::Neg), &[sum]);
        let y = add(b, x, negative);
        b.output(y);
    };
    let (model, report) = check_rewrite(build, &[&[2, 3]], "Add");
    assert_eq!(report.count("fold"), 2);
    assert_eq!(model.weights.len(), 1);
}

#[test]
fn large_results_of_small_constants_are_left_alone() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[1, 1]);
        let shape = b.ints(&[300, 300]);
        let zeros = Literal::f32(&[1, 1], &[0.5]);
        let zeros = b.weight(zeros);
        let large = b.node(Op::Expand, &[zeros, shape]);
        let y = add(b, large, x);
        b.output(y);
    };
    check_rewrite(build, &[&[1, 1]], "Expand Add");
}

#[test]
fn what_nobody_reads_goes() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 2]);
        let w = b.random(&[2, 2]);
        let unused = b.node(Op::MatMul, &[x, w]);
        b.node(Op::Unary(Unary::Exp), &[unused]);
        let y = b.node(Op::Unary(Unary::Neg), &[x]);
        b.output(y);
    };
    let (model, _) = check_rewrite(build, &[&[2, 2]], "Neg");
    assert!(model.weights.is_empty());
    assert_eq!(model.graph.values.len(), 2);
}

#[test]
fn identities_go_and_output_names_stay() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 3]);
        let same = b.node(Op::Identity, &[x]);
        let cast = b.node(Op::Cast { to: DType::F32 }, &[same]);
        let y = b.node(Op::Unary(Unary::Exp), &[cast]);
        let one = b.scalar(1.0);
        let times_one = mul(b, y, one);
        let copy = b.node(Op::Identity, &[times_one]);
        b.output(copy);
    };
    let (model, _) = check_rewrite(build, &[&[2, 3]], "Exp");
    let output = model.graph.value(model.graph.outputs[0]);
    assert_eq!(output.name, "n4.out");
    // An input given out as it is keeps a node that makes the output.
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 3]);
        let y = b.node(Op::Identity, &[x]);
        b.output(y);
    };
    check_rewrite(build, &[&[2, 3]], "Identity");
}

#[test]
fn equal_nodes_and_equal_weights_become_one() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 3]);
        let twice = [0, 1].map(|_| {
            let w = b.weight(random(&[2, 3], 5));
            let exp = b.node(Op::Unary(Unary::Exp), &[x]);
            mul(b, exp, w)
        });
        let y = add(b, twice[0], twice[1]);
        b.output(y);
    };
    let (model, report) = check_rewrite(build, &[&[2, 3]], "Exp Mul Add");
    assert_eq!((model.weights.len(), report.count("same-weight")), (1, 1));
}

#[test]
fn batch_norm_and_activation_join_a_convolution() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[0, 2, 0, 0]);
        let (w, bias) = (b.random(&[4, 2, 3, 3]), b.random(&[4]));
        let y = b.node(conv(Activation::None), &[x, w, bias]);
        let (scale, shift, mean) = (b.random(&[4]), b.random(&[4]), b.random(&[4]));
        let variance = b.weight(Literal::f32(&[4], &[0.5, 1.0, 2.0, 0.1]));
        let y = b.node(Op::BatchNorm { epsilon: 1e-5 }, &[y, scale, shift, mean, variance]);
        let y = b.node(Op::Unary(Unary::Relu), &[y]);
        b.output(y);
    };
    let (model, report) = check_rewrite(build, &[&[2, 2, 5, 6]], "Conv");
    assert_eq!(only(&model.graph).op, conv(Activation::Relu));
    assert_eq!((report.count("affine"), report.count("activation")), (1, 1));
    assert_eq!(model.weights.len(), 2);
}

#[test]
fn sums_and_products_per_channel_join_a_convolution() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[0, 2, 0, 0]);
        let w = b.random(&[4, 2, 3, 3]);
        let y = b.node(conv(Activation::None), &[x, w]);
        let (scale, shift) = (b.random(&[4, 1, 1]), b.random(&[1, 4, 1, 1]));
        let y = mul(b, scale, y);
        let y = add(b, y, shift);
        let half = b.scalar(0.5);
        let y = b.node(Op::Binary(Binary::Div), &[y, half]);
        b.output(y);
    };
    check_rewrite(build, &[&[1, 2, 4, 4]], "Conv");
    // A constant per column is none per channel, even if there are as many.
    let build = |b: &mut Builder| {
        let x = b.input("x", &[1, 2, 4, 4]);
        let w = b.random(&[4, 2, 3, 3]);
        let y = b.node(conv(Activation::None), &[x, w]);
        let columns = b.random(&[4]);
        let y = add(b, y, columns);
        b.output(y);
    };
    check_rewrite(build, &[&[1, 2, 4, 4]], "Conv Add");
}

#[test]
fn a_scale_that_is_infinite_stays_beside_its_convolution() {
    // (3 − 1) / 0 is infinite, but 3 / 0 − 1 / 0 is not a number.
    let build = |b: &mut Builder| {
        let x = b.input("x", &[0, 2, 0, 0]);
        let w = b.random(&[4, 2, 3, 3]);
        let y = b.node(conv(Activation::None), &[x, w]);
        let zero = b.scalar(0.0);
        let y = b.node(Op::Binary(Binary::Div), &[y, zero]);
        b.output(y);
    };
    check_rewrite(build, &[&[1, 2, 4, 4]], "Conv Div");
}

#[test]
fn a_transposed_convolution_takes_a_batch_norm() {
    for group in [1, 2] {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 4, 0, 0]);
            let w = b.random(&[4, 3, 2, 2]);
            let Op::Conv { mut conv, .. } = conv(Activation::None) else { unreachable!() };
            (conv.kernel, conv.pads, conv.group) = (vec![2, 2], vec![], group);
            let op = Op::ConvTranspose { conv, output_padding: vec![], output_shape: None };
            let y = b.node(op, &[x, w]);
            let channels = 3 * group;
            let (scale, shift) = (b.random(&[channels]), b.random(&[channels]));
            let (mean, variance) = (b.random(&[channels]), vec![0.7; channels]);
            let variance = b.weight(Literal::f32(&[channels], &variance));
            let y = b.node(Op::BatchNorm { epsilon: 1e-3 }, &[y, scale, shift, mean, variance]);
            b.output(y);
        };
        check_rewrite(build, &[&[1, 4, 3, 3]], "ConvTranspose");
    }
}

#[test]
fn a_residual_joins_the_later_convolution() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[0, 2, 0, 0]);
        let (v, w) = (b.random(&[4, 2, 3, 3]), b.random(&[4, 4, 3, 3]));
        let first = b.node(conv(Activation::None), &[x, v]);
        let first = b.node(Op::Unary(Unary::Relu), &[first]);
        let second = b.node(conv(Activation::None), &[first, w]);
        let sum = add(b, first, second);
        let y = b.node(Op::Unary(Unary::Relu), &[sum]);
        b.output(y);
    };
    let (model, _) = check_rewrite(build, &[&[2, 2, 4, 4]], "Conv Conv");
    assert_eq!(model.graph.nodes[1].op, conv(Activation::Relu));
    assert_eq!(model.graph.nodes[1].inputs.len(), 4);
    // What broadcasts is no residual.
    let build = |b: &mut Builder| {
        let x = b.input("x", &[0, 2, 0, 0]);
        let w = b.random(&[2, 2, 3, 3]);
        let y = b.node(conv(Activation::None), &[x, w]);
        let pooled = b.node(Op::GlobalAveragePool, &[x]);
        let y = add(b, y, pooled);
        b.output(y);
    };
    let (_, report) = check_rewrite(build, &[&[2, 2, 4, 4]], "Conv GlobalAveragePool Add");
    assert_eq!(report.count("residual"), 0);
}

#[test]
fn products_with_a_matrix_become_linear() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[0, 0, 3]);
        let (w, bias) = (b.random(&[3, 5]), b.random(&[5]));
        let y = b.node(Op::MatMul, &[x, w]);
        let y = add(b, bias, y);
        let more = b.random(&[1, 1, 5]);
        let y = add(b, y, more);
        let y = b.node(Op::Unary(Unary::Tanh), &[y]);
        b.output(y);
    };
    let (model, _) = check_rewrite(build, &[&[2, 4, 3]], "Linear");
    assert_eq!(only(&model.graph).op, Op::Linear { activation: Activation::Tanh });
    for trans_b in [false, true] {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 3]);
            let w = b.random(if trans_b { &[40, 3] } else { &[3, 40] });
            let bias = b.random(&[1, 40]);
            let gemm = Op::Gemm { alpha: 0.5, beta: 2.0, trans_a: false, trans_b };
            let y = b.node(gemm, &[x, w, bias]);
            b.output(y);
        };
        check_rewrite(build, &[&[2, 3]], "Linear");
    }
    // A bias with an entry per row is none.
    let build = |b: &mut Builder| {
        let x = b.input("x", &[4, 3]);
        let (w, rows) = (b.random(&[3, 4]), b.random(&[4, 1]));
        let y = b.node(Op::MatMul, &[x, w]);
        let y = add(b, y, rows);
        b.output(y);
    };
    check_rewrite(build, &[&[4, 3]], "Linear Add");
}

#[test]
fn products_of_dequantised_matrices_stay_in_integers() {
    for columns in [1, 4] {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 2, 3]);
            let scale = b.scalar(0.01);
            let zero = b.weight(Literal::from_values(DType::U8, &[], &[120u8]));
            let quantize = Op::QuantizeLinear { axis: 1, block: 0, to: None };
            let dequantize = Op::DequantizeLinear { axis: 1, block: 0 };
            let a = b.node(quantize, &[x, scale, zero]);
            let a = b.node(dequantize.clone(), &[a, scale, zero]);
            let bytes: Vec<i8> = (0..12).map(|at: i8| at * 9 % 101 - 50).collect();
            let w = b.weight(Literal::from_values(DType::I8, &[3, 4], &bytes));
            let scales = b.random(&[columns]);
            let w = b.node(dequantize, &[w, scales]);
            let y = b.node(Op::MatMul, &[a, w]);
            b.output(y);
        };
        check_rewrite(build, &[&[5, 2, 3]], "QuantizeLinear MatMulInteger Cast Mul");
    }
}

#[test]
fn a_value_that_others_read_is_not_fused_away() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[0, 3]);
        let w = b.random(&[3, 5]);
        let y = b.node(Op::MatMul, &[x, w]);
        let z = b.node(Op::Unary(Unary::Relu), &[y]);
        b.output(y);
        b.output(z);
    };
    check_rewrite(build, &[&[2, 3]], "Linear Relu");
}

#[test]
fn clips_with_sound_bounds_become_activations() {
    let clip = |low: Option<f32>, high: Option<f32>, expected: &str| {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 3]);
            let w = b.random(&[3, 5]);
            let y = b.node(Op::MatMul, &[x, w]);
            let bounds = [low, high].map(|bound| bound.map(|bound| b.scalar(bound)));
            let y = b.node_with(Op::Clip, vec![Some(y), bounds[0], bounds[1]]);
            b.output(y);
        };
        check_rewrite(build, &[&[2, 3]], expected).0
    };
    let model = clip(None, Some(0.25), "Linear");
    let activation = Activation::Clip { low: f32::MIN, high: 0.25 };
    assert_eq!(only(&model.graph).op, Op::Linear { activation });
    clip(Some(-0.1), Some(0.1), "Linear");
    clip(Some(0.2), Some(0.1), "Linear Clip");
    clip(None, None, "Linear");
}

#[test]
fn spelled_out_activations_are_recognised() {
    let check = |apply: fn(&mut Builder, ValueId) -> ValueId, expected: &str| {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 7]);
            let y = apply(b, x);
            b.output(y);
        };
        check_rewrite(build, &[&[9, 7]], expected);
    };
    fn unary(b: &mut Builder, unary: Unary, x: ValueId) -> ValueId {
        b.node(Op::Unary(unary), &[x])
    }
    fn scaled(b: &mut Builder, x: ValueId, scale: f32) -> ValueId {
        let scale = b.scalar(scale);
        mul(b, scale, x)
    }
    fn relu6_of_shifted(b: &mut Builder, x: ValueId) -> ValueId {
        let (zero, three, six) = (b.scalar(0.0), b.scalar(3.0), b.scalar(6.0));
        let shifted = add(b, x, three);
        b.node(Op::Clip, &[shifted, zero, six])
    }
    fn divided(b: &mut Builder, x: ValueId, by: f32) -> ValueId {
        let by = b.scalar(by);
        b.node(Op::Binary(Binary::Div), &[x, by])
    }
    check(
        |b, x| {
            let gate = unary(b, Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x);
            mul(b, x, gate)
        },
        "HardSwish",
    );
    check(
        |b, x| {
            let gate = unary(b, Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, x);
            mul(b, x, gate)
        },
        "HardSigmoid Mul",
    );
    check(
        |b, x| {
            let clipped = relu6_of_shifted(b, x);
            divided(b, clipped, 6.0)
        },
        "HardSigmoid",
    );
    check(
        |b, x| {
            let clipped = relu6_of_shifted(b, x);
            let gate = scaled(b, clipped, 1.0 / 6.0);
            mul(b, gate, x)
        },
        "HardSwish",
    );
    check(
        |b, x| {
            let clipped = relu6_of_shifted(b, x);
            let product = mul(b, x, clipped);
            divided(b, product, 6.0)
        },
        "HardSwish",
    );
    check(
        |b, x| {
            let gate = unary(b, Unary::Sigmoid, x);
            mul(b, gate, x)
        },
        "Swish",
    );
    check(
        |b, x| {
            let inner = scaled(b, x, 1.702);
            let gate = unary(b, Unary::Sigmoid, inner);
            mul(b, x, gate)
        },
        "Swish",
    );
    check(
        |b, x| {
            let soft = unary(b, Unary::Softplus, x);
            let gate = unary(b, Unary::Tanh, soft);
            mul(b, x, gate)
        },
        "Mish",
    );
}

/// `1 + f(inner)`.
fn one_plus(b: &mut Builder, unary: Unary, inner: ValueId) -> ValueId {
    let (of, one) = (b.node(Op::Unary(unary), &[inner]), b.scalar(1.0));
    add(b, of, one)
}

#[test]
fn gelu_in_all_its_spellings() {
    let check = |apply: &dyn Fn(&mut Builder, ValueId) -> ValueId, expected: &str| {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 7]);
            let y = apply(b, x);
            b.output(y);
        };
        check_rewrite(build, &[&[9, 7]], expected);
    };
    let erf = |b: &mut Builder, x: ValueId| {
        let root = b.scalar(std::f32::consts::SQRT_2);
        let scaled = b.node(Op::Binary(Binary::Div), &[x, root]);
        one_plus(b, Unary::Erf, scaled)
    };
    let half = |b: &mut Builder| b.scalar(0.5);
    check(
        &|b, x| {
            let (gate, half) = (erf(b, x), half(b));
            let y = mul(b, x, gate);
            mul(b, y, half)
        },
        "Gelu",
    );
    check(
        &|b, x| {
            let (gate, half) = (erf(b, x), half(b));
            let gate = mul(b, half, gate);
            mul(b, x, gate)
        },
        "Gelu",
    );
    check(
        &|b, x| {
            let (half, root) = (half(b), b.scalar(std::f32::consts::FRAC_1_SQRT_2));
            let (halved, scaled) = (mul(b, x, half), mul(b, x, root));
            let gate = one_plus(b, Unary::Erf, scaled);
            mul(b, halved, gate)
        },
        "Gelu",
    );
    // Twice as much is something else.
    check(
        &|b, x| {
            let gate = erf(b, x);
            mul(b, x, gate)
        },
        "Div Erf Add Mul",
    );
    let tanh = |b: &mut Builder, x: ValueId, inner: ValueId| {
        let (scale, half) = (b.scalar((2.0 / std::f32::consts::PI).sqrt()), b.scalar(0.5));
        let scaled = mul(b, scale, inner);
        let gate = one_plus(b, Unary::Tanh, scaled);
        let halved = mul(b, x, half);
        mul(b, halved, gate)
    };
    check(
        &|b, x| {
            let (three, c) = (b.scalar(3.0), b.scalar(0.044715));
            let cube = b.node(Op::Binary(Binary::Pow), &[x, three]);
            let cube = mul(b, c, cube);
            let inner = add(b, x, cube);
            tanh(b, x, inner)
        },
        "Gelu",
    );
    check(
        &|b, x| {
            let (one, c) = (b.scalar(1.0), b.scalar(0.044715));
            let square = mul(b, x, x);
            let square = mul(b, square, c);
            let sum = add(b, one, square);
            let inner = mul(b, x, sum);
            tanh(b, x, inner)
        },
        "Gelu",
    );
}

fn mean(b: &mut Builder, x: ValueId, axes: &[i64]) -> ValueId {
    let axes = b.ints(axes);
    let op = Op::Reduce { reduce: Reduce::Mean, keep_dims: true, noop_with_empty_axes: false };
    b.node(op, &[x, axes])
}

/// `d / √(mean(d²) + ε)`.
fn normal(b: &mut Builder, d: ValueId, axes: &[i64], reciprocal: bool) -> ValueId {
    let (two, epsilon) = (b.scalar(2.0), b.scalar(1e-5));
    let square = if reciprocal { mul(b, d, d) } else { b.node(Op::Binary(Binary::Pow), &[d, two]) };
    let variance = mean(b, square, axes);
    let sum = add(b, variance, epsilon);
    let root = b.node(Op::Unary(Unary::Sqrt), &[sum]);
    if !reciprocal {
        return b.node(Op::Binary(Binary::Div), &[d, root]);
    }
    let inverse = b.node(Op::Unary(Unary::Reciprocal), &[root]);
    mul(b, d, inverse)
}

#[test]
fn layer_norm_is_recognised() {
    let check = |axes: &'static [i64], shape: &'static [usize], expected: &str, reciprocal| {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 0, 4, 6]);
            let centre = mean(b, x, axes);
            let d = b.node(Op::Binary(Binary::Sub), &[x, centre]);
            let y = normal(b, d, axes, reciprocal);
            let (gain, bias) = (b.random(shape), b.random(shape));
            let y = mul(b, gain, y);
            let y = add(b, y, bias);
            b.output(y);
        };
        check_rewrite(build, &[&[2, 3, 4, 6]], expected);
    };
    check(&[-1], &[6], "LayerNorm", false);
    check(&[3], &[6], "LayerNorm", true);
    check(&[-1], &[1, 6], "LayerNorm", false);
    check(&[2, 3], &[4, 6], "LayerNorm", false);
    // Not the last axis; parameters that do not cover the axis.
    check(&[1], &[6], "Reduce Sub Pow Reduce Add Sqrt Div Mul Add", false);
    check(&[-1], &[1], "Reduce Sub Pow Reduce Add Sqrt Div Mul Add", false);
}

#[test]
fn rms_norm_is_recognised() {
    for reciprocal in [false, true] {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 0, 6]);
            let y = normal(b, x, &[-1], reciprocal);
            let gain = b.random(&[6]);
            let y = mul(b, y, gain);
            b.output(y);
        };
        check_rewrite(build, &[&[2, 3, 6]], "RmsNorm");
    }
}

#[test]
fn transposes_and_reshapes_join() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 3, 4]);
        let y = b.node(Op::Transpose { perm: vec![2, 0, 1] }, &[x]);
        let y = b.node(Op::Transpose { perm: vec![0, 2, 1] }, &[y]);
        let y = b.node(Op::Unary(Unary::Neg), &[y]);
        let (first, second) = (b.ints(&[-1, 2]), b.ints(&[4, 6]));
        let y = b.node(Op::Reshape { allow_zero: false }, &[y, first]);
        let y = b.node(Op::Reshape { allow_zero: false }, &[y, second]);
        b.output(y);
    };
    let (model, _) = check_rewrite(build, &[&[2, 3, 4]], "Transpose Neg Reshape");
    assert_eq!(model.graph.nodes[0].op, Op::Transpose { perm: vec![2, 1, 0] });
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 3, 4]);
        let y = b.node(Op::Transpose { perm: vec![2, 0, 1] }, &[x]);
        let y = b.node(Op::Transpose { perm: vec![1, 2, 0] }, &[y]);
        let y = b.node(Op::Unary(Unary::Neg), &[y]);
        b.output(y);
    };
    check_rewrite(build, &[&[2, 3, 4]], "Neg");
}

#[test]
fn a_softmax_over_the_last_axis_needs_no_flattening() {
    for (axis, expected) in [(2, "Softmax"), (1, "Shape Flatten Softmax Reshape")] {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 3, 0]);
            let shape = b.node(Op::Shape { start: 0, end: None }, &[x]);
            let flat = b.node(Op::Flatten { axis }, &[x]);
            let y = b.node(Op::Softmax { axis: -1 }, &[flat]);
            let y = b.node(Op::Reshape { allow_zero: true }, &[y, shape]);
            b.output(y);
        };
        check_rewrite(build, &[&[2, 3, 4]], expected);
    }
}

#[test]
fn an_activation_joins_a_product_across_a_reshape() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[0, 8]);
        let (w, v) = (b.random(&[8, 6]), b.random(&[6, 4]));
        let y = b.node(Op::MatMul, &[x, w]);
        let shape = b.ints(&[-1, 2, 6]);
        let y = b.node(Op::Reshape { allow_zero: true }, &[y, shape]);
        let y = b.node(Op::Unary(Unary::Gelu { tanh: true }), &[y]);
        let y = b.node(Op::MatMul, &[y, v]);
        b.output(y);
    };
    let (model, _) = check_rewrite(build, &[&[4, 8]], "Linear Reshape Linear");
    let gelu = Op::Linear { activation: Activation::Gelu { tanh: true } };
    assert_eq!(model.graph.nodes[0].op, gelu);
    // What is also read before the activation stays.
    let build = |b: &mut Builder| {
        let x = b.input("x", &[4, 8]);
        let w = b.random(&[8, 6]);
        let y = b.node(Op::MatMul, &[x, w]);
        let shape = b.ints(&[2, 2, 6]);
        let y = b.node(Op::Reshape { allow_zero: true }, &[y, shape]);
        let z = b.node(Op::Unary(Unary::Relu), &[y]);
        let y = add(b, y, z);
        b.output(y);
    };
    check_rewrite(build, &[&[4, 8]], "Linear Reshape Relu Add");
}

#[test]
fn a_branch_that_passes_a_computed_value_on_keeps_it() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 3]);
        let condition = b.weight(Literal::bool(&[], &[true]));
        let computed = b.node(Op::Unary(Unary::Sin), &[x]);
        let op = Op::If { then_branch: body(None), else_branch: body(Some(Unary::Exp)) };
        let y = b.node(op, &[condition, computed]);
        let y = b.node(Op::Unary(Unary::Neg), &[y]);
        b.output(y);
    };
    check_rewrite(build, &[&[2, 3]], "Sin Neg");
}

/// A body with one input and one output, `unary` of it or the input itself.
fn body(unary: Option<Unary>) -> Box<Graph> {
    let mut graph = Graph::default();
    let value = |graph: &mut Graph, name: &str, source| {
        graph.add_value(ValueInfo { name: name.into(), source, dtype: None, dims: None })
    };
    let x = value(&mut graph, "in", Source::Input);
    graph.inputs.push(GraphInput { value: x, default: None });
    graph.outputs.push(x);
    if let Some(unary) = unary {
        let same = value(&mut graph, "same", Source::Node);
        let y = value(&mut graph, "out", Source::Node);
        let node = |name: &str, op, input, output| Node {
            name: name.into(),
            op,
            inputs: vec![Some(input)],
            outputs: vec![Some(output)],
        };
        graph.nodes.push(node("same", Op::Identity, x, same));
        graph.nodes.push(node("unary", Op::Unary(unary), same, y));
        graph.outputs[0] = y;
    }
    Box::new(graph)
}

#[test]
fn a_known_condition_inlines_its_branch() {
    for (taken, expected) in [(true, "Exp Neg"), (false, "Neg")] {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[2, 3]);
            let condition = b.weight(Literal::bool(&[], &[taken]));
            let op = Op::If { then_branch: body(Some(Unary::Exp)), else_branch: body(None) };
            let y = b.node(op, &[condition, x]);
            let y = b.node(Op::Unary(Unary::Neg), &[y]);
            b.output(y);
        };
        check_rewrite(build, &[&[2, 3]], expected);
    }
}

#[test]
fn bodies_are_rewritten_too() {
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 3]);
        let condition = b.input("condition", &[]);
        let condition = b.node(Op::Cast { to: DType::Bool }, &[condition]);
        let op =
            Op::If { then_branch: body(Some(Unary::Exp)), else_branch: body(Some(Unary::Sin)) };
        let y = b.node(op, &[condition, x]);
        b.output(y);
    };
    let (model, report) = check_rewrite(build, &[&[2, 3], &[]], "Cast If");
    assert_eq!((report.nodes, report.count("identity")), ((6, 4), 2));
    assert!(model.graph.nodes[1].op.bodies().iter().all(|body| body.nodes.len() == 1));
}

#[test]
fn weights_too_small_to_matter_become_zero_in_products_alone() {
    let tiny = Literal::f32(&[2, 2], &[1e-40, 0.5, -1e-42, 2.0]);
    let build = |b: &mut Builder| {
        let x = b.input("x", &[2, 2]);
        let factor = b.weight(tiny.clone());
        let product = b.node(Op::MatMul, &[x, factor]);
        let term = b.weight(Literal::f32(&[2, 2], &[1e-41, 0.25, 0.5, 1.0]));
        let y = add(b, product, term);
        b.output(y);
    };
    let (model, report) = check_rewrite(build, &[&[2, 2]], "Linear Add");
    assert_eq!(report.count("denormal"), 1);
    let values: Vec<Vec<f32>> = model.weights.iter().map(|weight| weight.value.to_vec()).collect();
    assert!(values.contains(&vec![0.0, 0.5, 0.0, 2.0]), "{values:?}");
    assert!(values.contains(&vec![1e-41, 0.25, 0.5, 1.0]), "a term keeps its bits: {values:?}");
}

#[test]
fn lower_precision_casts_at_the_border_and_around_what_stays() {
    let mut b = Builder::new();
    let x = b.input("x", &[4, 64]);
    let w = b.random(&[64, 64]);
    let hidden = b.node(Op::MatMul, &[x, w]);
    let hidden = b.node(Op::Unary(Unary::Tanh), &[hidden]);
    let powers = b.node(Op::Unary(Unary::Exp), &[hidden]);
    let again = b.node(Op::MatMul, &[powers, w]);
    b.output(again);
    b.output(powers);
    b.output(again);
    let mut model = b.model;
    infer_dtypes(&mut model).unwrap();
    let before = run(&model, &[random(&[4, 64], 7)]);
    let options =
        RewriteOptions { precision: Some(Precision::Bf16), fuse: false, ..Default::default() };
    let outputs: Vec<_> =
        model.graph.outputs.iter().map(|&id| model.graph.value(id).name.clone()).collect();
    let bytes = model.weight_bytes();
    let report = rewrite(&mut model, &Evaluator, &options);
    let names: Vec<String> = model.graph.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(names.join(" "), "Cast MatMul Tanh Cast Exp Cast MatMul Cast", "{}", model.graph);
    assert_eq!((report.count("precision"), model.weight_bytes()), (3, bytes / 2));
    let after: Vec<_> =
        model.graph.outputs.iter().map(|&id| model.graph.value(id).name.clone()).collect();
    assert_eq!(after, outputs, "clients know outputs by name");
    let mut typed = model.clone();
    infer_dtypes(&mut typed).expect("the types recorded are the right ones");
    assert_eq!(typed.graph, model.graph);
    for (before, after) in before.iter().zip(run(&model, &[random(&[4, 64], 7)])) {
        assert_eq!((before.dtype(), before.shape()), (after.dtype(), after.shape()));
        let (before, after) = (before.to_vec::<f32>(), after.to_vec::<f32>());
        for (before, after) in before.iter().zip(&after) {
            assert!((before - after).abs() <= 0.03 * before.abs() + 0.1, "{before} became {after}");
        }
    }
}
