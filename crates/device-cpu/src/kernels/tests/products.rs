//! Matrix products against naive loops, and the promise that a row's bits do not depend on its neighbours or threads.

use super::{assert_close, check, evaluate, one, random_floats};
use sublet_graph::{Activation, DType, Literal, Op};

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start")
}

fn naive(m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) -> Vec<f32> {
    let cell = |row: usize, col: usize| -> f32 {
        (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + col])).sum::<f64>() as f32
    };
    (0..m * n).map(|at| cell(at / n, at % n)).collect()
}

fn close(found: &Literal, expected: &[f32], what: &str) {
    for (at, (x, y)) in found.to_vec::<f32>().iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= 2e-4 * (1.0 + y.abs()), "{what}: element {at} is {x}, not {y}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[test]
fn products_of_random_shapes() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..120 {
        let (m, n) = (random.usize(1..40), random.usize(1..80));
        let k = if random.bool() { random.usize(1..40) } else { random.usize(200..600) };
        let a = random_floats(&mut random, &[m, k]);
        let b = random_floats(&mut random, &[k, n]);
        let expected = naive(m, k, n, &a.to_vec::<f32>(), &b.to_vec::<f32>());
        close(&one(&Op::MatMul, &[&a, &b]), &expected, &format!("[{m}, {k}] · [{k}, {n}]"));
        let transposed: Vec<f32> = {
            let b = b.to_vec::<f32>();
            (0..n * k).map(|at| b[at % k * n + at / k]).collect()
        };
        let b_t = Literal::f32(&[n, k], &transposed);
        let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let bias = random_floats(&mut random, &[n]);
        let added: Vec<f32> =
            expected.iter().enumerate().map(|(at, x)| x + bias.to_vec::<f32>()[at % n]).collect();
        close(&one(&gemm, &[&a, &b_t, &bias]), &added, "Gemm");
    }
}

#[test]
fn gemm_scales_and_transposes() {
    let a = Literal::f32(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let b = Literal::f32(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
    let gemm = Op::Gemm { alpha: 2.0, beta: 0.5, trans_a: true, trans_b: false };
    let c = Literal::f32(&[3, 1], &[10.0, 20.0, 30.0]);
    let expected = Literal::f32(&[3, 2], &[7.0, 13.0, 14.0, 20.0, 21.0, 27.0]);
    check(&gemm, &[&a, &b, &c], &expected);
    let ints = |shape: &[usize], values: &[i32]| Literal::from_values(DType::I32, shape, values);
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    let (x, y) = (ints(&[1, 2], &[3, 4]), ints(&[2, 1], &[5, 6]));
    check(&gemm, &[&x, &y, &ints(&[], &[1])], &ints(&[1, 1], &[40]));
}

#[test]
fn products_follow_numpy() {
    let ones = |shape: &[usize]| Literal::f32(shape, &vec![1.0; shape.iter().product()]);
    let check_shape = |a: &[usize], b: &[usize], expected: &[usize], sum: f32| {
        let found = one(&Op::MatMul, &[&ones(a), &ones(b)]);
        assert_eq!(found.shape(), expected, "{a:?} · {b:?}");
        assert!(found.to_vec::<f32>().iter().all(|&x| x == sum), "{a:?} · {b:?}");
    };
    check_shape(&[3], &[3], &[], 3.0);
    check_shape(&[2, 3], &[3], &[2], 3.0);
    check_shape(&[3], &[3, 4], &[4], 3.0);
    check_shape(&[5, 1, 2, 3], &[4, 3, 9], &[5, 4, 2, 9], 3.0);
    check_shape(&[2, 3], &[4, 3, 9], &[4, 2, 9], 3.0);
    check_shape(&[0, 3], &[3, 9], &[0, 9], 0.0);
    check_shape(&[2, 0], &[0, 9], &[2, 9], 0.0);
    check_shape(&[4, 2, 0], &[4, 0, 3], &[4, 2, 3], 0.0);
    let (a, b) = (Literal::i64(&[1, 2], &[3, 4]), Literal::i64(&[2, 1], &[5, 6]));
    check(&Op::MatMul, &[&a, &b], &Literal::i64(&[1, 1], &[39]));
}

#[test]
fn batched_products_pair_the_right_matrices() {
    let mut random = fastrand::Rng::with_seed(2);
    let a = random_floats(&mut random, &[3, 1, 5, 7]);
    let b = random_floats(&mut random, &[2, 7, 9]);
    let (x, y) = (a.to_vec::<f32>(), b.to_vec::<f32>());
    let parts = (0..6).flat_map(|at| {
        let (in_a, in_b) = (at / 2, at % 2);
        naive(5, 7, 9, &x[in_a * 35..][..35], &y[in_b * 63..][..63])
    });
    close(&one(&Op::MatMul, &[&a, &b]), &parts.collect::<Vec<_>>(), "batched");
}

#[test]
fn rows_and_threads_do_not_change_bits() {
    let mut random = fastrand::Rng::with_seed(5);
    let pools = [pool(1), pool(4)];
    for _ in 0..40 {
        let (m, n) = (random.usize(2..70), random.usize(1..300));
        let k = if random.bool() { random.usize(1..40) } else { random.usize(250..800) };
        let x = random_floats(&mut random, &[m, k]);
        let w = random_floats(&mut random, &[k, n]);
        let w_t = random_floats(&mut random, &[n, k]);
        let bias = random_floats(&mut random, &[n]);
        let ops = [
            (Op::Linear { activation: Activation::Gelu { tanh: false } }, &w),
            (Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true }, &w_t),
            (Op::MatMul, &w),
        ];
        for (op, w) in ops {
            let run = |x: &Literal, threads: usize| -> Vec<u32> {
                let inputs = [Some(x), Some(w), Some(&bias)];
                let inputs = if op == Op::MatMul { &inputs[..2] } else { &inputs[..] };
                let out = pools[threads].install(|| evaluate(&op, inputs, 1).expect("computes"));
                out[0].to_vec()
            };
            let all = run(&x, 0);
            assert_eq!(all, run(&x, 1), "{op}: one thread and four over [{m}, {k}, {n}]");
            let rows = x.to_vec::<f32>();
            for count in [1, 2, m / 2 + 1] {
                let first = random.usize(0..=m - count);
                let part = Literal::f32(&[count, k], &rows[first * k..][..count * k]);
                assert_eq!(
                    run(&part, 1),
                    all[first * n..(first + count) * n],
                    "{op}: rows {first}.. ({count}) of [{m}, {k}, {n}]"
                );
            }
        }
    }
}

#[test]
fn linear_activates() {
    let x = Literal::f32(&[1, 1, 2], &[1.0, -3.0]);
    let w = Literal::f32(&[2, 1], &[1.0, 1.0]);
    let bias = Literal::f32(&[1], &[0.5]);
    let out = |activation, value: f32| {
        let expected = Literal::f32(&[1, 1, 1], &[value]);
        check(&Op::Linear { activation }, &[&x, &w, &bias], &expected);
    };
    out(Activation::None, -1.5);
    out(Activation::Relu, 0.0);
    out(Activation::LeakyRelu { alpha: 0.1 }, -0.15);
    out(Activation::Clip { low: -1.0, high: 1.0 }, -1.0);
    out(Activation::HardSwish, -0.375);
    out(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }, 0.2);
    out(Activation::Sigmoid, 0.182_425_5);
    out(Activation::Tanh, -0.905_148_3);
    out(Activation::Gelu { tanh: false }, -0.100_210_8);
    out(Activation::Swish { alpha: 2.0 }, -0.071_138_9);
}

#[test]
fn integer_products_are_exact() {
    let mut random = fastrand::Rng::with_seed(8);
    for round in 0..60 {
        let (m, k, n) = (random.usize(1..20), random.usize(1..70), random.usize(1..40));
        let mut bytes = |count: usize| -> Vec<u8> { (0..count).map(|_| random.u8(..)).collect() };
        let (a, b) = (bytes(m * k), bytes(k * n));
        let (a_zero, b_zeros) = (bytes(1), bytes(n));
        let (a_type, b_type) =
            ([DType::U8, DType::I8][round % 2], [DType::U8, DType::I8][round / 2 % 2]);
        let value = |dtype: DType, byte: u8| {
            if dtype == DType::U8 { i32::from(byte) } else { i32::from(byte as i8) }
        };
        let cell = |row: usize, col: usize| -> i32 {
            let left = |i: usize| value(a_type, a[row * k + i]) - value(a_type, a_zero[0]);
            let right = |i: usize| value(b_type, b[i * n + col]) - value(b_type, b_zeros[col]);
            (0..k).map(|i| left(i) * right(i)).sum()
        };
        let expected: Vec<i32> = (0..m * n).map(|at| cell(at / n, at % n)).collect();
        let literal =
            |dtype, shape: &[usize], values: &[u8]| Literal::from_values(dtype, shape, values);
        check(
            &Op::MatMulInteger,
            &[
                &literal(a_type, &[m, k], &a),
                &literal(b_type, &[k, n], &b),
                &literal(a_type, &[], &a_zero),
                &literal(b_type, &[n], &b_zeros),
            ],
            &Literal::from_values(DType::I32, &[m, n], &expected),
        );
    }
}

#[test]
fn quantised_products_round() {
    let u8s = |shape: &[usize], values: &[u8]| Literal::from_values(DType::U8, shape, values);
    let f = |value: f32| Literal::f32(&[], &[value]);
    let zero = |value: u8| u8s(&[], &[value]);
    // (2 − 1) · (4 − 2) + (5 − 1) · (1 − 2) = −2; scaled by 0.5 · 0.5 / 0.2 = 1.25: −2.5 rounds to −2.
    let found = one(
        &Op::QLinearMatMul,
        &[
            &u8s(&[1, 2], &[2, 5]),
            &f(0.5),
            &zero(1),
            &u8s(&[2, 1], &[4, 1]),
            &f(0.5),
            &zero(2),
            &f(0.2),
            &zero(10),
        ],
    );
    assert_close(&found, &u8s(&[1, 1], &[8]), "QLinearMatMul");
}
