//! Functions of one, two and three elements, casts, and broadcasting.

use super::{assert_close, check, check_invalid, indices, linear, numbered, one, random_floats};
use half::f16;
use sublet_graph::{Binary, Compare, DType, Literal, Op, Unary};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn unary(f: Unary, x: &[f32], expected: &[f32]) {
    let shape = [x.len()];
    check(&Op::Unary(f), &[&Literal::f32(&shape, x)], &Literal::f32(&shape, expected));
    let wide = |values: &[f32]| -> Literal {
        let values: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
        Literal::from_values(DType::F64, &shape, &values)
    };
    check(&Op::Unary(f), &[&wide(x)], &wide(expected));
}

#[test]
fn unary_functions() {
    unary(Unary::Abs, &[-2.0, 0.0, NAN], &[2.0, 0.0, NAN]);
    unary(Unary::Relu, &[-2.0, 3.0, NAN], &[0.0, 3.0, NAN]);
    unary(Unary::Sign, &[-2.0, 0.0, 9.0], &[-1.0, 0.0, 1.0]);
    unary(Unary::Round, &[0.5, 1.5, 2.5, -1.5], &[0.0, 2.0, 2.0, -2.0]);
    unary(Unary::Erf, &[0.0, 0.5, -2.0], &[0.0, 0.520_499_9, -0.995_322_3]);
    unary(Unary::Exp, &[0.0, 1.0, -INF], &[1.0, std::f32::consts::E, 0.0]);
    unary(Unary::Sigmoid, &[0.0, 2.0, -200.0], &[0.5, 0.880_797_1, 0.0]);
    unary(Unary::Softplus, &[0.0, 100.0, -100.0], &[std::f32::consts::LN_2, 100.0, 0.0]);
    unary(Unary::Gelu { tanh: false }, &[0.0, 1.0, -1.0], &[0.0, 0.841_344_7, -0.158_655_3]);
    unary(Unary::Gelu { tanh: true }, &[0.0, 1.0, -1.0], &[0.0, 0.841_192, -0.158_808]);
    unary(Unary::HardSwish, &[-4.0, 0.0, 1.0, 4.0], &[0.0, 0.0, 0.666_666_7, 4.0]);
    unary(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, &[-9.0, 1.0, 9.0], &[0.0, 0.7, 1.0]);
    unary(Unary::Mish, &[0.0, 1.0], &[0.0, 0.865_098_4]);
    unary(Unary::Swish { alpha: 1.0 }, &[0.0, 2.0], &[0.0, 1.761_594_2]);
    unary(Unary::Elu { alpha: 2.0 }, &[-1.0, 1.0], &[-1.264_241_1, 1.0]);
    unary(Unary::Celu { alpha: 2.0 }, &[-1.0, 1.0], &[-0.786_938_7, 1.0]);
    unary(Unary::Selu { alpha: 2.0, gamma: 3.0 }, &[-1.0, 1.0], &[-3.792_723_4, 3.0]);
    unary(Unary::LeakyRelu { alpha: 0.1 }, &[-1.0, 1.0], &[-0.1, 1.0]);
    unary(Unary::Shrink { bias: 1.0, lambd: 1.5 }, &[-2.0, 1.0, 2.0], &[-1.0, 0.0, 1.0]);
    unary(Unary::Softsign, &[-1.0, 3.0], &[-0.5, 0.75]);
    unary(Unary::ThresholdedRelu { alpha: 1.0 }, &[1.0, 2.0], &[0.0, 2.0]);
    unary(Unary::Tanh, &[0.0, 0.5, -20.0], &[0.0, 0.462_117_2, -1.0]);
    let ints = |values: &[i32]| Literal::from_values(DType::I32, &[values.len()], values);
    check(&Op::Unary(Unary::Abs), &[&ints(&[-3, 4])], &ints(&[3, 4]));
    check(&Op::Unary(Unary::Neg), &[&ints(&[-3, 4])], &ints(&[3, -4]));
    check(&Op::Unary(Unary::BitwiseNot), &[&ints(&[0, 5])], &ints(&[-1, -6]));
    let bools = |values: &[bool]| Literal::bool(&[values.len()], values);
    check(&Op::Unary(Unary::Not), &[&bools(&[true, false])], &bools(&[false, true]));
    let odd = Literal::f32(&[3], &[INF, -INF, NAN]);
    check(&Op::Unary(Unary::IsNaN), &[&odd], &bools(&[false, false, true]));
    let positive = Unary::IsInf { negative: false, positive: true };
    check(&Op::Unary(positive), &[&odd], &bools(&[true, false, false]));
}

#[test]
fn half_precision_rounds_once() {
    let halves = |values: &[f32]| {
        let values: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
        Literal::from_values(DType::F16, &[values.len()], &values)
    };
    let sum = one(&Op::Binary(Binary::Add), &[&halves(&[1.0, 2048.0]), &halves(&[0.5, 1.0])]);
    assert_eq!(sum, halves(&[1.5, 2048.0]));
    check(&Op::Unary(Unary::Exp), &[&halves(&[0.0, 1.0])], &halves(&[1.0, std::f32::consts::E]));
}

#[test]
fn binary_arithmetic() {
    let check_f32 = |f: Binary, a: &[f32], b: &[f32], expected: &[f32]| {
        let literal = |values: &[f32]| Literal::f32(&[values.len()], values);
        check(&Op::Binary(f), &[&literal(a), &literal(b)], &literal(expected));
    };
    let check_i32 = |f: Binary, a: &[i32], b: &[i32], expected: &[i32]| {
        let literal = |values: &[i32]| Literal::from_values(DType::I32, &[values.len()], values);
        check(&Op::Binary(f), &[&literal(a), &literal(b)], &literal(expected));
    };
    check_f32(Binary::Max, &[1.0, NAN, 2.0], &[3.0, 1.0, NAN], &[3.0, NAN, NAN]);
    check_f32(Binary::Min, &[1.0, NAN, 2.0], &[3.0, 1.0, NAN], &[1.0, NAN, NAN]);
    check_f32(Binary::PRelu, &[-2.0, 2.0], &[0.5, 0.5], &[-1.0, 2.0]);
    check_f32(Binary::Pow, &[2.0, 9.0, -2.0], &[3.0, 0.5, 2.0], &[8.0, 3.0, 4.0]);
    check_f32(Binary::Mod { fmod: true }, &[-5.5, 5.5], &[3.0, -3.0], &[-2.5, 2.5]);
    check_i32(Binary::Add, &[i32::MAX], &[1], &[i32::MIN]);
    check_i32(Binary::Div, &[-7, 7, i32::MIN], &[2, -2, -1], &[-3, -3, i32::MIN]);
    check_i32(Binary::Mod { fmod: false }, &[-7, 7], &[3, -3], &[2, -2]);
    check_i32(Binary::Mod { fmod: true }, &[-7, 7], &[3, -3], &[-1, 1]);
    check_i32(Binary::Pow, &[3, -2], &[4, 3], &[81, -8]);
    check_i32(Binary::BitwiseXor, &[6], &[3], &[5]);
    let bytes = |values: &[u8]| Literal::from_values(DType::U8, &[values.len()], values);
    let shift = Op::Binary(Binary::BitShift { left: true });
    check(&shift, &[&bytes(&[1, 255, 1]), &bytes(&[3, 4, 8])], &bytes(&[8, 240, 0]));
    let mixed = one(
        &Op::Binary(Binary::Pow),
        &[&Literal::i64(&[2], &[2, 3]), &Literal::f32(&[2], &[2.0, 0.5])],
    );
    assert_eq!(mixed, Literal::i64(&[2], &[4, 1]));
    let (seven, zero) = (Literal::i64(&[1], &[7]), Literal::i64(&[1], &[0]));
    check_invalid(&Op::Binary(Binary::Div), &[&seven, &zero]);
}

#[test]
fn scalar_powers_are_products() {
    let x = Literal::f32(&[3], &[-1.5, 0.1, 7.0]);
    for power in [1i32, 2, 3] {
        let exponent = Literal::f32(&[], &[power as f32]);
        let expected: Vec<f32> =
            x.to_vec::<f32>().iter().map(|x| (1..power).fold(*x, |y, _| y * x)).collect();
        assert_eq!(
            one(&Op::Binary(Binary::Pow), &[&x, &exponent]).to_vec::<f32>(),
            expected,
            "power {power}"
        );
    }
}

#[test]
fn comparisons_and_logic() {
    let (a, b) = (Literal::f32(&[3], &[1.0, NAN, 2.0]), Literal::f32(&[3], &[1.0, NAN, 3.0]));
    let bools = |values: &[bool]| Literal::bool(&[values.len()], values);
    check(&Op::Compare(Compare::Equal), &[&a, &b], &bools(&[true, false, false]));
    check(&Op::Compare(Compare::Less), &[&a, &b], &bools(&[false, false, true]));
    check(&Op::Compare(Compare::GreaterOrEqual), &[&a, &b], &bools(&[true, false, false]));
    let (x, y) = (bools(&[true, true, false]), bools(&[true, false, false]));
    check(&Op::Compare(Compare::Equal), &[&x, &y], &bools(&[true, false, true]));
    check(&Op::Binary(Binary::And), &[&x, &y], &bools(&[true, false, false]));
    check(&Op::Binary(Binary::Or), &[&x, &y], &bools(&[true, true, false]));
    check(&Op::Binary(Binary::Xor), &[&x, &y], &bools(&[false, true, false]));
}

/// Every way to broadcast within rank 4, against an index computed the slow way.
#[test]
fn broadcasts_against_naive_indexing() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..300 {
        let rank = random.usize(0..=4);
        let most = if round % 20 == 0 { 1 } else { 0 };
        let out: Vec<usize> = (0..rank).map(|_| random.usize(1 - most..=5)).collect();
        let mut shrink = || -> Vec<usize> {
            let keep = random.usize(0..=rank);
            let own = out[rank - keep..].iter();
            own.map(|&size| if random.bool() { size } else { 1 }).collect()
        };
        let (a_shape, b_shape) = (shrink(), shrink());
        let rank = a_shape.len().max(b_shape.len());
        let size = |axis: usize| {
            let own = |shape: &[usize]| {
                (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
            };
            if own(&a_shape) == 1 { own(&b_shape) } else { own(&a_shape) }
        };
        let shape: Vec<usize> = (0..rank).map(size).collect();
        let (a, b) = (random_floats(&mut random, &a_shape), random_floats(&mut random, &b_shape));
        let pick = |x: &Literal, index: &[usize]| {
            let own: Vec<usize> = index[index.len() - x.shape().len()..]
                .iter()
                .zip(x.shape())
                .map(|(&at, &size)| if size == 1 { 0 } else { at })
                .collect();
            x.to_vec::<f32>()[linear(x.shape(), &own)]
        };
        let expected: Vec<f32> =
            indices(&shape).iter().map(|index| pick(&a, index) - pick(&b, index)).collect();
        check(&Op::Binary(Binary::Sub), &[&a, &b], &Literal::f32(&shape, &expected));
        let zero = Literal::f32(&[], &[0.0]);
        let less = one(&Op::Compare(Compare::Less), &[&a, &zero]);
        let chosen = one(&Op::Where, &[&less, &a, &b]);
        let expected: Vec<f32> = indices(&shape)
            .iter()
            .map(|index| if pick(&a, index) < 0.0 { pick(&a, index) } else { pick(&b, index) })
            .collect();
        assert_close(&chosen, &Literal::f32(&shape, &expected), "Where");
    }
}

#[test]
fn casts() {
    let f = |values: &[f32]| Literal::f32(&[values.len()], values);
    let to = |to: DType| Op::Cast { to };
    let bytes = |dtype, values: &[i8]| Literal::from_values(dtype, &[values.len()], values);
    let odd = f(&[-1.9, 300.0, -300.0, NAN, INF]);
    check(&to(DType::I8), &[&odd], &bytes(DType::I8, &[-1, 127, -128, 0, 127]));
    check(&to(DType::U8), &[&odd], &bytes(DType::U8, &[0, -1, 0, 0, -1]));
    let truth = Literal::bool(&[5], &[true, true, true, true, true]);
    check(&to(DType::Bool), &[&odd], &truth);
    check(&to(DType::Bool), &[&f(&[0.0, -0.0])], &Literal::bool(&[2], &[false, false]));
    check(&to(DType::F32), &[&Literal::bool(&[2], &[true, false])], &f(&[1.0, 0.0]));
    check(&to(DType::I64), &[&f(&[-2.7, 2.7])], &Literal::i64(&[2], &[-2, 2]));
    let wrapped = Literal::from_values(DType::I32, &[2], &[-1i32, 300]);
    check(&to(DType::U8), &[&wrapped], &Literal::from_values(DType::U8, &[2], &[255u8, 44]));
    // There and back through every pair of types that holds small numbers.
    let small = Literal::i64(&[4], &[0, 1, 2, 100]);
    for first in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        for second in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
            let there = one(&to(second), &[&one(&to(first), &[&small])]);
            assert_eq!(one(&to(DType::I64), &[&there]), small, "{first} to {second}");
            let like = one(&Op::CastLike, &[&small, &there]);
            assert_eq!(like.dtype(), second);
        }
    }
}

#[test]
fn clips_and_copies() {
    let x = Literal::f32(&[4], &[-5.0, 0.5, 5.0, NAN]);
    let scalar = |value: f32| Literal::f32(&[], &[value]);
    let expected = Literal::f32(&[4], &[-1.0, 0.5, 1.0, NAN]);
    check(&Op::Clip, &[&x, &scalar(-1.0), &scalar(1.0)], &expected);
    let crossed = Literal::f32(&[4], &[-1.0, -1.0, -1.0, NAN]);
    check(&Op::Clip, &[&x, &scalar(2.0), &scalar(-1.0)], &crossed);
    for dtype in DType::ALL {
        for shape in [&[][..], &[0, 3], &[2, 5]] {
            let x = numbered(dtype, shape);
            assert_eq!(one(&Op::Identity, &[&x]), x);
        }
    }
}

/// Large enough that several threads share the work, with an odd inner length.
#[test]
fn large_tensors_agree_with_small_ones() {
    let mut random = fastrand::Rng::with_seed(9);
    let a = random_floats(&mut random, &[7, 53, 211]);
    let b = random_floats(&mut random, &[53, 1]);
    let (x, y) = (a.to_vec::<f32>(), b.to_vec::<f32>());
    let expected: Vec<f32> = x.iter().enumerate().map(|(at, x)| x * y[at / 211 % 53]).collect();
    let product = one(&Op::Binary(Binary::Mul), &[&a, &b]);
    assert_eq!(product.to_vec::<f32>(), expected);
}
