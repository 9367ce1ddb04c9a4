//! Reductions against naive loops, and their independence of batch and threads.

use super::{
    assert_close, check, evaluate, i64s, indices, linear, one, random_floats, random_shape,
};
use sublet_graph::{DType, Literal, Op, Reduce};

const KINDS: [Reduce; 10] = [
    Reduce::Sum,
    Reduce::Mean,
    Reduce::Max,
    Reduce::Min,
    Reduce::Prod,
    Reduce::L1,
    Reduce::L2,
    Reduce::LogSum,
    Reduce::LogSumExp,
    Reduce::SumSquare,
];

fn reduce(kind: Reduce) -> Op {
    Op::Reduce { reduce: kind, keep_dims: false, noop_with_empty_axes: false }
}

fn naive(kind: Reduce, values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|x| x * x).sum();
    match kind {
        Reduce::Sum => sum,
        Reduce::Mean => sum / values.len() as f64,
        Reduce::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduce::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Reduce::Prod => values.iter().product(),
        Reduce::L1 => values.iter().map(|x| x.abs()).sum(),
        Reduce::L2 => squares.sqrt(),
        Reduce::LogSum => sum.ln(),
        Reduce::LogSumExp => values.iter().map(|x| x.exp()).sum::<f64>().ln(),
        Reduce::SumSquare => squares,
    }
}

#[test]
fn reduces_any_axes() {
    let mut random = fastrand::Rng::with_seed(6);
    for round in 0..300 {
        let kind = KINDS[round % KINDS.len()];
        let rank = random.usize(1..=4);
        let mut shape = random_shape(&mut random, rank, 6);
        if round % 7 == 0 {
            shape[rank - 1] = 70;
        }
        // Positive, so that logarithms exist and nothing cancels.
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| 0.5 + random.f32()).collect();
        let x = Literal::f32(&shape, &values);
        let axes: Vec<i64> = (0..rank as i64).filter(|_| random.bool()).collect();
        let reduced = |axis: usize| axes.is_empty() || axes.contains(&(axis as i64));
        let y_shape: Vec<usize> =
            (0..rank).filter(|&axis| !reduced(axis)).map(|axis| shape[axis]).collect();
        let mut groups: Vec<Vec<f64>> = vec![Vec::new(); y_shape.iter().product()];
        for (index, &value) in indices(&shape).iter().zip(&values) {
            let kept: Vec<usize> =
                (0..rank).filter(|&axis| !reduced(axis)).map(|axis| index[axis]).collect();
            groups[linear(&y_shape, &kept)].push(f64::from(value));
        }
        let expected: Vec<f32> = groups.iter().map(|group| naive(kind, group) as f32).collect();
        check(&reduce(kind), &[&x, &i64s(&axes)], &Literal::f32(&y_shape, &expected));
    }
}

#[test]
fn sums_of_many_numbers_stay_exact_enough() {
    let count = 1 << 20;
    let x = Literal::f32(&[count], &vec![0.1; count]);
    check(&reduce(Reduce::Sum), &[&x], &Literal::f32(&[], &[0.1 * count as f32]));
    let rows = x.reshaped(vec![count / 4, 4]).unwrap();
    let expected = Literal::f32(&[4], &[0.1 * count as f32 / 4.0; 4]);
    check(&reduce(Reduce::Sum), &[&rows, &i64s(&[0])], &expected);
}

#[test]
fn empty_sets_have_identities() {
    let x = Literal::f32(&[2, 0], &[]);
    let infinity = f32::INFINITY;
    let cases = [
        (Reduce::Sum, 0.0),
        (Reduce::Prod, 1.0),
        (Reduce::Max, -infinity),
        (Reduce::Min, infinity),
        (Reduce::L2, 0.0),
        (Reduce::LogSum, -infinity),
        (Reduce::LogSumExp, -infinity),
    ];
    for (kind, identity) in cases {
        check(&reduce(kind), &[&x, &i64s(&[1])], &Literal::f32(&[2], &[identity; 2]));
        check(&reduce(kind), &[&x, &i64s(&[0])], &Literal::f32(&[0], &[]));
    }
    let ints = Literal::i64(&[0, 1], &[]);
    check(&reduce(Reduce::Max), &[&ints, &i64s(&[0])], &i64s(&[i64::MIN]));
}

#[test]
fn other_types_reduce() {
    let x = Literal::from_values::<i32>(DType::I32, &[2, 3], &[1, 2, 3, -4, 5, -7]);
    let ints = |values: &[i32]| Literal::from_values(DType::I32, &[2], values);
    check(&reduce(Reduce::Sum), &[&x, &i64s(&[1])], &ints(&[6, -6]));
    check(&reduce(Reduce::Mean), &[&x, &i64s(&[1])], &ints(&[2, -2]));
    check(&reduce(Reduce::Max), &[&x, &i64s(&[-1])], &ints(&[3, 5]));
    check(&reduce(Reduce::L1), &[&x, &i64s(&[1])], &ints(&[6, 16]));
    let bools = Literal::bool(&[2, 2], &[true, false, true, true]);
    check(&reduce(Reduce::Max), &[&bools, &i64s(&[1])], &Literal::bool(&[2], &[true, true]));
    check(&reduce(Reduce::Min), &[&bools, &i64s(&[1])], &Literal::bool(&[2], &[false, true]));
    let halves = [0.5, 1.5, 2.0].map(half::f16::from_f32);
    let halves = Literal::from_values(DType::F16, &[3], &halves);
    let four = Literal::from_values(DType::F16, &[], &[half::f16::from_f32(4.0)]);
    check(&reduce(Reduce::Sum), &[&halves], &four);
}

#[test]
fn special_values_and_no_axes() {
    let x = Literal::f32(&[3], &[1.0, f32::NAN, 3.0]);
    check(&reduce(Reduce::Max), &[&x], &Literal::f32(&[], &[f32::NAN]));
    let large = Literal::f32(&[2], &[1000.0, 1000.0]);
    check(&reduce(Reduce::LogSumExp), &[&large], &Literal::f32(&[], &[1000.0 + 2f32.ln()]));
    let infinite = Literal::f32(&[2], &[f32::NEG_INFINITY; 2]);
    check(&reduce(Reduce::LogSumExp), &[&infinite], &Literal::f32(&[], &[f32::NEG_INFINITY]));
    let square =
        Op::Reduce { reduce: Reduce::SumSquare, keep_dims: true, noop_with_empty_axes: true };
    let x = Literal::f32(&[2], &[2.0, -3.0]);
    check(&square, &[&x, &i64s(&[])], &Literal::f32(&[2], &[4.0, 9.0]));
}

/// Rows of the first axis have the same bits alone and together, on one thread and on several.
#[test]
fn rows_do_not_depend_on_batch_or_threads() {
    let mut random = fastrand::Rng::with_seed(7);
    for (rest, axes) in [
        (vec![300], vec![1]),
        (vec![33, 700], vec![1]),
        (vec![64, 9, 11], vec![2, 3]),
        (vec![400, 1], vec![1]),
        (vec![5, 200, 3], vec![1, 3]),
        (vec![1], vec![1]),
    ] {
        let x = random_floats(&mut random, &[&[37], rest.as_slice()].concat());
        let row = rest.iter().product::<usize>();
        for kind in KINDS {
            let together = one(&reduce(kind), &[&x, &i64s(&axes)]);
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let again = pool.install(|| one(&reduce(kind), &[&x, &i64s(&axes)]));
                assert_eq!(
                    again.bytes(),
                    together.bytes(),
                    "{kind:?} {rest:?} on {threads} threads"
                );
            }
            let values: Vec<f32> = x.to_vec();
            let len = together.bytes().len() / 37;
            for at in [0, 17, 36] {
                let alone =
                    Literal::f32(&[&[1], rest.as_slice()].concat(), &values[at * row..][..row]);
                let alone = one(&reduce(kind), &[&alone, &i64s(&axes)]);
                assert_eq!(
                    alone.bytes()[..],
                    together.bytes()[at * len..][..len],
                    "{kind:?} {rest:?}"
                );
            }
        }
    }
}

#[test]
fn sums_and_products_run() {
    let x = Literal::f32(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let sum = |exclusive, reverse| Op::CumSum { exclusive, reverse };
    let along = |axis| Literal::i64(&[], &[axis]);
    let y = |values: &[f32]| Literal::f32(&[2, 3], values);
    check(&sum(false, false), &[&x, &along(1)], &y(&[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]));
    check(&sum(true, false), &[&x, &along(-1)], &y(&[0.0, 1.0, 3.0, 0.0, 4.0, 9.0]));
    check(&sum(false, true), &[&x, &along(1)], &y(&[6.0, 5.0, 3.0, 15.0, 11.0, 6.0]));
    check(&sum(true, true), &[&x, &along(0)], &y(&[4.0, 5.0, 6.0, 0.0, 0.0, 0.0]));
    let product = Op::CumProd { exclusive: true, reverse: false };
    check(&product, &[&x, &along(1)], &y(&[1.0, 1.0, 2.0, 1.0, 4.0, 20.0]));
}

#[test]
fn equations_sum_products() {
    let mut random = fastrand::Rng::with_seed(8);
    let cases: [(&str, &[&[usize]]); 14] = [
        ("ij,jk->ik", &[&[3, 4], &[4, 5]]),
        ("bij, bjk -> bik", &[&[2, 3, 4], &[2, 4, 5]]),
        ("bhid,bhjd->bhij", &[&[2, 2, 3, 4], &[2, 2, 5, 4]]),
        ("bd,de->be", &[&[6, 4], &[4, 5]]),
        ("de,bd->be", &[&[4, 5], &[6, 4]]),
        ("ij->ji", &[&[3, 4]]),
        ("ij->", &[&[3, 4]]),
        ("ii->i", &[&[4, 4]]),
        ("ii", &[&[4, 4]]),
        ("i,j,k->kij", &[&[2], &[3], &[4]]),
        ("ij,kl->l", &[&[2, 3], &[4, 5]]),
        ("bnij,bnjk,b->nik", &[&[2, 3, 2, 4], &[2, 3, 4, 2], &[2]]),
        ("iji,j->i", &[&[3, 2, 3], &[2]]),
        (",i->i", &[&[], &[3]]),
    ];
    for (equation, shapes) in cases {
        let operands: Vec<Literal> =
            shapes.iter().map(|shape| random_floats(&mut random, shape)).collect();
        let given: Vec<&Literal> = operands.iter().collect();
        let expected = naive_einsum(equation, &given);
        check(&Op::Einsum { equation: equation.into() }, &given, &expected);
    }
    let a = random_floats(&mut random, &[3, 1, 2, 4]);
    let b = random_floats(&mut random, &[5, 4, 2]);
    let spelled = one(&Op::MatMul, &[&a, &b]);
    let found = one(&Op::Einsum { equation: "...ij,...jk->...ik".into() }, &[&a, &b]);
    assert_close(&found, &spelled, "ellipsis");
}

/// Sums over all labels in one loop.
fn naive_einsum(equation: &str, operands: &[&Literal]) -> Literal {
    let equation: String = equation.chars().filter(|letter| *letter != ' ').collect();
    let (left, right) = equation.split_once("->").unwrap_or((&equation, ""));
    let terms: Vec<Vec<char>> = left.split(',').map(|term| term.chars().collect()).collect();
    let mut labels: Vec<char> = right.chars().collect();
    labels.extend(left.chars().filter(|letter| letter.is_alphabetic()));
    let mut distinct: Vec<char> = Vec::new();
    labels.into_iter().for_each(|label| {
        if !distinct.contains(&label) {
            distinct.push(label)
        }
    });
    let size = |label: &char| {
        let axes = terms.iter().zip(operands).flat_map(|(term, x)| term.iter().zip(x.shape()));
        axes.filter(|(other, _)| *other == label).map(|(_, &dim)| dim).max().unwrap_or(1)
    };
    let sizes: Vec<usize> = distinct.iter().map(size).collect();
    let y_shape: Vec<usize> = right.chars().map(|label| size(&label)).collect();
    let mut y = vec![0.0; y_shape.iter().product()];
    let values: Vec<Vec<f32>> = operands.iter().map(|x| x.to_vec()).collect();
    for index in indices(&sizes) {
        let of = |label: &char| index[distinct.iter().position(|other| other == label).unwrap()];
        let mut product = 1.0;
        for ((term, x), values) in terms.iter().zip(operands).zip(&values) {
            let at: Vec<usize> = term.iter().map(of).collect();
            product *= values[linear(x.shape(), &at)];
        }
        let at: Vec<usize> = right.chars().map(|label| of(&label)).collect();
        y[linear(&y_shape, &at)] += product;
    }
    Literal::f32(&y_shape, &y)
}

#[test]
fn determinants() {
    let x = Literal::f32(&[2, 2, 2], &[0.0, 2.0, 3.0, 4.0, 1.0, 2.0, 2.0, 4.0]);
    check(&Op::Det, &[&x], &Literal::f32(&[2], &[-6.0, 0.0]));
    assert!(evaluate(&Op::Det, &[Some(&Literal::f32(&[2, 3], &[0.0; 6]))], 1).is_err());
}
