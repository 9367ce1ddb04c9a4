//! What libraries compute, against the CPU device: products, convolutions, attention. Needs a GPU; says so and passes
//! where there is none.

mod graphs;

use graphs::{Case, device};
use sublet_device_cuda::Solo;
use sublet_graph::{Activation, Attention, AutoPad, Conv, DType, Literal, Op};

const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];

/// What results of a type may differ by, of their norm.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        DType::F32 => 2e-6,
        DType::F16 => 2e-3,
        DType::BF16 => 1.5e-2,
        _ => 0.0,
    }
}

#[test]
fn matrices_multiply() {
    let Some(solo) = device("cuda:0") else { return };
    let shapes: [(&[usize], &[usize]); 12] = [
        (&[7, 5], &[5, 3]),
        (&[64, 128], &[128, 96]),
        (&[1, 300], &[300, 1000]),
        (&[300, 64], &[64, 1]),
        (&[33], &[33]),
        (&[33], &[33, 4]),
        (&[4, 2, 33], &[33]),
        (&[2, 3, 8, 16], &[2, 3, 16, 24]),
        (&[2, 3, 8, 16], &[16, 24]),
        (&[8, 16], &[2, 3, 16, 24]),
        (&[2, 1, 8, 16], &[3, 16, 24]),
        (&[4, 0], &[0, 6]),
    ];
    for dtype in FLOATS.into_iter().chain([DType::I32, DType::I64, DType::U32]) {
        for (index, (a, b)) in shapes.iter().enumerate() {
            let mut case = Case::new(format!("{dtype} {a:?} by {b:?}"), index as u64);
            let inputs = [case.input(dtype, a), case.input(dtype, b)];
            let y = case.node(Op::MatMul, &inputs);
            case.check(&solo, &[y], tolerance(dtype));
        }
    }
}

#[test]
fn linear_layers_finish_their_products() {
    let Some(solo) = device("cuda:0") else { return };
    let activations = [
        Activation::None,
        Activation::Relu,
        Activation::Gelu { tanh: true },
        Activation::Gelu { tanh: false },
        Activation::Clip { low: -0.2, high: 0.3 },
        Activation::HardSwish,
    ];
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (seed, activation) in activations.into_iter().enumerate() {
            for bias in [true, false] {
                let mut case =
                    Case::new(format!("{dtype} linear {activation:?} {bias}"), seed as u64);
                let mut inputs =
                    vec![case.input(dtype, &[2, 37, 96]), case.input(dtype, &[96, 160])];
                inputs.extend(bias.then(|| case.input(dtype, &[160])));
                let y = case.node(Op::Linear { activation }, &inputs);
                case.check(&solo, &[y], tolerance(dtype).max(1e-5));
            }
        }
    }
}

#[test]
fn products_with_few_rows() {
    let Some(solo) = device("cuda:0") else { return };
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (m, n, k) in [(1, 1000, 2048), (3, 40, 1152), (8, 33, 65), (1, 1024, 1500)] {
            for trans_b in [false, true] {
                let op = Op::Gemm { alpha: 0.5, beta: 2.0, trans_a: false, trans_b };
                let mut case = Case::new(format!("{dtype} {m}x{n}x{k} {op:?}"), 11);
                let b = if trans_b { [n, k] } else { [k, n] };
                let inputs =
                    [case.input(dtype, &[m, k]), case.input(dtype, &b), case.input(dtype, &[m, n])];
                let y = case.node(op, &inputs);
                case.check(&solo, &[y], 2.0 * tolerance(dtype));
            }
            let activation = Activation::Gelu { tanh: false };
            let mut case = Case::new(format!("{dtype} {m}x{n}x{k} linear"), 12);
            let inputs = [[m, k].as_slice(), &[k, n], &[n]].map(|shape| case.input(dtype, shape));
            let y = case.node(Op::Linear { activation }, &inputs);
            case.check(&solo, &[y], 2.0 * tolerance(dtype));
        }
        let mut case = Case::new(format!("{dtype} of one position"), 13);
        let inputs = [[2, 48, 1, 1].as_slice(), &[20, 48, 1, 1], &[20], &[2, 20, 1, 1]]
            .map(|shape| case.input(dtype, shape));
        let op = Op::Conv { conv: plain_conv(), activation: Activation::Swish { alpha: 1.0 } };
        let y = case.node(op, &inputs);
        case.check(&solo, &[y], 4.0 * tolerance(dtype));
    }
}

#[test]
fn gemm_transposes_scales_and_adds() {
    let Some(solo) = device("cuda:0") else { return };
    let (m, n, k) = (17, 40, 24);
    let added: [Option<&[usize]>; 6] =
        [None, Some(&[n]), Some(&[m, n]), Some(&[m, 1]), Some(&[1]), Some(&[1, n])];
    for dtype in FLOATS.into_iter().chain([DType::I32]) {
        for (seed, c) in added.into_iter().enumerate() {
            for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
                let (alpha, beta) = if seed % 2 == 1 { (1.0, 1.0) } else { (2.0, 3.0) };
                let op = Op::Gemm { alpha, beta, trans_a, trans_b };
                let mut case = Case::new(format!("{dtype} {op:?} {c:?}"), seed as u64);
                let a = if trans_a { [k, m] } else { [m, k] };
                let b = if trans_b { [n, k] } else { [k, n] };
                let mut inputs = vec![case.input(dtype, &a), case.input(dtype, &b)];
                inputs.extend(c.map(|c| case.input(dtype, c)));
                let y = case.node(op, &inputs);
                case.check(&solo, &[y], tolerance(dtype));
            }
        }
    }
}

#[test]
fn quantised_products_are_exact() {
    let Some(solo) = device("cuda:0") else { return };
    for (a, b) in [(DType::U8, DType::I8), (DType::I8, DType::U8), (DType::I8, DType::I8)] {
        for per_column in [false, true] {
            let mut case = Case::new(format!("{a} by {b}, {per_column}"), 3);
            let zeros = if per_column { vec![24] } else { vec![] };
            let inputs = [
                case.input(a, &[3, 9, 50]),
                case.input(b, &[50, 24]),
                case.input(a, &[]),
                case.input(b, &zeros),
            ];
            let y = case.node(Op::MatMulInteger, &inputs);
            case.check(&solo, &[y], 0.0);
        }
    }
    let conv = Conv { pads: vec![1, 1, 1, 1], ..plain_conv() };
    let mut case = Case::new("ConvInteger", 4);
    let inputs = [
        case.input(DType::U8, &[2, 5, 9, 7]),
        case.input(DType::I8, &[6, 5, 3, 3]),
        case.input(DType::U8, &[]),
    ];
    let y = case.node(Op::ConvInteger(conv), &inputs);
    case.check(&solo, &[y], 0.0);
}

#[test]
fn einstein_sums() {
    let Some(solo) = device("cuda:0") else { return };
    let equations: [(&str, &[&[usize]]); 14] = [
        ("ij,jk->ik", &[&[5, 6], &[6, 7]]),
        ("bij,bjk->bik", &[&[3, 5, 6], &[3, 6, 7]]),
        ("bhid,bhjd->bhij", &[&[2, 3, 8, 16], &[2, 3, 9, 16]]),
        ("bthd,bshd->bhts", &[&[2, 8, 3, 16], &[2, 9, 3, 16]]),
        ("ij->ji", &[&[5, 6]]),
        ("ij->i", &[&[5, 6]]),
        ("ij->", &[&[5, 6]]),
        ("ii->i", &[&[5, 5]]),
        ("ii->", &[&[5, 5]]),
        ("i,j->ij", &[&[5], &[6]]),
        ("i,i->", &[&[5], &[5]]),
        ("...ij,...jk", &[&[2, 1, 4, 5], &[3, 5, 6]]),
        ("ab,bc,cd->ad", &[&[3, 4], &[4, 5], &[5, 6]]),
        ("abc,cd,b->da", &[&[3, 4, 5], &[5, 6], &[4]]),
    ];
    for dtype in [DType::F32, DType::F64, DType::I32] {
        for (seed, (equation, shapes)) in equations.iter().enumerate() {
            let mut case = Case::new(format!("{dtype} {equation}"), seed as u64);
            let inputs: Vec<_> = shapes.iter().map(|shape| case.input(dtype, shape)).collect();
            let y = case.node(Op::Einsum { equation: (*equation).to_owned() }, &inputs);
            case.check(&solo, &[y], 4.0 * tolerance(dtype));
        }
    }
}

fn plain_conv() -> Conv {
    Conv {
        kernel: Vec::new(),
        strides: Vec::new(),
        dilations: Vec::new(),
        pads: Vec::new(),
        auto_pad: AutoPad::Explicit,
        group: 1,
    }
}

/// Input, weights, and how the window moves.
fn convolutions() -> Vec<(Vec<usize>, Vec<usize>, Conv)> {
    let pads = |pads: &[usize]| Conv { pads: pads.to_vec(), ..plain_conv() };
    let same = pads(&[1, 1, 1, 1]);
    vec![
        (vec![2, 8, 12, 10], vec![16, 8, 3, 3], same.clone()),
        (
            vec![1, 3, 23, 23],
            vec![16, 3, 7, 7],
            Conv { strides: vec![2, 2], ..pads(&[3, 3, 3, 3]) },
        ),
        (vec![2, 16, 9, 9], vec![24, 16, 1, 1], plain_conv()),
        (vec![1, 16, 9, 9], vec![24, 16, 1, 1], Conv { strides: vec![2, 2], ..plain_conv() }),
        (vec![1, 8, 11, 13], vec![8, 8, 3, 3], pads(&[0, 1, 2, 3])),
        (vec![2, 16, 10, 10], vec![32, 4, 3, 3], Conv { group: 4, ..same.clone() }),
        (vec![2, 16, 10, 10], vec![16, 1, 3, 3], Conv { group: 16, ..same.clone() }),
        (
            vec![1, 8, 14, 14],
            vec![8, 8, 3, 3],
            Conv { dilations: vec![2, 2], ..pads(&[2, 2, 2, 2]) },
        ),
        (vec![1, 8, 12, 7], vec![8, 8, 1, 7], pads(&[0, 3, 0, 3])),
        (
            vec![1, 5, 9, 9],
            vec![7, 5, 3, 3],
            Conv { auto_pad: AutoPad::SameUpper, strides: vec![2, 2], ..plain_conv() },
        ),
        (vec![2, 8, 40], vec![12, 8, 5], pads(&[2, 2])),
        (vec![1, 4, 6, 7, 8], vec![8, 4, 3, 3, 3], pads(&[1, 1, 1, 1, 1, 1])),
    ]
}

#[test]
fn convolutions_with_bias_residual_and_activation() {
    let Some(solo) = device("cuda:0") else { return };
    for dtype in FLOATS {
        for (seed, (x, w, conv)) in convolutions().into_iter().enumerate() {
            for (bias, residual, activation) in [
                (false, false, Activation::None),
                (true, false, Activation::Relu),
                (true, true, Activation::Relu),
                (true, false, Activation::Clip { low: 0.0, high: 0.4 }),
                (true, true, Activation::Swish { alpha: 1.0 }),
            ] {
                let name =
                    format!("{dtype} {x:?} by {w:?} {conv:?} {bias} {residual} {activation:?}");
                let mut case = Case::new(name, seed as u64);
                let mut inputs = vec![case.input(dtype, &x), case.input(dtype, &w), None, None];
                if bias {
                    inputs[2] = case.input(dtype, &w[..1]);
                }
                if residual {
                    let shape = result_shape(&conv, &x, &w);
                    inputs[3] = case.input(dtype, &shape);
                }
                let y = case.node(Op::Conv { conv: conv.clone(), activation }, &inputs);
                case.check(&solo, &[y], 4.0 * tolerance(dtype));
            }
        }
    }
}

fn result_shape(conv: &Conv, x: &[usize], w: &[usize]) -> Vec<usize> {
    let windows = sublet_graph::shape::conv_geometry(conv, x, w).unwrap();
    [x[0], w[0]].into_iter().chain(windows.iter().map(|window| window.output)).collect()
}

/// What lies between convolutions may lie in another order than inputs and outputs do.
#[test]
fn convolutions_one_after_the_other() {
    for options in ["cuda:0", "cuda:0,tf32=on"] {
        let Some(solo) = device(options) else { return };
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            chain(
                &solo,
                dtype,
                if options.ends_with("on") {
                    5e-3f64.max(tolerance(dtype))
                } else {
                    4.0 * tolerance(dtype)
                },
            );
        }
    }
}

fn chain(solo: &Solo, dtype: DType, tolerance: f64) {
    let mut case = Case::new(format!("{dtype} convolutions in a row"), 5);
    let same = Conv { pads: vec![1, 1, 1, 1], ..plain_conv() };
    let mut x = case.input(dtype, &[2, 3, 20, 20]);
    let mut kept = None;
    for (index, (channels, filter, group)) in [
        (3, [32, 3, 3, 3], 1),
        (32, [32, 1, 3, 3], 32),
        (32, [64, 32, 1, 1], 1),
        (64, [64, 64, 3, 3], 1),
        (64, [64, 64, 1, 1], 1),
        (64, [64, 16, 3, 3], 4),
    ]
    .into_iter()
    .enumerate()
    {
        let conv = if filter[2] == 1 { plain_conv() } else { same.clone() };
        let conv = Conv { group, ..conv };
        assert_eq!(channels, filter[1] * group);
        let w = case.input(dtype, &filter);
        let bias = case.input(dtype, &filter[..1]);
        let residual = if index == 4 { kept } else { None };
        let op = Op::Conv { conv, activation: Activation::Relu };
        x = case.node(op, &[x, w, bias, residual]);
        if index == 2 {
            kept = x;
        }
    }
    case.check(solo, &[x], tolerance);
}

#[test]
fn transposed_convolutions() {
    let Some(solo) = device("cuda:0") else { return };
    let strided = Conv { strides: vec![2, 2], pads: vec![1, 1, 1, 1], ..plain_conv() };
    let cases: [(&[usize], &[usize], Conv, Vec<usize>); 6] = [
        (&[2, 6, 7, 8], &[6, 4, 3, 3], plain_conv(), vec![]),
        (&[2, 6, 7, 8], &[6, 4, 4, 4], strided.clone(), vec![]),
        (&[1, 6, 7, 8], &[6, 4, 3, 3], strided.clone(), vec![1, 1]),
        (&[1, 8, 5, 5], &[8, 3, 3, 3], Conv { group: 2, ..strided.clone() }, vec![]),
        (&[1, 4, 6, 6], &[4, 4, 3, 3], Conv { dilations: vec![2, 2], ..plain_conv() }, vec![]),
        (&[1, 4, 9], &[4, 6, 3], Conv { strides: vec![2], ..plain_conv() }, vec![]),
    ];
    for dtype in [DType::F32, DType::F16, DType::F64] {
        for (seed, (x, w, conv, output_padding)) in cases.iter().enumerate() {
            for bias in [false, true] {
                let mut case = Case::new(format!("{dtype} {x:?} by {w:?} {conv:?}"), seed as u64);
                let mut inputs = vec![case.input(dtype, x), case.input(dtype, w)];
                inputs.extend(bias.then(|| case.input(dtype, &[w[1] * conv.group])));
                let op = Op::ConvTranspose {
                    conv: conv.clone(),
                    output_padding: output_padding.clone(),
                    output_shape: None,
                };
                let y = case.node(op, &inputs);
                case.check(&solo, &[y], 4.0 * tolerance(dtype));
            }
        }
    }
}

fn plain_attention() -> Attention {
    Attention {
        scale: None,
        is_causal: false,
        q_num_heads: 0,
        kv_num_heads: 0,
        softcap: 0.0,
        qk_output_mode: 0,
    }
}

#[test]
fn attention_in_both_layouts() {
    let Some(solo) = device("cuda:0") else { return };
    for dtype in FLOATS {
        let masks: [Option<(DType, &[usize])>; 5] = [
            None,
            Some((dtype, &[24, 24])),
            Some((DType::Bool, &[24, 24])),
            Some((dtype, &[2, 1, 1, 24])),
            Some((dtype, &[2, 4, 24, 24])),
        ];
        for (seed, mask) in masks.into_iter().enumerate() {
            for (is_causal, softcap, kv_num_heads) in
                [(false, 0.0, 4), (true, 0.0, 4), (false, 2.0, 2), (false, 0.0, 1)]
            {
                for inside in [false, true] {
                    let op = Attention { is_causal, softcap, ..plain_attention() };
                    let op =
                        if inside { Attention { q_num_heads: 4, kv_num_heads, ..op } } else { op };
                    let mut case =
                        Case::new(format!("{dtype} {op:?} {mask:?} {kv_num_heads}"), seed as u64);
                    let shape = |heads: usize, size: usize| match inside {
                        true => vec![2, 24, heads * size],
                        false => vec![2, heads, 24, size],
                    };
                    let mut inputs = vec![
                        case.input(dtype, &shape(4, 16)),
                        case.input(dtype, &shape(kv_num_heads, 16)),
                        case.input(dtype, &shape(kv_num_heads, 24)),
                    ];
                    inputs.extend(mask.map(|(of, shape)| case.input(of, shape)));
                    let y = case.node(Op::Attention(op), &inputs);
                    case.check(&solo, &[y], 4.0 * tolerance(dtype));
                }
            }
        }
    }
}

#[test]
fn attention_with_a_past_and_scores() {
    let Some(solo) = device("cuda:0") else { return };
    for dtype in [DType::F32, DType::F16] {
        for qk_output_mode in 0..4 {
            let op = Attention { qk_output_mode, is_causal: true, ..plain_attention() };
            let mut case = Case::new(format!("{dtype} a past, {op:?}"), 7);
            let inputs = [
                case.input(dtype, &[2, 3, 5, 16]),
                case.input(dtype, &[2, 3, 5, 16]),
                case.input(dtype, &[2, 3, 5, 8]),
                None,
                case.input(dtype, &[2, 3, 6, 16]),
                case.input(dtype, &[2, 3, 6, 8]),
            ];
            let outputs = case.nodes(Op::Attention(op), &inputs, 4);
            case.check(&solo, &outputs, 4.0 * tolerance(dtype));
        }
        let mut case = Case::new(format!("{dtype} lengths"), 8);
        let inputs = [
            case.input(dtype, &[2, 3, 5, 16]),
            case.input(dtype, &[2, 3, 1030, 16]),
            case.input(dtype, &[2, 3, 1030, 8]),
            None,
            None,
            None,
            case.given(Literal::i64(&[2], &[700, 1030])),
        ];
        let y = case.node(Op::Attention(plain_attention()), &inputs);
        case.check(&solo, &[y], 4.0 * tolerance(dtype));
    }
}
